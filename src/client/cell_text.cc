#include "client/cell_text.h"

#include <algorithm>

namespace brood {
namespace {

constexpr int kIndent = 4;

// What is open at the end of some code.
struct Open {
  int brackets = 0;
  bool text = false;  // a string of three quotes
  bool backslash = false;
  char last = 0;  // the last character that is no blank and no comment
};

// The end of the string that begins at `at`; `open`: it has none.
size_t skip_string(std::string_view code, size_t at, bool& open) {
  const char quote = code[at];
  const bool triple = code.substr(at, 3) == std::string(3, quote);
  size_t i = at + (triple ? 3 : 1);
  for (; i < code.size(); i++) {
    if (code[i] == '\\') {
      i++;
    } else if (!triple && (code[i] == quote || code[i] == '\n')) {
      return i;
    } else if (triple && code.substr(i, 3) == std::string(3, quote)) {
      return i + 2;
    }
  }
  open = triple;
  return code.size();
}

Open scan(std::string_view code) {
  Open out;
  for (size_t i = 0; i < code.size(); i++) {
    const char c = code[i];
    if (c == '\'' || c == '"') {
      i = skip_string(code, i, out.text);
      out.last = c;
    } else if (c == '#') {
      i = std::min(code.find('\n', i), code.size()) - 1;
    } else if (c == '\n' || c == ' ' || c == '\t') {
      continue;
    } else {
      out.brackets += (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
      out.backslash = c == '\\' && i + 1 < code.size() && code[i + 1] == '\n';
      out.last = c;
    }
  }
  return out;
}

std::string_view last_line(std::string_view code) {
  if (code.ends_with('\n')) code.remove_suffix(1);
  const size_t begin = code.rfind('\n');
  return begin == code.npos ? code : code.substr(begin + 1);
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == line.npos; }

}  // namespace

bool is_whole_cell(std::string_view code) {
  const std::string_view last = last_line(code);
  const Open open = scan(code);
  if (open.text) return false;
  if (is_blank(last)) return true;
  if (open.brackets > 0 || open.backslash || open.last == ':') return false;
  const bool one_line = last.size() + 1 >= code.size();
  return one_line ? last.front() != '@'
                  : last.front() != ' ' && last.front() != '\t' && code.find("\n ") == code.npos &&
                        code.front() != '@';
}

bool wants_more(std::string_view code) {
  const Open open = scan(code);
  return open.text || open.brackets > 0 || open.backslash || open.last == ':';
}

std::string next_indent(std::string_view code) {
  const std::string_view last = last_line(code);
  const Open open = scan(code);
  if (open.text || open.brackets > 0) return "";
  std::string out(last.substr(0, std::min(last.find_first_not_of(" \t"), last.size())));
  if (open.last == ':') out.append(kIndent, ' ');
  return out;
}

}  // namespace brood
