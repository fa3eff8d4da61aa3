// brood env list | show | warm | retire.
#pragma once

#include <string>

namespace brood {

int run_env_list();
int run_env_show(const std::string& which);
// `name`: empty for the one that applies here.
int run_env_warm(const std::string& name);
int run_env_retire(const std::string& which);

}  // namespace brood
