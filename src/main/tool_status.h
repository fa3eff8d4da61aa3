// brood status, brood top.
#pragma once

namespace brood {

int run_status(bool as_json);
// Until `q` or Ctrl-C. Restores the terminal however it ends.
int run_top();

}  // namespace brood
