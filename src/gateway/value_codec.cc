// brood::Value on the wire, and as text.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "brood/value.h"
#include "gateway/decoder.h"

namespace brood {

using gateway::Extension;

namespace {

class Encoder {
 public:
  explicit Encoder(std::string& bytes) : packer_(bytes) {}

  bool encode(const Value& value) {
    return std::visit([this](const auto& data) { return put(data); }, value.data());
  }
  const std::string& error() const { return error_; }

 private:
  bool done() const { return true; }
  bool put(None) { return packer_.nil(), true; }
  bool put(bool flag) { return packer_.boolean(flag), true; }
  bool put(int64_t number) { return packer_.integer(number), true; }
  bool put(uint64_t number) { return packer_.unsigned_integer(number), true; }
  bool put(const BigInt& number) {
    return packer_.extension(Extension::kBigInt, number.bytes), true;
  }
  bool put(double number) { return packer_.real(number), true; }
  bool put(const std::complex<double>& number) { return packer_.complex(number), true; }
  bool put(const std::string& text) {
    if (!is_utf8(text)) return fail("a str is no UTF-8");
    return packer_.text(text), true;
  }
  bool put(const Bytes& bytes) { return packer_.binary(bytes.data), true; }
  bool put(const ChannelName& name) { return packer_.channel(name.context, name.channel), true; }
  bool put(const List& list) {
    packer_.array(list.items.size());
    return items(list.items);
  }
  bool put(const Tuple& tuple) { return extension(Extension::kTuple, tuple.items); }
  bool put(const Set& set) { return extension(Extension::kSet, set.items); }
  bool put(const FrozenSet& set) { return extension(Extension::kFrozenSet, set.items); }
  bool put(const Dict& dict) {
    packer_.map(dict.items.size());
    if (++depth_ > gateway::kMaxNesting) return fail("nested over 100 levels");
    for (const auto& [name, value] : dict.items)
      if (!encode(name) || !encode(value)) return false;
    --depth_;
    return true;
  }

  bool extension(Extension type, const std::vector<Value>& list) {
    const size_t begin = packer_.begin_extension();
    if (!items(list)) return false;
    packer_.end_extension(begin, type);
    return true;
  }
  bool items(const std::vector<Value>& list) {
    if (++depth_ > gateway::kMaxNesting) return fail("nested over 100 levels");
    for (const Value& item : list)
      if (!encode(item)) return false;
    --depth_;
    return true;
  }
  bool fail(const char* why) { return error_ = why, false; }

  gateway::Packer packer_;
  int depth_ = 0;
  std::string error_;
};

struct ValueBuilder {
  using Node = Value;

  Node nil() { return None{}; }
  Node boolean(bool flag) { return flag; }
  Node integer(int64_t number) { return number; }
  Node unsigned_integer(uint64_t number) { return number; }
  Node real(double number) { return number; }
  Node text(std::string_view text) {
    if (!is_utf8(text)) why = "a str is no UTF-8";
    return text;
  }
  Node binary(std::string_view data) { return Bytes{std::string(data)}; }
  Node bigint(std::string_view bytes) { return BigInt{std::string(bytes)}; }
  Node complex(double real, double imaginary) { return std::complex<double>(real, imaginary); }
  Node channel(uint32_t context, uint32_t number) { return ChannelName{context, number}; }
  // C++ has no such text; the bytes are the closest.
  Node surrogates(std::string_view bytes) { return Bytes{std::string(bytes)}; }
  static std::vector<Value> take(Node* items, size_t count) {
    return {std::make_move_iterator(items), std::make_move_iterator(items + count)};
  }
  Node list(Node* items, size_t count) { return List(take(items, count)); }
  Node sequence(Extension type, Node* items, size_t count) {
    if (type == Extension::kTuple) return Tuple(take(items, count));
    for (size_t i = 0; i < count; ++i)
      if (!hashable(items[i])) why = "an element of a set is not hashable";
    if (type == Extension::kSet) return Set(take(items, count));
    return FrozenSet(take(items, count));
  }
  Node dict(Node* items, size_t count) {
    Dict dict;
    dict.items.reserve(count / 2);
    for (size_t i = 0; i + 1 < count; i += 2) {
      if (!hashable(items[i])) why = "a key is not hashable";
      dict.items.emplace_back(std::move(items[i]), std::move(items[i + 1]));
    }
    if (has_twice(dict)) why = "a map has a key twice";
    return dict;
  }
  static bool hashable(const Value& value) {
    if (const auto* tuple = value.as<Tuple>())
      return std::all_of(tuple->items.begin(), tuple->items.end(), hashable);
    return value.as<List>() == nullptr && value.as<Dict>() == nullptr && value.as<Set>() == nullptr;
  }
  // Python's equality: True, 1 and 1.0 are one key.
  static Value canonical(const Value& value) {
    if (const bool* flag = value.as<bool>()) return *flag ? 1 : 0;
    if (const double* real = value.as<double>()) {
      constexpr double kLargest = 9e18;
      if (*real >= -kLargest && *real <= kLargest && *real == std::floor(*real))
        return static_cast<int64_t>(*real);
    }
    Tuple tuple;
    if (const Tuple* items = value.as<Tuple>()) {
      for (const Value& item : items->items)
        tuple.items.push_back(canonical(item));
      return tuple;
    }
    return value;
  }
  static bool has_twice(const Dict& dict) {
    std::vector<std::string> keys;
    keys.reserve(dict.items.size());
    for (const auto& [key, value] : dict.items)
      keys.push_back(dump(canonical(key)).bytes);
    std::sort(keys.begin(), keys.end());
    return std::adjacent_find(keys.begin(), keys.end()) != keys.end();
  }
  bool failed(const Node&) const { return !why.empty(); }
  const std::string& error() const { return why; }
  void drop(Node*, size_t) {}

