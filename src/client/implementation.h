// The inside of brood::Client: one connection, its numbered requests, and the events that came
// while an answer was waited for. Throws ClientError. Any one thread.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "brood/client.h"
#include "client/link.h"

namespace brood {

class Client::Implementation {
 public:
  struct Answered {
    nlohmann::json head;
    std::string body;
    std::string text;  // of an event: the head as it came
  };

  explicit Implementation(const ClientOptions& options);
  Implementation(const Implementation&) = delete;

  // Sends a request and waits for its answer. Events that come before it are kept.
  Answered call(const std::string& method, nlohmann::json head, std::string_view body = {});
  // Empty `session`: of any.
  std::optional<SessionEvent> next_event(const std::string& session, int timeout_ms);
  void forget_events(const std::string& session);

  const std::string& user() const { return user_; }
  const std::string& role() const { return role_; }
  int descriptor() const { return link_.descriptor(); }

 private:
  struct Message {
    FrameType type;
    Answered content;
  };

  void send(FrameType type, const nlohmann::json& head, std::string_view body = {});
  std::optional<Message> receive(int timeout_ms);
  Message expect(FrameType type, int timeout_ms);
  void log_in(const ClientOptions& options);
  void authenticate(const std::string& user, const std::string& password, int timeout_ms);
  void keep_event(Answered content);

  ClientLink link_;
  std::deque<SessionEvent> events_;
  uint64_t last_request_ = 0;
  std::string user_, role_;
};

// The member, or an empty value if there is none of that kind.
std::string text_member(const nlohmann::json& head, std::string_view name);
double number_member(const nlohmann::json& head, std::string_view name);
uint64_t count_member(const nlohmann::json& head, std::string_view name);
bool flag_member(const nlohmann::json& head, std::string_view name);

}  // namespace brood
