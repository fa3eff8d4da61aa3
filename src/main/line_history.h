// LineHistory: the lines that were typed, for libedit, and in a file that several terminals share.
// One thread.
#pragma once

#include <histedit.h>

#include <string>

namespace brood {

class LineHistory {
 public:
  // `file`: read now, and shortened if it has become long; empty: none.
  explicit LineHistory(std::string file);
  ~LineHistory();
  LineHistory(const LineHistory&) = delete;

  History* get() const { return lines_; }
  // The file gets the line behind those that others have added since.
  void add(const std::string& line);

 private:
  const std::string file_;
  History* const lines_;
};

}  // namespace brood
