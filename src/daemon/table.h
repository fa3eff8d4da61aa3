// Text for people: aligned columns, harmless characters, sizes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brood {

// Control characters and broken UTF-8 become '?', so that a program's name cannot write to the
// terminal.
std::string harmless(std::string_view text);

// Columns on a screen; every character counts one.
size_t shown_width(std::string_view text);

// "12.3 MiB"
std::string show_mebibytes(uint64_t bytes);

enum class Tone { kPlain, kDim, kBold, kGood, kBusy, kBad };
std::string toned(std::string_view text, Tone tone, bool color);

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

class Table {
 public:
  // A heading that begins with '>' stands for a column that is aligned to the right.
  explicit Table(const std::vector<std::string>& headings);
  void add(std::vector<Cell> row);
  // A row that is one text across all columns.
  void add_text(Cell text);
  // Lines of at most `width` columns (0: of any length), each ended by a newline.
  std::string render(bool color, size_t width) const;

 private:
  struct Row {
    std::vector<Cell> cells;
    bool across = false;
  };
  std::string line(const Row& row, const std::vector<size_t>& widths, bool color,
                   size_t width) const;
  std::vector<bool> right_;
  std::vector<Row> rows_;
};

}  // namespace brood
