#include <langinfo.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <cwchar>

#include "main/line_editor.h"
#include "main/terminal.h"
#include "main/terminal_width.h"

namespace brood {
namespace {

constexpr char kEndOfFile = 4;  // Ctrl-D
// What a terminal sends around a paste, once it was asked to.
constexpr std::string_view kAskForPastes = "\x1b[?2004h", kNoMorePastes = "\x1b[?2004l";
constexpr std::string_view kPasteBegins = "\x1b[200~", kPasteEnds = "\x1b[201~";
constexpr const char* kClearBelow = "\x1b[J";
constexpr int kBurstMs = 20;              // between the pieces of lines that come at once
constexpr int kPasteMs = 2'000;           // between the pieces of a paste whose end is to come
constexpr char kQuote = '\1';             // around what the terminal does not show of a prompt
constexpr wchar_t kNoCharacter = 0xfffd;  // stands for bytes that are none

// What is typed goes to the server as it is, and so has to be UTF-8: of a locale with another
// encoding only that is not used.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  for (const char* name : {"C.UTF-8", "C.utf8", "en_US.UTF-8"}) {
    if (std::string_view(nl_langinfo(CODESET)) == "UTF-8") return;
    std::setlocale(LC_CTYPE, name);
  }
}

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// Where the code point of that number begins.
size_t byte_of(std::string_view text, size_t code_point) {
  size_t at = 0;
  for (; at < text.size(); at++)
    if (!continues_character(text[at]) && code_point-- == 0) break;
  return at;
}

std::string common_begin(const std::vector<std::string>& words) {
  std::string out = words.front();
  for (const std::string& word : words) {
    const auto end = std::mismatch(out.begin(), out.end(), word.begin(), word.end()).first;
    out.erase(end, out.end());
  }
  while (!out.empty() && continues_character(out.back()))
    out.pop_back();
  return out;
}

size_t shown_width(const std::string& prompt) {
  size_t width = 0;
  bool hidden = false;
  for (const char c : prompt) {
    if (c == kQuote)
      hidden = !hidden;
    else if (!hidden && !continues_character(c))
      width++;
  }
  return width;
}

size_t columns_of(wchar_t c) {
  if (c < ' ' || c == 0x7f) return 2;  // ^A
  return static_cast<size_t>(std::max(0, wcwidth(c)));
}

size_t columns_of(const std::string& text) {
  std::wstring characters(text.size(), L'\0');
  const size_t count = std::mbstowcs(characters.data(), text.c_str(), characters.size());
  characters.resize(count == static_cast<size_t>(-1) ? 0 : count);
  size_t columns = 0;
  for (const wchar_t c : characters)
    columns += columns_of(c);
  return columns;
}

// How far below the begin of the prompt, which has that width, libedit shows text[place].
size_t rows_above(size_t prompt, std::wstring_view text, size_t place) {
  constexpr size_t kTab = 8;
  const size_t columns = terminal_width(80);
  size_t row = prompt / columns, column = prompt % columns;
  for (size_t i = 0; i < text.size(); i++) {
    size_t width = columns_of(text[i]);
    if (text[i] == '\n') width = columns - column;
    if (text[i] == '\t') width = std::min(kTab - column % kTab, columns - column);
    if (column + width > columns) {  // one of two columns, and one is left
      row++;
      column = 0;
    }
    if (i == place) break;
    column += width;
    if (column < columns) continue;
    row++;
    column = 0;
  }
  return row;
}

std::string cursor_up(size_t rows) { return rows > 0 ? "\x1b[" + std::to_string(rows) + "A" : ""; }
std::string cursor_down(size_t rows) {
  return rows > 0 ? "\x1b[" + std::to_string(rows) + "B" : "";
}

bool is_text(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  return (code >= ' ' && code != 0x7f) || byte == '\t' || byte == '\n' || byte == '\r';
}

size_t text_size(std::string_view bytes) {
  return static_cast<size_t>(std::find_if_not(bytes.begin(), bytes.end(), is_text) - bytes.begin());
}

// Whether there is something behind the end of the first line.
bool has_lines(std::string_view text) {
  const size_t end = text.find_first_of("\r\n");
  return end != text.npos && text.find_first_not_of("\r\n", end) != text.npos;
}

// As Python wants it: lines end in \n, and there are no other control characters.
std::string cleaned(std::string_view pasted) {
  std::string out;
  for (size_t i = 0; i < pasted.size(); i++) {
    if (!is_text(pasted[i])) continue;
    if (pasted[i] != '\r')
      out.push_back(pasted[i]);
    else if (i + 1 == pasted.size() || pasted[i + 1] != '\n')
      out.push_back('\n');
  }
  return out;
}

