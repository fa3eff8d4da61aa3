// Reads files of another machine, which needs Python and nothing else: names go there over a
// channel, contents come back.
// usage: fileserver SPEC FILE...     fileserver "ssh=user@host" /etc/hostname
#include <brood/gateway.h>

#include <iostream>

namespace {

constexpr char kServer[] = R"(
for name in channel:
    try:
        with open(name, "rb") as file:
            channel.send(file.read())
    except OSError as error:
        channel.send(str(error))
)";

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: fileserver SPEC FILE...\n";
    return 2;
  }
  try {
    brood::Gateway gateway(argv[1]);
    brood::Channel channel = gateway.exec(kServer);
    for (int i = 2; i < argc; ++i)  // all at once: the answers come in this order
      channel.send(argv[i]);
    channel.end();
    int status = 0;
    while (std::optional<brood::Value> item = channel.receive()) {
      if (const auto* contents = item->as<brood::Bytes>()) {
        std::cout << contents->data;
      } else {
        std::cerr << "fileserver: " << item->to_text() << '\n';
        status = 1;
      }
    }
    return status;
  } catch (const brood::GatewayError& error) {
    std::cerr << "fileserver: " << error.code() << ": " << error.what() << '\n';
    return 1;
  }
}
