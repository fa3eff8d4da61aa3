#include "main/serve_options.h"

#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/sys.h"
#include "daemon/resolve.h"
#include "daemon/spawn.h"
#include "launch/trust.h"
#include "main/serve_process.h"

namespace brood {
namespace {

constexpr const char* kDefaultAddress = "http:127.0.0.1:8787";

std::string demo_config() {
  const std::string module = module_path();  // PREFIX/lib/brood/_brood.abi3.so
  return module.substr(0, module.rfind("/lib/brood/")) +
         "/share/brood/environments/math/brood.toml";
}

std::string find_project_file() {
  char here[4096];
  if (!getcwd(here, sizeof here)) return "";
  for (std::string folder = here;; folder.resize(folder.rfind('/'))) {
    const std::string candidate = folder + "/brood.toml";
    if (access(candidate.c_str(), F_OK) == 0) return candidate;
    if (folder.empty() || folder.rfind('/') == folder.npos) return "";
  }
}

// Whose files are obeyed besides root's: those of whom the server is, or is told to become.
uid_t obeyed_owner(const ServeCommand& command) {
  Result<uid_t> user = user_number(command.user);
  return user && geteuid() == 0 ? *user : geteuid();
}

Result<std::optional<ConfigFile>> find_config(const ServeCommand& command) {
  const Surroundings here = surroundings_here();
  const bool demo = is_demo(command);  // its file comes with the program
  std::string path = demo ? demo_config() : command.config;
  if (path.empty()) path = find_project_file();
  if (path.empty() && access(here.user_config().c_str(), F_OK) == 0) path = here.user_config();
  if (path.empty()) return std::optional<ConfigFile>();
  char* resolved = realpath(path.c_str(), nullptr);
  if (!resolved) return sys_error("read the configuration " + path);
  path = resolved;
  free(resolved);
  if (!demo)
    if (const std::optional<Distrust> bad = distrust(path, obeyed_owner(command)))
      return Error{bad->why + " (" + bad->remedy + ")"};
  Result<ConfigFile> file = read_config(path, here.home);
  if (!file) return file.error();
  return std::optional<ConfigFile>(std::move(*file));
}

Result<void> check_address(const Address& address, const ServeCommand& command,
                           const ServeConfig& config) {
  if (address.has_tls() && config.certificate.empty() && !command.self_signed)
    return Error{address.text() +
                 " needs a certificate: --certificate FILE --key FILE, or --self-signed"};
  Result<bool> own = is_loopback(address);
  if (!own) return own.error();
  if (!*own && address.kind == Address::Kind::kExecnet)
    return Error{address.text() +
                 " can be reached from other machines, and execnet's protocol has no passwords: "
                 "use execnet:127.0.0.1:" +
                 address.port + ", and from elsewhere a tunnel (ssh -L " + address.port +
                 ":127.0.0.1:" + address.port + " HOST)"};
  if (!*own && address.kind == Address::Kind::kGateway && !command.insecure)
    return Error{address.text() +
                 " can be reached from other machines, without encryption: use gateway:127.0.0.1:" +
                 address.port + " and a tunnel, or say --insecure"};
  if (!*own && !address.has_tls() && !command.insecure)
    return Error{address.text() +
                 " can be reached from other machines, without encryption: use tls: or https:, or "
                 "say --insecure"};
  return {};
}

}  // namespace

std::optional<ServeCommand> parse_serve(int argc, char** argv, int& status) {
  ServeCommand command;
  CLI::App app{
      "Serves Python sessions: to browsers, over HTTP, WebSocket and brood's own protocol; and "
      "gateways.",
      "brood serve"};
  app.add_option("--config", command.config,
                 "whose environments and settings ([serve]) apply; default: brood.toml here or "
                 "above, else your own configuration");
  app.add_option(
      "--listen", command.listen,
      "unix:PATH, tcp:HOST:PORT, tls:HOST:PORT, http:HOST:PORT, https:HOST:PORT, "
      "gateway:HOST:PORT or execnet:HOST:PORT; may be repeated; port 0: a free one; default: " +
          std::string(kDefaultAddress));
  app.add_flag("--demo", command.demo, "with the environment math: plot(lambda x: x^2, (-1, 1))");
  app.add_option("--host", command.hosts,
                 "a name under which browsers may reach it; may be repeated");
  app.add_option("--certificate", command.certificate, "PEM file for tls: and https:");
  app.add_option("--key", command.key, "its private key, PEM");
  app.add_flag("--self-signed", command.self_signed, "make a certificate, for trying things out");
  app.add_flag("--insecure", command.insecure,
               "other machines may reach it although nothing is encrypted");
  app.add_option("--config-dir", command.door_folder,
                 "where users and tokens are (brood user, brood token)");
  app.add_option("--user", command.user, "started as root: become this user first");
  app.add_option("--ready-fd", command.ready_fd,
                 "write the bound addresses to this descriptor once it serves, in one line");
  app.add_option("--log-level", command.log_level, "how much is logged to stderr")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "critical", "off"}));
  app.footer("BROOD_TOKEN gives the token that clients show; else one is made and printed.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    status = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  return command;
}

bool is_demo(const ServeCommand& command) { return command.demo && command.config.empty(); }

Result<ServePlan> plan_serve(const ServeCommand& command) {
  ServePlan plan;
  Result<std::optional<ConfigFile>> file = find_config(command);
  if (!file) return file.error();
  plan.file = std::move(*file);
  if (plan.file) plan.config = plan.file->serve;
  ServeConfig& config = plan.config;
  if (!command.certificate.empty()) config.certificate = command.certificate;
  if (!command.key.empty()) config.key = command.key;
  if (config.certificate.empty() != config.key.empty())
    return Error{"a certificate and its key belong together: --certificate FILE --key FILE"};
  if (!command.user.empty()) config.user = command.user;
  config.hosts.insert(config.hosts.end(), command.hosts.begin(), command.hosts.end());
  if (!command.listen.empty()) config.listen = command.listen;
  if (config.listen.empty()) config.listen = {kDefaultAddress};
  for (const std::string& text : config.listen) {
    Result<Address> address = parse_address(text);
    if (!address) return address.error();
    if (Result<void> good = check_address(*address, command, config); !good) return good.error();
    plan.addresses.push_back(std::move(*address));
  }
  const Surroundings here = surroundings_here();
  plan.door_folder = command.door_folder;
  if (plan.door_folder.empty() && !here.user_config().empty())
    plan.door_folder = here.user_config().substr(0, here.user_config().rfind('/'));
  return plan;
}

}  // namespace brood
