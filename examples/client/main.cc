// Runs code in a session of its own on a `brood serve`, goes back one step, and branches.
// usage: example [ADDRESS]     default: BROOD_SERVER, else your own server
#include <brood/client.h>

#include <iostream>

int main(int argc, char** argv) {
  try {
    brood::ClientOptions options;
    if (argc > 1) options.address = argv[1];
    brood::Client client(options);
    brood::RemoteSession session = client.new_session();

    brood::CellCallbacks print;
    print.on_stdout = [](std::string_view bytes) { std::cout << bytes; };
    session.execute("x = 6\nprint('x is', x)", print);
    std::cout << "x * 7 = " << session.execute("x * 7").text() << '\n';

    session.execute("x = 0");
    session.undo();
    std::cout << "after undo x = " << session.execute("x").text() << '\n';

    brood::RemoteSession branch = session.fork("branch");
    branch.execute("x += 1");
    std::cout << "branch " << branch.execute("x").text() << ", original "
              << session.execute("x").text() << '\n';

    const brood::CellResult failed = session.execute("1 / 0");
    std::cout << failed.status << ": " << failed.error_name << '\n';
    branch.remove();
    session.remove();
  } catch (const brood::ClientError& error) {
    std::cerr << "example: " << error.code() << ": " << error.what() << '\n';
    return 1;
  }
}
