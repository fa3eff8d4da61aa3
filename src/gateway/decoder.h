// Decoder: bytes of one value into whatever a Builder makes of them. Pure; used for Value and for
// Python's objects. docs/protocol.md, section 6.
//
// A Builder has a type Node and:
//   Node nil(), boolean(bool), integer(int64_t), unsigned_integer(uint64_t), real(double),
//        text(sv), binary(sv), bigint(sv), complex(re, im), channel(context, number),
//        surrogates(sv)
//   Node list(Node* items, size_t count), sequence(Extension, items, count)      take the items
//   Node dict(Node* items, size_t count)                             keys and values in turn
//   bool failed(const Node&)        with error()
//   void drop(Node*, size_t count)  of items that no container took
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "gateway/packer.h"

namespace brood::gateway {

template <typename Builder>
class Decoder {
 public:
  using Node = typename Builder::Node;

  explicit Decoder(Builder& builder) : builder_(builder) {}
  ~Decoder() { builder_.drop(nodes_.data(), nodes_.size()); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // The value, or error() is set.
  bool decode(std::string_view bytes, Node& result) {
    size_t offset = 0;
    if (!values(bytes, offset)) return false;
    if (offset != bytes.size()) return fail("bytes after the value");
    result = std::move(nodes_.back());
    nodes_.pop_back();
    return true;
  }
  const std::string& error() const { return error_; }

 private:
  bool fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    return false;
  }

  // One value from `offset` on.
  bool values(std::string_view bytes, size_t& offset) {
    Visitor visitor{*this};
    try {
      const bool parsed = msgpack::parse(bytes.data(), bytes.size(), offset, visitor);
      return parsed && error_.empty() ? true : fail("these bytes are no MessagePack");
    } catch (const std::exception& exception) {  // of msgpack-cxx: sizes that cannot be
      return fail(exception.what());
    }
  }

  bool push(Node node) {
    if (builder_.failed(node)) return fail(builder_.error());
    nodes_.push_back(std::move(node));
    return true;
  }

  // Collects what msgpack-cxx finds.
  struct Visitor {
    Decoder& decoder;

    bool visit_nil() { return decoder.push(decoder.builder_.nil()); }
    bool visit_boolean(bool flag) { return decoder.push(decoder.builder_.boolean(flag)); }
    bool visit_positive_integer(uint64_t number) {
      return decoder.push(number <= INT64_MAX
                              ? decoder.builder_.integer(static_cast<int64_t>(number))
                              : decoder.builder_.unsigned_integer(number));
    }
    bool visit_negative_integer(int64_t number) {
      return decoder.push(decoder.builder_.integer(number));
    }
    bool visit_float32(float number) { return decoder.push(decoder.builder_.real(number)); }
    bool visit_float64(double number) { return decoder.push(decoder.builder_.real(number)); }
    bool visit_str(const char* data, uint32_t size) {
      return decoder.push(decoder.builder_.text({data, size}));
    }
    bool visit_bin(const char* data, uint32_t size) {
      return decoder.push(decoder.builder_.binary({data, size}));
    }
    bool visit_ext(const char* data, uint32_t size) { return decoder.extension({data, size}); }
    bool start_array(uint32_t) { return start(); }
    bool start_array_item() { return true; }
    bool end_array_item() { return true; }
    bool end_array() {
      return decoder.close(
          [&](Node* items, size_t count) { return decoder.builder_.list(items, count); });
    }
    bool start_map(uint32_t) { return start(); }
    bool start_map_key() { return true; }
    bool end_map_key() { return true; }
    bool start_map_value() { return true; }
    bool end_map_value() { return true; }
    bool end_map() {
      return decoder.close(
          [&](Node* items, size_t count) { return decoder.builder_.dict(items, count); });
    }
    void parse_error(size_t, size_t) {}
    void insufficient_bytes(size_t, size_t) {}
    bool referenced() const { return false; }
    void set_referenced(bool) {}

    bool start() { return decoder.begin(); }
  };

  bool begin() {
    if (static_cast<int>(begun_.size()) >= kMaxNesting) return fail("nested over 100 levels");
    begun_.push_back(nodes_.size());
    return true;
  }

  template <typename Make>
  bool close(Make make) {
    const size_t first = begun_.back();
    begun_.pop_back();
    const size_t count = nodes_.size() - first;
    Node node = make(nodes_.data() + first, count);
    nodes_.resize(first);  // the container, or the builder, has them
    return push(std::move(node));
  }

  bool extension(std::string_view body) {
    const auto type = static_cast<Extension>(body.front());
    body.remove_prefix(1);
    switch (type) {
      case Extension::kBigInt:
        if (body.empty() || body.size() > kMaxBigInt) return fail("a big int of a bad length");
        return push(builder_.bigint(body));
      case Extension::kComplex: {
        double parts[2];
        if (body.size() != sizeof parts) return fail("a complex of a bad length");
        std::memcpy(parts, body.data(), sizeof parts);
        return push(builder_.complex(parts[0], parts[1]));
      }
      case Extension::kChannel: {
        uint32_t parts[2];
        if (body.size() != sizeof parts) return fail("a channel of a bad length");
        std::memcpy(parts, body.data(), sizeof parts);
        return push(builder_.channel(parts[0], parts[1]));
      }
      case Extension::kSurrogates: return push(builder_.surrogates(body));
      case Extension::kTuple:
      case Extension::kSet:
      case Extension::kFrozenSet: return elements(type, body);
    }
    return fail("extension type " + std::to_string(static_cast<int>(type)) + " is unknown");
  }

  bool elements(Extension type, std::string_view body) {
    if (!begin()) return false;
    for (size_t offset = 0; offset < body.size();)
      if (!values(body, offset)) return false;
    return close([&](Node* items, size_t count) { return builder_.sequence(type, items, count); });
  }

  Builder& builder_;
  std::vector<Node> nodes_;    // finished, not yet in a container
  std::vector<size_t> begun_;  // containers: their first node
  std::string error_;
};

}  // namespace brood::gateway
