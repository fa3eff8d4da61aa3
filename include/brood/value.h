// brood::Value: what channels and calls carry: Python's basic types, as C++ sees them.
//
//   Value item = List{1, "two", Dict{{"three", 3.0}}};
//   if (const Dict* dict = item.as<Dict>()) ...
//   std::string where = item.to_text();        // as Python's repr()
//
// A value is copied deeply, compares by contents, and is safe to read from several threads. dump()
// and load() are its form on the wire (docs/protocol.md, section 6).
#pragma once

#include <complex>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace brood {

class Value;

struct None {
  bool operator==(const None&) const = default;
};

// An integer of more than 64 bits: two's complement, little-endian.
struct BigInt {
  std::string bytes;
  bool operator==(const BigInt&) const = default;
};

struct Bytes {
  std::string data;
  bool operator==(const Bytes&) const = default;
};

bool equal(const std::vector<Value>& a, const std::vector<Value>& b);

// Elements in order; the tag tells Python's list, tuple, set and frozenset apart.
template <int kTag>
struct Sequence {
  std::vector<Value> items;
  Sequence() = default;
  Sequence(std::initializer_list<Value> list);
  explicit Sequence(std::vector<Value> list);
  bool operator==(const Sequence& other) const { return equal(items, other.items); }
};
using List = Sequence<0>;
using Tuple = Sequence<1>;
using Set = Sequence<2>;
using FrozenSet = Sequence<3>;

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in Python's order
  Dict() = default;
  Dict(std::initializer_list<std::pair<Value, Value>> list);
  const Value* find(std::string_view name) const;  // null: there is no such key
  bool operator==(const Dict&) const;
};

// The other end of a channel that was sent as a value (channel.h).
struct ChannelName {
  uint32_t context = 0;  // 0xFFFFFFFF: the sender
  uint32_t channel = 0;
  bool operator==(const ChannelName&) const = default;
};

class Value {
 public:
  using Data = std::variant<None, bool, int64_t, uint64_t, BigInt, double, std::complex<double>,
                            std::string, Bytes, List, Tuple, Set, FrozenSet, Dict, ChannelName>;

  Value() = default;
  template <typename T>
  requires std::is_constructible_v<Data, T&&> &&
      (!std::is_arithmetic_v<std::decay_t<T>>)Value(T&& data)
      : data_(std::forward<T>(data)) {}                       // NOLINT(google-explicit-constructor)
  Value(bool flag) : data_(flag) {}                           // NOLINT(google-explicit-constructor)
  Value(double real) : data_(real) {}                         // NOLINT(google-explicit-constructor)
  Value(const char* text) : data_(std::string(text)) {}       // NOLINT(google-explicit-constructor)
  Value(std::string_view text) : data_(std::string(text)) {}  // NOLINT(google-explicit-constructor)
  template <typename T>
  requires std::is_integral_v<T> &&
      (!std::is_same_v<T, bool>)Value(T number) {  // NOLINT(google-explicit-constructor)
    if (std::is_signed_v<T> || number <= static_cast<T>(INT64_MAX))
      data_ = static_cast<int64_t>(number);
    else
      data_ = static_cast<uint64_t>(number);
  }

  const Data& data() const { return data_; }
  Data& data() { return data_; }
  // Null if it is of another type.
  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  // An integer or bool that fits; a str; bytes or str as they are.
  std::optional<int64_t> as_integer() const;
  std::optional<double> as_real() const;  // also an integer
  const std::string* as_text() const { return as<std::string>(); }
  const std::string* as_bytes() const;
  // As Python's repr() writes it.
  std::string to_text() const;
  bool operator==(const Value&) const;

 private:
  Data data_;
};

// The value's bytes, or why it cannot be sent (`error`): nested over 100 levels, a str that is no
// UTF-8.
struct Dumped {
  std::string bytes;
  std::string error;
};
Dumped dump(const Value& value);

struct Loaded {
  std::optional<Value> value;
  std::string error;  // why these bytes are no value
};
Loaded load(std::string_view bytes);

template <int kTag>
Sequence<kTag>::Sequence(std::initializer_list<Value> list) : items(list) {}
template <int kTag>
Sequence<kTag>::Sequence(std::vector<Value> list) : items(std::move(list)) {}
inline Dict::Dict(std::initializer_list<std::pair<Value, Value>> list) : items(list) {}

}  // namespace brood
