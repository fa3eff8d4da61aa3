#include "daemon/table.h"

#include <algorithm>
#include <cstdio>

namespace brood {
namespace {

// The length of the well-formed character at `at`; 0: it is not one.
size_t character_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; i++)
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  return length;
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  // U+0080-U+009F, and U+200E-U+202E with their marks of direction
  return (first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0) ||
         character.starts_with("\xe2\x80");
}

std::string_view escape(Tone tone) {
  switch (tone) {
    case Tone::kPlain: return "";
    case Tone::kDim: return "\033[2m";
    case Tone::kBold: return "\033[1m";
    case Tone::kGood: return "\033[32m";
    case Tone::kBusy: return "\033[33m";
    case Tone::kBad: return "\033[31m";
  }
  return "";
}

// The first `columns` characters of `text`.
std::string_view cut(std::string_view text, size_t columns) {
  size_t at = 0;
  while (at < text.size() && columns > 0) {
    at += std::max<size_t>(character_length(text, at), 1);
    columns--;
  }
  return text.substr(0, at);
}

}  // namespace

std::string harmless(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = character_length(text, at);
    const std::string_view character = text.substr(at, std::max<size_t>(length, 1));
    if (length == 0 || is_control(character))
      out += '?';
    else
      out += character;
    at += character.size();
  }
  return out;
}

size_t shown_width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string show_mebibytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string toned(std::string_view text, Tone tone, bool color) {
  if (!color || tone == Tone::kPlain) return std::string(text);
  return std::string(escape(tone)) + std::string(text) + "\033[0m";
}

Table::Table(const std::vector<std::string>& headings) {
  Row row;
  for (const std::string& heading : headings) {
    right_.push_back(heading.starts_with('>'));
    row.cells.push_back({heading.substr(right_.back() ? 1 : 0), Tone::kBold});
  }
  rows_.push_back(std::move(row));
}

void Table::add(std::vector<Cell> row) {
  row.resize(right_.size());
  rows_.push_back({std::move(row), false});
}

void Table::add_text(Cell text) { rows_.push_back({{std::move(text)}, true}); }

std::string Table::line(const Row& row, const std::vector<size_t>& widths, bool color,
                        size_t width) const {
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < row.cells.size(); i++) {
    const Cell& cell = row.cells[i];
    const size_t wanted = row.across ? shown_width(cell.text) : widths[i];
    const std::string gap = i > 0 ? "  " : "";
    const std::string pad(wanted - std::min(shown_width(cell.text), wanted), ' ');
    const bool last = i + 1 == row.cells.size();
    std::string text =
        gap + (!row.across && right_[i] ? pad + cell.text : cell.text + (last ? "" : pad));
    if (width > 0) text = cut(text, width - std::min(used, width));
    used += shown_width(text);
    out += toned(text, cell.tone, color);
  }
  if (!color) out.erase(out.find_last_not_of(' ') + 1);
  return out + "\n";
}

std::string Table::render(bool color, size_t width) const {
  std::vector<size_t> widths(right_.size());
  for (const Row& row : rows_)
    for (size_t i = 0; !row.across && i < row.cells.size(); i++)
      widths[i] = std::max(widths[i], shown_width(row.cells[i].text));
  std::string out;
  for (const Row& row : rows_)
    out += line(row, widths, color, width);
  return out;
}

}  // namespace brood
