#include "wire/fields.h"

#include <utility>

namespace brood {
namespace {

template <typename T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); i++)
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff));
}

template <typename T>
T get(const char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); i++)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace

void put_u16(std::string& out, uint16_t value) { put(out, value); }
void put_u32(std::string& out, uint32_t value) { put(out, value); }
void put_u64(std::string& out, uint64_t value) { put(out, value); }
uint16_t get_u16(const char* bytes) { return get<uint16_t>(bytes); }
uint32_t get_u32(const char* bytes) { return get<uint32_t>(bytes); }
uint64_t get_u64(const char* bytes) { return get<uint64_t>(bytes); }

void FieldWriter::append(uint16_t tag, std::string_view value) {
  put_u16(bytes_, tag);
  put_u16(bytes_, 0);
  put_u32(bytes_, static_cast<uint32_t>(value.size()));
  bytes_.append(value);
}

void FieldWriter::append_number(uint16_t tag, uint64_t value) {
  std::string bytes;
  put_u64(bytes, value);
  append(tag, bytes);
}

uint64_t Field::number() const { return value.size() == 8 ? get_u64(value.data()) : 0; }

Error malformed(const char* what) { return Error{std::string("malformed ") + what}; }

bool FieldReader::next(Field& field) {
  if (rest_.empty() || malformed_) return false;
  if (rest_.size() < kFieldHeader) {
    malformed_ = true;
    return false;
  }
  const uint16_t zero = get_u16(rest_.data() + 2);
  const uint32_t length = get_u32(rest_.data() + 4);
  if (zero != 0 || length > rest_.size() - kFieldHeader) {
    malformed_ = true;
    return false;
  }
  field.tag = get_u16(rest_.data());
  field.value = rest_.substr(kFieldHeader, length);
  rest_.remove_prefix(kFieldHeader + length);
  return true;
}

}  // namespace brood
