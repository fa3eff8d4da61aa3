// Fields: the type-length-value items inside a payload. Pure: bytes in, values or an error out.
//
//   field := tag:u16 zero:u16 length:u32 value[length]      little-endian
//
// A reader skips tags it does not know, so that a newer peer may add fields. Tags may repeat
// (lists).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace brood {

inline constexpr size_t kFieldHeader = 8;  // bytes

class FieldWriter {
 public:
  template <typename Tag>
  void add(Tag tag, std::string_view value) {
    append(static_cast<uint16_t>(tag), value);
  }
  template <typename Tag>
  void add_number(Tag tag, uint64_t value) {  // eight bytes
    append_number(static_cast<uint16_t>(tag), value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  void append(uint16_t tag, std::string_view value);
  void append_number(uint16_t tag, uint64_t value);
  std::string bytes_;
};

struct Field {
  uint16_t tag = 0;
  std::string_view value;  // points into the payload

  // The value as an eight-byte number; 0 if it has another length.
  uint64_t number() const;
  std::string text() const { return std::string(value); }
};

Error malformed(const char* what);  // "malformed <what>"

// while (reader.next(field)) ...; then check malformed().
class FieldReader {
 public:
  explicit FieldReader(std::string_view payload) : rest_(payload) {}
  bool next(Field& field);
  bool malformed() const { return malformed_; }

 private:
  std::string_view rest_;
  bool malformed_ = false;
};

// Reads a payload into a T: take(message, field) for each field, in their order. A `take` that
// returns a bool says with false that the value is malformed. `what` is for the error's text.
template <typename T, typename Take>
Result<T> read_message(std::string_view payload, const char* what, Take take) {
  T message;
  FieldReader reader(payload);
  Field field;
  bool good = true;
  while (good && reader.next(field)) {
    if constexpr (std::is_void_v<std::invoke_result_t<Take, T&, const Field&>>)
      take(message, field);
    else
      good = take(message, field);
  }
  if (!good || reader.malformed()) return malformed(what);
  return message;
}

// Little-endian numbers, for those who need them raw.
void put_u16(std::string& out, uint16_t value);
void put_u32(std::string& out, uint32_t value);
void put_u64(std::string& out, uint64_t value);
uint16_t get_u16(const char* bytes);
uint32_t get_u32(const char* bytes);
uint64_t get_u64(const char* bytes);

}  // namespace brood