bool may_have_escapes() {
  const char* terminal = std::getenv("TERM");
  return terminal && *terminal && std::string_view(terminal) != "dumb";
}

bool is_readable(int wait_ms) {
  pollfd item{STDIN_FILENO, POLLIN, 0};
  return poll(&item, 1, wait_ms) > 0;
}

}  // namespace

// What libedit calls, with the editor as its client data.
struct EditorCallbacks {
  static LineEditor& of(EditLine* line) {
    void* data = nullptr;
    el_get(line, EL_CLIENTDATA, &data);
    return *static_cast<LineEditor*>(data);
  }
  static int get(EditLine* line, wchar_t* to) { return of(line).get(to); }
  static char* prompt(EditLine* line) { return of(line).prompt_.data(); }
  static unsigned char complete(EditLine* line, int) { return of(line).complete(); }
  static unsigned char paste(EditLine* line, int) { return of(line).paste(); }
};

LineEditor::LineEditor(std::string history, Needs needs)
    : needs_(std::move(needs)),
      history_(std::move(history)),
      line_((use_utf8(), el_init("brood", stdin, stdout, stderr))),
      brackets_(may_have_escapes()) {
  el_set(line_, EL_CLIENTDATA, this);
  el_set(line_, EL_EDITOR, "emacs");
  el_set(line_, EL_SIGNAL, 0);
  el_set(line_, EL_HIST, ::history, history_.get());
  el_set(line_, EL_PROMPT_ESC, EditorCallbacks::prompt, kQuote);
  el_set(line_, EL_GETCFN, EditorCallbacks::get);
  el_set(line_, EL_ADDFN, "brood-complete", "complete from the session", EditorCallbacks::complete);
  el_set(line_, EL_BIND, "\t", "brood-complete", nullptr);
  el_set(line_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_source(line_, nullptr);  // ~/.editrc
  el_set(line_, EL_ADDFN, "brood-paste", "take a paste as it is", EditorCallbacks::paste);
  el_set(line_, EL_BIND, kPasteBegins.data(), "brood-paste", nullptr);
}

LineEditor::~LineEditor() { el_end(line_); }

LineEditor::Outcome LineEditor::read(const std::string& prompt, const std::string& indent,
                                     std::string& line) {
  prompt_ = prompt;
  indent_ = indent;
  left_ = false;
  int early = 0;
  typed_early_ = ioctl(STDIN_FILENO, FIONREAD, &early) == 0 ? static_cast<size_t>(early) : 0;
  if (!indent.empty()) el_push(line_, indent.c_str());
  if (brackets_) write_terminal(kAskForPastes);
  int count = 0;
  const char* got = el_gets(line_, &count);
  if (brackets_) write_terminal(kNoMorePastes);
  if (left_) {
    el_reset(line_);
    return Outcome::kLeft;
  }
  if (!got || count <= 0) return Outcome::kEnd;
  line.assign(got, static_cast<size_t>(count));
  if (line.ends_with('\n')) line.pop_back();
  return Outcome::kLine;
}

void LineEditor::add(const std::string& line) {
  if (line.find_first_not_of(" \t") != line.npos) history_.add(line);
}

LineEditor::Rows LineEditor::rows() const {
  const LineInfoW* info = el_wline(line_);
  const std::wstring_view text(info->buffer, static_cast<size_t>(info->lastchar - info->buffer));
  const size_t prompt = shown_width(prompt_);
  const auto cursor = static_cast<size_t>(info->cursor - info->buffer);
  const size_t above = rows_above(prompt, text, cursor);
  return {above, rows_above(prompt, text, text.size()) - above};
}

void LineEditor::hide() { write_terminal("\r" + cursor_up(rows().above) + kClearBelow); }

void LineEditor::show(const std::string& prompt) {
  prompt_ = prompt;
  el_resize(line_);
  el_set(line_, EL_REFRESH);
}

void LineEditor::give_terminal() {
  write_terminal(cursor_down(rows().below));
  if (brackets_) write_terminal(kNoMorePastes);
  el_set(line_, EL_PREP_TERM, 0);
}

// What libedit knows of the terminal's mode is not so when this program was stopped unprepared.
void LineEditor::take_terminal() {
  el_set(line_, EL_PREP_TERM, 0);
  el_set(line_, EL_PREP_TERM, 1);
  if (brackets_) write_terminal(kAskForPastes);
  write_terminal(std::string("\r") + kClearBelow);
}

bool LineEditor::empty() const {
  const LineInfo* info = el_line(line_);
  return info->buffer == info->lastchar;
}

// One character of the terminal's, however many bytes it has.
int LineEditor::get(wchar_t* to) {
  std::mbstate_t state{};
  for (;;) {
    while (ahead_.empty())
      if (!fill()) return 0;
    char byte = ahead_.front();
    ahead_.erase(0, 1);
    // Typed before the line could be: the terminal was not in raw mode yet, and gives NUL for it.
    if (byte == 0 && empty()) byte = kEndOfFile;
    const bool continues = std::mbsinit(&state) == 0;
    const size_t used = std::mbrtowc(to, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // the rest of it follows
    if (used != static_cast<size_t>(-1)) return 1;
    if (continues) ahead_.insert(0, 1, byte);  // it begins another one
    *to = kNoCharacter;
    return 1;
  }
}

// Waits for bytes; false: there are none, or the line is to be left.
bool LineEditor::fill() {
  if (!needs_.wait()) {
    left_ = true;
    return false;
  }
  const size_t most = typed_early_ > 0 ? typed_early_ : SIZE_MAX;
  const ssize_t got = read_more(most);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (typed_early_ > 0)
    typed_early_ -= static_cast<size_t>(got);
  else
    find_burst();
  return got > 0;
}

ssize_t LineEditor::read_more(size_t most) {
  char bytes[4096];
  const ssize_t got = ::read(typing_descriptor(), bytes, std::min(most, sizeof bytes));
  if (got > 0) ahead_.append(bytes, static_cast<size_t>(got));
  return got;
}

// Several lines at once: nobody types like that. libedit gets them as a paste.
void LineEditor::find_burst() {
  size_t end = text_size(ahead_);
  if (!has_lines(std::string_view(ahead_).substr(0, end))) return;
  while (end == ahead_.size() && is_readable(kBurstMs) && read_more(SIZE_MAX) > 0)
    end = text_size(ahead_);
  burst_ = ahead_.substr(0, end);
  const bool entered = burst_.ends_with('\n') || burst_.ends_with('\r');
  ahead_.replace(0, end, std::string(kPasteBegins) + (entered ? "\n" : ""));
}

// Up to the mark of its end, which is not always there.
std::string LineEditor::read_paste() {
  size_t end = ahead_.find(kPasteEnds);
  while (end == ahead_.npos) {
    const size_t seen = ahead_.size();
    if (!is_readable(kPasteMs) || read_more(SIZE_MAX) <= 0) break;
    end = ahead_.find(kPasteEnds, seen - std::min(seen, kPasteEnds.size()));
  }
  std::string text = ahead_.substr(0, end);
  ahead_.erase(0, end == ahead_.npos ? end : end + kPasteEnds.size());
  return text;
}

unsigned char LineEditor::paste() {
  const std::string pasted = burst_.empty() ? read_paste() : std::exchange(burst_, {});
  std::string text = cleaned(pasted);
  if (text.ends_with('\n')) text.pop_back();  // Enter is the end of the last line
  if (text.empty()) return CC_NORM;
  const LineInfo* info = el_line(line_);
  const std::string_view before(info->buffer, static_cast<size_t>(info->lastchar - info->buffer));
  if (before == indent_ && (has_lines(text) || text.front() == ' ' || text.front() == '\t'))
    el_deletestr(line_, static_cast<int>(indent_.size()));
  return el_insertstr(line_, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char LineEditor::complete() {
  const LineInfo* info = el_line(line_);
  const std::string before(info->buffer, static_cast<size_t>(info->cursor - info->buffer));
  if (before.find_first_not_of(" \t", before.rfind('\n') + 1) == before.npos)
    return el_insertstr(line_, "    ") == 0 ? CC_REFRESH : CC_ERROR;
  const Completed found = needs_.complete(before);
  if (found.matches.empty()) return CC_REFRESH_BEEP;
  const std::string typed = before.substr(byte_of(before, found.start));
  const std::string begin = common_begin(found.matches);
  if (begin.starts_with(typed) && begin.size() > typed.size())
    return el_insertstr(line_, begin.substr(typed.size()).c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  if (found.matches.size() == 1) return CC_REFRESH;
  list(found.matches);
  return CC_REDISPLAY;
}

void LineEditor::list(const std::vector<std::string>& matches) {
  constexpr size_t kShown = 200;
  size_t widest = 0;
  for (const std::string& match : matches)
    widest = std::max(widest, columns_of(match) + 2);
  const size_t columns = std::max<size_t>(1, terminal_width(80) / widest);
  std::string out;
  for (size_t i = 0; i < std::min(matches.size(), kShown); i++) {
    out += i % columns == 0 ? "\n" : "";
    out += matches[i] + std::string(widest - columns_of(matches[i]), ' ');
  }
  if (matches.size() > kShown)
    out += "\n... and " + std::to_string(matches.size() - kShown) + " more";
  write_terminal(out + "\n");
}

}  // namespace brood
