// Event: one thing that happened in a session, as every joined client gets it. A value; once it is
// in the log it never changes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace brood {

struct Event {
  uint64_t seq = 0;  // 1, 2, ... within the session
  std::string type;  // docs/protocol.md, section 5: "stdout", "display", "done", ...
  uint64_t cell = 0;
  std::string head;  // a JSON object: the members of that type, without seq, type and cell
  std::string body;  // raw; of stdout, stderr and message

  size_t size() const { return sizeof(Event) + type.size() + head.size() + body.size(); }
};

using EventPointer =
    std::shared_ptr<const Event>;  // shared by the log and those who are writing it

}  // namespace brood
