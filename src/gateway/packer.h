// What both encoders share (Value's and Python's): MessagePack by msgpack-cxx into a string, and
// brood's extension types. docs/protocol.md, section 6. Pure.
#pragma once

#define MSGPACK_NO_BOOST
#include <bit>
#include <complex>
#include <cstdint>
#include <cstring>
#include <msgpack.hpp>
#include <string>
#include <string_view>

namespace brood::gateway {

enum class Extension : int8_t {
  kBigInt = 1,
  kTuple = 2,
  kSet = 3,
  kFrozenSet = 4,
  kComplex = 5,
  kChannel = 6,
  kSurrogates = 7,
};

inline constexpr int kMaxNesting = 100;
inline constexpr size_t kMaxBigInt = 1 << 20;  // bytes

// A buffer as msgpack::packer wants it.
struct StringSink {
  std::string& bytes;
  void write(const char* data, size_t size) { bytes.append(data, size); }
};

class Packer {
 public:
  explicit Packer(std::string& bytes) : bytes_(bytes), sink_{bytes}, packer_(sink_) {}

  void nil() { packer_.pack_nil(); }
  void boolean(bool flag) { flag ? packer_.pack_true() : packer_.pack_false(); }
  void integer(int64_t number) { packer_.pack_int64(number); }
  void unsigned_integer(uint64_t number) { packer_.pack_uint64(number); }
  // Not by msgpack-cxx: it would write 1.0 as the integer 1.
  void real(double number) {
    const auto bits = std::bit_cast<uint64_t>(number);
    char bytes[9] = {'\xcb'};
    for (int i = 0; i < 8; ++i)
      bytes[1 + i] = static_cast<char>(bits >> (56 - 8 * i));
    bytes_.append(bytes, sizeof bytes);
  }
  void text(std::string_view text) {
    packer_.pack_str(static_cast<uint32_t>(text.size()));
    bytes_.append(text);
  }
  void binary_head(size_t size) { packer_.pack_bin(static_cast<uint32_t>(size)); }
  void binary(std::string_view data) {
    binary_head(data.size());
    bytes_.append(data);
  }
  void array(size_t count) { packer_.pack_array(static_cast<uint32_t>(count)); }
  void map(size_t count) { packer_.pack_map(static_cast<uint32_t>(count)); }
  void extension(Extension type, std::string_view body) {
    packer_.pack_ext(body.size(), static_cast<int8_t>(type));
    bytes_.append(body);
  }
  void complex(std::complex<double> number) {
    const double parts[2] = {number.real(), number.imag()};
    extension(Extension::kComplex, {reinterpret_cast<const char*>(parts), sizeof parts});
  }
  void channel(uint32_t context, uint32_t channel) {
    const uint32_t parts[2] = {context, channel};
    extension(Extension::kChannel, {reinterpret_cast<const char*>(parts), sizeof parts});
  }

  // An extension whose body is what is packed between these two. The header is written last: its
  // length depends on the body's.
  size_t begin_extension() const { return bytes_.size(); }
  void end_extension(size_t begin, Extension type) {
    const size_t size = bytes_.size() - begin;
    std::string head;
    StringSink sink{head};
    msgpack::packer<StringSink>(sink).pack_ext(size, static_cast<int8_t>(type));
    bytes_.insert(begin, head);
  }

 private:
  std::string& bytes_;
  StringSink sink_;
  msgpack::packer<StringSink> packer_;
};

}  // namespace brood::gateway
