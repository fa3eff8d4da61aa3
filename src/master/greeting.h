// The first bytes on a link: the mark of the child, then GREET in both directions
// (docs/protocol.md, section 7). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "brood/value.h"

namespace brood::master {

// GREET of the parent, as bytes.
std::string encode_greet(uint32_t to, uint32_t from, const Dict& greet);

// What a child sends first.
class GreetingReader {
 public:
  // Its GREET, once that is complete.
  Result<std::optional<Dict>> feed(std::string_view bytes);
  const std::string& banner() const { return banner_; }  // what came before the mark
  std::string_view ahead() const { return bytes_; }      // what came behind its GREET

 private:
  Result<std::optional<Dict>> take_greet();

  std::string banner_, bytes_;
  bool marked_ = false;
};

}  // namespace brood::master
