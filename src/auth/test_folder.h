// For tests: a folder that is gone afterwards, and the files in it.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/require.h"
#include "base/sys.h"

namespace brood {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "brood-auth-XXXXXX").string();
    require(mkdtemp(name.data()), "a test has a place for files");
    path_ = name;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Mode 0600.
  void write(const std::string& name, const std::string& text) const {
    require(replace_file(file(name), text), "a test can write its files");
  }
  std::string read(const std::string& name) const { return *read_file(file(name), 1 << 20); }
  void mode(const std::string& name, mode_t mode) const {
    require(chmod(file(name).c_str(), mode) == 0, "a test can change its files");
  }

 private:
  std::string path_;
};

}  // namespace brood
