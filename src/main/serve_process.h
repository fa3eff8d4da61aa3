// What `brood serve` does with its own process before it serves: its folders, the user it is, how
// many files it may open.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/runtime_dir.h"

namespace brood {

// Of the descriptors 0 to 2 those that are closed become /dev/null: else what gets their numbers, a
// client's socket maybe, would get what is printed and logged. Before anything else is opened.
void open_standard_streams();

// Becomes that user (all ids, groups, HOME), for good. Only root can. Before anything of a client
// was read.
Result<void> become_user(const std::string& name);

// Who that is; `name` empty: who this process is.
Result<uid_t> user_number(const std::string& name);

// As many open files as the system lets: the soft limit becomes the hard one. Programs do not
// inherit it (ProcessState is read before).
void raise_open_files();

// A runtime directory of this server's own, `<runtime>/serve`, `<runtime>/serve-2`, ...: the first
// that no other server holds, and of which no other one holds the folder for sessions: that one may
// be shared by several runtime directories.
struct ServeFolder {
  RuntimeDir dir;
  std::string work;  // where sessions' folders are
  Fd lock, work_lock;
};
// `work`: empty: below the user's cache. What a server that has ended left there is removed.
Result<ServeFolder> claim_folder(const std::string& work);

}  // namespace brood
