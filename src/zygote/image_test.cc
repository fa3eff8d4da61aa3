#include "zygote/image.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/sanitized.h"
#include "base/sys.h"

namespace brood {
namespace {

// In a child, because it changes the whole process. Exit status 0: all checks held.
int in_child(int (*work)()) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

int keeps_content() {
  std::map<std::string, std::vector<int>> heap;
  for (int i = 0; i < 20'000; i++)
    heap[std::to_string(i)] = std::vector<int>(20, i);
  char* map = static_cast<char*>(
      mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memset(map + 4096, 'x', 4096);
  Result<ImageReport> report = make_image();
  if (!report || report->regions == 0 || report->bytes < 4'000'000) return 1;
  for (int i = 0; i < 20'000; i++)
    if (heap[std::to_string(i)] != std::vector<int>(20, i)) return 2;
  if (map[0] != 0 || map[4096] != 'x' || map[8191] != 'x' || map[8192] != 0) return 3;
  heap["new"] = {1};  // and it can go on: allocate, free, write
  std::vector<std::string> more(100'000, "text that does not fit into the short string buffer");
  heap.clear();
  return more.back().size() == 51 ? 0 : 4;
}

int children_do_not_see_each_other() {
  auto* value = new int(1);
  if (!make_image()) return 1;
  const pid_t child = fork();
  if (child == 0) {
    *value = 2;
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  return *value == 1 ? 0 : 2;
}

// Random number generators mark their state so that a child finds it wiped.
int wiped_pages_are_still_wiped_in_a_child() {
  char* state = static_cast<char*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  state[0] = 'x';
  if (madvise(state, 4096, MADV_WIPEONFORK) != 0) return 1;
  if (!make_image() || state[0] != 'x') return 2;
  const pid_t child = fork();
  if (child == 0) _exit(state[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 3;
}

int no_descriptor_stays_open() {
  const int before = dup(0);
  close(before);
  if (!make_image()) return 1;
  return dup(0) == before ? 0 : 2;
}

TEST(Image, KeepsTheContent) {
  if (kSanitized) GTEST_SKIP() << "terabytes of shadow memory are no image";
  EXPECT_EQ(in_child(keeps_content), 0);
}

TEST(Image, ChildrenDoNotSeeEachOther) {
  if (kSanitized) GTEST_SKIP() << "terabytes of shadow memory are no image";
  EXPECT_EQ(in_child(children_do_not_see_each_other), 0);
}

TEST(Image, WipedPagesAreStillWipedInAChild) {
  if (kSanitized) GTEST_SKIP() << "terabytes of shadow memory are no image";
  EXPECT_EQ(in_child(wiped_pages_are_still_wiped_in_a_child), 0);
}

TEST(Image, NoDescriptorStaysOpen) {
  if (kSanitized) GTEST_SKIP() << "terabytes of shadow memory are no image";
  EXPECT_EQ(in_child(no_descriptor_stays_open), 0);
}

}  // namespace
}  // namespace brood
