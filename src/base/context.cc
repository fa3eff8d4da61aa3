#include "base/context.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <vector>

namespace brood {
namespace {

void add(std::string& out, const char* name, uint64_t value) {
  out.append(name).append("=").append(std::to_string(value)).append(" ");
}

void add_capabilities(std::string& out) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (syscall(SYS_capget, &header, data.data()) != 0) return;
  add(out, "cap", uint64_t{data[1].effective} << 32 | data[0].effective);
  add(out, "prm", uint64_t{data[1].permitted} << 32 | data[0].permitted);
  add(out, "inh", uint64_t{data[1].inheritable} << 32 | data[0].inheritable);
}

}  // namespace

std::string process_context() {
  std::string out;
  add(out, "uid", getuid());
  add(out, "euid", geteuid());
  add(out, "gid", getgid());
  add(out, "egid", getegid());
  const int count = getgroups(0, nullptr);
  std::vector<gid_t> groups(static_cast<size_t>(count > 0 ? count : 0));
  if (count > 0 && getgroups(count, groups.data()) == count)
    for (const gid_t group : groups)
      add(out, "group", group);
  add_capabilities(out);
  add(out, "nnp", static_cast<uint64_t>(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  add(out, "seccomp", static_cast<uint64_t>(prctl(PR_GET_SECCOMP, 0, 0, 0, 0)));
  struct stat st;
  if (stat("/", &st) == 0) {
    add(out, "rootdev", st.st_dev);
    add(out, "rootino", st.st_ino);
  }
  for (const char* ns : {"mnt", "net", "pid", "user", "ipc", "uts"})
    if (stat((std::string("/proc/self/ns/") + ns).c_str(), &st) == 0) add(out, ns, st.st_ino);
  return out;
}

}  // namespace brood
