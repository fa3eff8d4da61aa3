// Collector: executes nothing, but gathers the events of one cell into one result, for clients that
// want an answer instead of events (method `run`). Server process, its one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "session/api.h"
#include "session/session.h"

namespace brood {

class Collector final : public Listener {
 public:
  // Reads from `after` on. `reply` gets the result at the cell's `done`, or at the session's end.
  // Output, displays and the value are cut where they have `max_output` bytes, or `max_json` as
  // JSON.
  Collector(Session& session, uint64_t after, uint64_t cell, size_t max_output, size_t max_json,
            Reply reply);
  ~Collector();
  Collector(const Collector&) = delete;

  void on_events() override;
  bool finished() const { return finished_; }

 private:
  void take(const Event& event);
  void take_output(std::string& text, const Event& event);
  void take_error(nlohmann::json head, size_t bytes);
  size_t json_prefix(std::string_view text, size_t room, size_t json_room);

  Session* session_;  // null once the cell is over
  std::unique_ptr<EventLog::Cursor> cursor_;
  const uint64_t cell_;
  const size_t max_output_, max_json_;
  size_t size_ = 0, json_ = 0;
  std::string out_, err_;
  nlohmann::json result_;
  Reply reply_;
  bool finished_ = false;
};

}  // namespace brood