  std::string why;
};

// --- text ----------------------------------------------------------------------------------------

std::string quoted(std::string_view text, bool ascii) {
  const char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\')
      out.append(1, '\\').append(1, c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (byte < 32 || byte == 127 || (ascii && byte > 127))
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out += quote;
}

std::string real_text(double number) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  std::string text(digits, end);
  if (text.find_first_not_of("-0123456789") == text.npos) text += ".0";
  return text;
}

struct Text {
  std::string operator()(None) const { return "None"; }
  std::string operator()(bool flag) const { return flag ? "True" : "False"; }
  std::string operator()(int64_t number) const { return std::to_string(number); }
  std::string operator()(uint64_t number) const { return std::to_string(number); }
  std::string operator()(const BigInt& number) const {
    const bool negative = !number.bytes.empty() && (number.bytes.back() & 0x80);
    std::string digits;
    for (auto byte = number.bytes.rbegin(); byte != number.bytes.rend(); ++byte)
      digits += fmt::format("{:02x}", static_cast<unsigned char>(*byte));
    return negative ? fmt::format("(0x{} - (1 << {}))", digits, number.bytes.size() * 8)
                    : "0x" + digits;
  }
  std::string operator()(double number) const { return real_text(number); }
  std::string operator()(const std::complex<double>& number) const {
    return fmt::format("({}{}{}j)", real_text(number.real()), number.imag() < 0 ? "" : "+",
                       real_text(number.imag()));
  }
  std::string operator()(const std::string& text) const { return quoted(text, false); }
  std::string operator()(const Bytes& bytes) const { return "b" + quoted(bytes.data, true); }
  std::string operator()(const List& list) const { return "[" + joined(list.items) + "]"; }
  std::string operator()(const Tuple& tuple) const {
    return "(" + joined(tuple.items) + (tuple.items.size() == 1 ? ",)" : ")");
  }
  std::string operator()(const Set& set) const {
    return set.items.empty() ? "set()" : "{" + joined(set.items) + "}";
  }
  std::string operator()(const FrozenSet& set) const {
    return set.items.empty() ? "frozenset()" : "frozenset({" + joined(set.items) + "})";
  }
  std::string operator()(const Dict& dict) const {
    std::string out;
    for (const auto& [key, value] : dict.items)
      out += (out.empty() ? "" : ", ") + key.to_text() + ": " + value.to_text();
    return "{" + out + "}";
  }
  std::string operator()(const ChannelName& name) const {
    return fmt::format("<Channel {} of context {}>", name.channel, name.context);
  }
  static std::string joined(const std::vector<Value>& items) {
    std::string out;
    for (const Value& item : items)
      out += (out.empty() ? "" : ", ") + item.to_text();
    return out;
  }
};

}  // namespace

bool equal(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i])) return false;
  return true;
}

bool Dict::operator==(const Dict& other) const {
  if (items.size() != other.items.size()) return false;
  for (size_t i = 0; i < items.size(); ++i)
    if (!(items[i].first == other.items[i].first) || !(items[i].second == other.items[i].second))
      return false;
  return true;
}

bool Value::operator==(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(
      [&](const auto& mine) {
        return mine == *std::get_if<std::decay_t<decltype(mine)>>(&other.data_);
      },
      data_);
}

const Value* Dict::find(std::string_view name) const {
  for (const auto& [key, value] : items)
    if (const std::string* text = key.as_text(); text != nullptr && *text == name) return &value;
  return nullptr;
}

std::optional<int64_t> Value::as_integer() const {
  if (const bool* flag = as<bool>()) return *flag ? 1 : 0;
  if (const int64_t* number = as<int64_t>()) return *number;
  return std::nullopt;
}

std::optional<double> Value::as_real() const {
  if (const double* number = as<double>()) return *number;
  if (const uint64_t* number = as<uint64_t>()) return static_cast<double>(*number);
  if (const auto number = as_integer()) return static_cast<double>(*number);
  return std::nullopt;
}

const std::string* Value::as_bytes() const {
  if (const Bytes* bytes = as<Bytes>()) return &bytes->data;
  return as_text();
}

std::string Value::to_text() const { return std::visit(Text{}, data_); }

Dumped dump(const Value& value) {
  Dumped dumped;
  Encoder encoder(dumped.bytes);
  if (!encoder.encode(value)) dumped.error = encoder.error();
  return dumped;
}

Loaded load(std::string_view bytes) {
  ValueBuilder builder;
  gateway::Decoder<ValueBuilder> decoder(builder);
  Value value;
  if (!decoder.decode(bytes, value)) return {std::nullopt, decoder.error()};
  return {std::move(value), {}};
}

}  // namespace brood
