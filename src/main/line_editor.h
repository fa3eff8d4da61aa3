// LineEditor: a line typed on the terminal, with editing, history and completion (libedit), while
// other things happen. One at a time, one thread.
#pragma once

#include <histedit.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "main/line_history.h"

namespace brood {

class LineEditor {
 public:
  struct Completed {
    size_t start = 0;  // in code points of the text given
    std::vector<std::string> matches;
  };
  struct Needs {
    // Waits until the terminal has input. False: leave the line, as if it had not been typed.
    std::function<bool()> wait;
    // `before`: the line up to the cursor.
    std::function<Completed(const std::string& before)> complete;
  };

  // `history`: a file; empty: none. The terminal is one of UTF-8, whatever the locale says.
  LineEditor(std::string history, Needs needs);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;

  enum class Outcome { kLine, kEnd, kLeft };
  // `prompt` may have colours; `indent` is what the line begins with, unless lines are pasted. The
  // line has no end, but those of pasted lines.
  Outcome read(const std::string& prompt, const std::string& indent, std::string& line);
  void add(const std::string& line);

  // Bytes that were typed before the line: give_back() makes them the beginning of what is read,
  // take_back() is what was read behind the line.
  void give_back(std::string_view bytes) { ahead_.insert(0, bytes); }
  std::string take_back() { return std::exchange(ahead_, {}); }

  // Around output from within wait(): takes the line off the screen, and shows it again, with a
  // prompt that may be another one, on a screen whose size may be another one.
  void hide();
  void show(const std::string& prompt);
  bool empty() const;  // from within wait(): nothing is typed
  // Around a stop of this program, from within wait(): leaves the terminal as it was, below the
  // line; and takes it again, for show().
  void give_terminal();
  void take_terminal();

 private:
  friend struct EditorCallbacks;
  struct Rows {
    size_t above, below;  // the cursor
  };
  Rows rows() const;
  int get(wchar_t* to);
  bool fill();
  ssize_t read_more(size_t most);
  void find_burst();
  std::string read_paste();
  unsigned char paste();
  unsigned char complete();
  void list(const std::vector<std::string>& matches);

  const Needs needs_;
  LineHistory history_;
  EditLine* const line_;
  const bool brackets_;  // the terminal understands escape sequences
  std::string prompt_, indent_;
  std::string ahead_;       // bytes read, but not given to libedit yet
  std::string burst_;       // lines that came at once, to be pasted
  size_t typed_early_ = 0;  // bytes that the terminal had before the line was read: no paste
  bool left_ = false;
};

}  // namespace brood
