// The cold way: the plain interpreter, in this process.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/pointers.h"
#include "launch/cold_init.h"
#include "launch/plan.h"

namespace brood {
namespace {

const char* kind_name(ProgramKind kind) {
  switch (kind) {
    case ProgramKind::kScript: return "script";
    case ProgramKind::kCommand: return "command";
    case ProgramKind::kModule: return "module";
    case ProgramKind::kSession:  // never cold
    case ProgramKind::kStdin: return "stdin";
  }
  return "";
}

// python [options] -c <kColdInit> import_directory init kind program args...
std::vector<std::string> with_init(const Plan& plan, const std::string& python,
                                   const std::string& init, const std::string& directory) {
  std::vector<std::string> words{python};
  words.insert(words.end(), plan.launch.options.begin(), plan.launch.options.end());
  if (plan.request.unbuffered) words.push_back("-u");
  const bool prompt = plan.request.kind == ProgramKind::kStdin && isatty(STDIN_FILENO);
  if (prompt) words.push_back("-i");
  for (const char* word : {"-c", kColdInit})
    words.emplace_back(word);
  words.push_back(directory);
  words.push_back(init);
  words.emplace_back(prompt ? "prompt" : kind_name(plan.request.kind));
  words.push_back(plan.request.program);
  words.insert(words.end(), plan.request.arguments.begin(), plan.request.arguments.end());
  return words;
}

}  // namespace

Error run_cold(const Plan& plan, const Resolved* resolved) {
  std::string python = plan.launch.python;
  std::string init = plan.launch.init_file;
  std::string directory;
  if (resolved && resolved->error.empty()) {
    if (!plan.launch.python_chosen && !resolved->python.empty()) python = resolved->python;
    if (init.empty()) init = resolved->init_file;
    directory = resolved->import_directory;
    for (const std::string& item : resolved->overrides) {
      const size_t equals = item.find('=');
      if (equals != item.npos)
        setenv(item.substr(0, equals).c_str(), item.substr(equals + 1).c_str(), 1);
    }
  }
  std::vector<std::string> words;
  if (!init.empty() && plan.understood) {
    words = with_init(plan, python, init, directory);
  } else {
    words.push_back(python);
    words.insert(words.end(), plan.python_arguments.begin(), plan.python_arguments.end());
  }
  std::vector<char*> arguments = pointers(words);
  execv(python.c_str(), arguments.data());
  return sys_error("execute " + python);
}

}  // namespace brood
