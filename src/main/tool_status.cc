#include "main/tool_status.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/sys.h"
#include "daemon/resolve.h"
#include "daemon/status_view.h"
#include "main/terminal_width.h"
#include "main/tool_client.h"

namespace brood {
namespace {

using nlohmann::json;

json paths() {
  const RuntimeDir dir = runtime_dir();
  return {{"runtime_dir", dir.path},
          {"daemon_socket", dir.daemon_socket()},
          {"daemon_log", dir.log_file()},
          {"user_config", surroundings_here().user_config()}};
}

}  // namespace

int run_status(bool as_json) {
  const json none = {{"daemon", nullptr}, {"environments", json::array()}};
  Result<json> status = ask_daemon({{"command", "status"}}, none);
  if (!status) return fail(status.error().message);
  add_memory(*status);
  std::string text;
  if (as_json) {
    (*status)["paths"] = paths();
    text = status->dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  } else if ((*status)["daemon"].is_null()) {
    text = "No daemon runs; it starts by itself with the next program.\n";
  } else {
    ViewStyle style;
    if (isatty(STDOUT_FILENO)) {
      style.color = !getenv("NO_COLOR");
      style.width = terminal_width(0);
    }
    text = show_daemon(*status) + "\n\n" + show_environments(*status, style);
  }
  if (Result<void> written = write_all(STDOUT_FILENO, text); !written)
    return fail(written.error().message);
  return kSuccess;
}

}  // namespace brood
