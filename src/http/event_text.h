// EventWriter: events as JSON text, for a WebSocket or server-sent events. Pure; one for each
// client, since it holds back characters that are not complete yet.
#pragma once

#include <string>
#include <vector>

#include "base/utf8.h"
#include "session/event.h"

namespace brood {

struct EventText {
  uint64_t seq = 0;
  std::string type;
  std::string json;  // one line
};

class EventWriter {
 public:
  // The event, after what was held back if it ends the output (done, undone, dropped, ended).
  // Nothing: an output of which only a part of one character has come.
  std::vector<EventText> write(const Event& event);

 private:
  void flush(Utf8Stream& stream, const char* type, std::vector<EventText>& out);

  Utf8Stream stdout_, stderr_;
  uint64_t last_seq_ = 0, last_cell_ = 0;  // of the event before
};

}  // namespace brood
