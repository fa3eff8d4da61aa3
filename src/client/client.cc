#include "brood/client.h"

#include <algorithm>
#include <cmath>

#include "client/implementation.h"

namespace brood {

using nlohmann::json;

namespace {

constexpr size_t kFilePiece = 1u << 20;  // bytes of one put or get

SessionInfo session_info(const json& head) {
  SessionInfo out;
  out.id = text_member(head, "id");
  out.name = text_member(head, "name");
  out.env = text_member(head, "env");
  out.owner = text_member(head, "owner");
  out.access = text_member(head, "access");
  out.state = text_member(head, "state");
  out.python = text_member(head, "python");
  out.execution_count = count_member(head, "execution_count");
  out.cell = count_member(head, "cell");
  out.queued = count_member(head, "queued");
  out.clients = count_member(head, "clients");
  out.checkpoints = count_member(head, "checkpoints");
  out.next_seq = count_member(head, "next_seq");
  out.created = number_member(head, "created");
  out.used = number_member(head, "used");
  out.json = head.dump();
  return out;
}

MimeData mime_data(const json& data) {
  MimeData out;
  if (!data.is_object()) return out;
  for (const auto& [type, value] : data.items())
    out[type] = value.is_string() ? value.get<std::string>() : value.dump();
  return out;
}

const json& list_of(const json& head, const char* name) {
  static const json kNone = json::array();
  const auto found = head.find(name);
  return found != head.end() && found->is_array() ? *found : kNone;
}

const json& object_of(const json& head, const char* name) {
  static const json kNone = json::object();
  const auto found = head.find(name);
  return found != head.end() && found->is_object() ? *found : kNone;
}

// The protocol has whole seconds here; rounded up, for 0 stands for never.
json whole_seconds(double seconds) {
  constexpr double kMost = 1e15;
  if (!(seconds >= 0))
    throw ClientError("bad_request", "a time-out is a number of seconds from 0 on");
  return static_cast<uint64_t>(std::ceil(std::min(seconds, kMost)));
}

void note_event(CellResult& result, const SessionEvent& event) {
  if (event.type == "result") {
    result.result = event.data();
  } else if (event.type == "error") {
    result.error_name = event.text("name");
    result.error_value = event.text("value");
    result.traceback = event.traceback();
  } else if (event.type == "done") {
    result.status = event.text("status");
    result.why = event.text("why");
    result.undone = event.flag("undone");
    result.execution_count = static_cast<uint64_t>(event.number("execution_count"));
    result.ms = event.number("ms");
  } else if (event.type == "ended") {
    result.status = "ended";
    result.why = event.text("why");
  }
}

}  // namespace

// --- events and results --------------------------------------------------------------------------

std::string SessionEvent::text(std::string_view member) const {
  return text_member(nlohmann::json::parse(json), member);
}
double SessionEvent::number(std::string_view member) const {
  return number_member(nlohmann::json::parse(json), member);
}
bool SessionEvent::flag(std::string_view member) const {
  return flag_member(nlohmann::json::parse(json), member);
}
MimeData SessionEvent::data() const {
  return mime_data(object_of(nlohmann::json::parse(json), "data"));
}
std::vector<std::string> SessionEvent::traceback() const {
  std::vector<std::string> out;
  const auto head = nlohmann::json::parse(json);
  for (const auto& line : list_of(head, "traceback"))
    if (line.is_string()) out.push_back(line.get<std::string>());
  return out;
}

std::string CellResult::text() const {
  const auto found = result.find("text/plain");
  return found == result.end() ? "" : found->second;
}

// --- Client --------------------------------------------------------------------------------------

Client::Client(const ClientOptions& options)
    : implementation_(std::make_shared<Implementation>(options)) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

const std::string& Client::user() const { return implementation_->user(); }
const std::string& Client::role() const { return implementation_->role(); }
int Client::descriptor() const { return implementation_->descriptor(); }

std::vector<SessionInfo> Client::sessions() {
  std::vector<SessionInfo> out;
  const json head = implementation_->call("sessions", json::object()).head;
  for (const json& one : list_of(head, "sessions"))
    out.push_back(session_info(one));
  return out;
}

RemoteSession Client::new_session(const NewSession& what) {
  json head = json::object();
  if (!what.env.empty()) head["env"] = what.env;
  if (!what.name.empty()) head["name"] = what.name;
  if (what.checkpoints) head["checkpoints"] = *what.checkpoints;
  if (what.idle_timeout) head["idle_timeout"] = whole_seconds(*what.idle_timeout);
  if (what.no_clients_timeout) head["no_clients_timeout"] = whole_seconds(*what.no_clients_timeout);
  const json made = implementation_->call("new", std::move(head)).head;
  return attach(text_member(object_of(made, "session"), "id"));
}

RemoteSession Client::attach(const std::string& id, uint64_t after) {
  json head = {{"session", id}};
  if (after > 0) head["after"] = after;
  implementation_->call("join", std::move(head));
  return {implementation_, id};
}

void Client::remove(const std::string& id) { implementation_->call("remove", {{"session", id}}); }

Client::Reply Client::call(const std::string& method, const std::string& members,
                           std::string_view body) {
  json head = json::parse(members, nullptr, false);
  if (!head.is_object()) throw ClientError("bad_request", "the members are no JSON object");
  Implementation::Answered got = implementation_->call(method, std::move(head), body);
  return {got.head.dump(), std::move(got.body)};
}

std::optional<SessionEvent> Client::next_event(int timeout_ms) {
  return implementation_->next_event("", timeout_ms);
}

// --- RemoteSession -------------------------------------------------------------------------------

RemoteSession::RemoteSession(std::shared_ptr<Client::Implementation> client, std::string id)
    : client_(std::move(client)), id_(std::move(id)) {}

SessionInfo RemoteSession::info() {
  return session_info(object_of(client_->call("info", {{"session", id_}}).head, "session"));
}

uint64_t RemoteSession::start(const std::string& code, const CellOptions& options) {
  json head = {{"session", id_}, {"code", code}};
  if (options.timeout > 0) head["timeout"] = options.timeout;
  if (options.checkpoint) head["checkpoint"] = *options.checkpoint;
  return count_member(client_->call("execute", std::move(head)).head, "cell");
}

CellResult RemoteSession::execute(const std::string& code, const CellCallbacks& callbacks,
                                  const CellOptions& options) {
  CellResult result;
  result.cell = start(code, options);
  while (result.status.empty()) {
    std::optional<SessionEvent> event = next_event();
    if (!event) continue;
    if (callbacks.on_event) callbacks.on_event(*event);
    if (event->cell != result.cell && event->type != "ended") continue;
    note_event(result, *event);
    if (event->type == "stdout" && callbacks.on_stdout) callbacks.on_stdout(event->body);
    if (event->type == "stderr" && callbacks.on_stderr) callbacks.on_stderr(event->body);
    if (event->type == "display" && callbacks.on_display) callbacks.on_display(*event);
    if (event->type != "input") continue;
    std::optional<std::string> line;
    if (callbacks.on_input)
      line = callbacks.on_input(event->text("prompt"), event->flag("password"));
    if (line)
      send_stdin(*line + "\n");
    else
      end_stdin();
  }
  return result;
}

std::optional<SessionEvent> RemoteSession::next_event(int timeout_ms) {
  return client_->next_event(id_, timeout_ms);
}

void RemoteSession::send_stdin(std::string_view bytes) {
  client_->call("stdin", {{"session", id_}}, bytes);
}
void RemoteSession::end_stdin() { client_->call("stdin", {{"session", id_}, {"eof", true}}); }
void RemoteSession::send_message(std::string_view bytes) {
  client_->call("message", {{"session", id_}}, bytes);
}
void RemoteSession::interrupt() { client_->call("interrupt", {{"session", id_}}); }

void RemoteSession::signal(const std::string& name_or_number) {
  json head = {{"session", id_}, {"signal", name_or_number}};
  if (!name_or_number.empty() &&
      name_or_number.find_first_not_of("0123456789") == name_or_number.npos &&
      name_or_number.size() < 4)
    head["signal"] = std::stoi(name_or_number);
  client_->call("signal", std::move(head));
}

Undone RemoteSession::undo(int steps) {
  const json head = client_->call("undo", {{"session", id_}, {"steps", steps}}).head;
  return {count_member(head, "checkpoint"), count_member(head, "execution_count")};
}

Undone RemoteSession::undo_to(uint64_t checkpoint) {
  const json head = client_->call("undo", {{"session", id_}, {"to", checkpoint}}).head;
  return {count_member(head, "checkpoint"), count_member(head, "execution_count")};
}

RemoteSession RemoteSession::fork(const std::string& name, std::optional<uint64_t> at) {
  json head = {{"session", id_}};
  if (!name.empty()) head["name"] = name;
  if (at) head["at"] = *at;
  const json made = client_->call("fork", std::move(head)).head;
  const std::string id = text_member(object_of(made, "session"), "id");
  client_->call("join", {{"session", id}});
  return {client_, id};
}

std::vector<KeptCheckpoint> RemoteSession::checkpoints(bool measure) {
  const json head = client_->call("checkpoints", {{"session", id_}, {"memory", measure}}).head;
  std::vector<KeptCheckpoint> out;
  for (const json& one : list_of(head, "checkpoints"))
    out.push_back({count_member(one, "checkpoint"), count_member(one, "execution_count"),
                   number_member(one, "created"), number_member(one, "us"),
                   count_member(one, "pss"), count_member(one, "unique"),
                   text_member(one, "code")});
  return out;
}

Completions RemoteSession::complete(const std::string& code, uint64_t cursor) {
  const json head =
      client_->call("complete", {{"session", id_}, {"code", code}, {"cursor", cursor}}).head;
  Completions out{count_member(head, "start"), count_member(head, "end"), {}};
  for (const json& one : list_of(head, "matches"))
    out.matches.push_back(text_member(one, "text"));
  return out;
}

Inspection RemoteSession::inspect(const std::string& code, uint64_t cursor) {
  const json head =
      client_->call("inspect", {{"session", id_}, {"code", code}, {"cursor", cursor}}).head;
  return {flag_member(head, "found"), text_member(head, "signature"),
          mime_data(object_of(head, "data"))};
}

std::vector<RemoteFile> RemoteSession::files(const std::string& folder) {
  const json head = client_->call("files", {{"session", id_}, {"path", folder}}).head;
  std::vector<RemoteFile> out;
  for (const json& one : list_of(head, "files"))
    out.push_back({text_member(one, "name"), text_member(one, "type"), count_member(one, "size"),
                   number_member(one, "mtime")});
  return out;
}

void RemoteSession::put_file(const std::string& path, std::string_view bytes) {
  size_t offset = 0;
  do {
    const std::string_view piece = bytes.substr(offset, kFilePiece);
    client_->call("put", {{"session", id_}, {"path", path}, {"offset", offset}}, piece);
    offset += piece.size();
  } while (offset < bytes.size());
}

std::string RemoteSession::get_file(const std::string& path) {
  std::string out;
  for (;;) {
    const Client::Implementation::Answered got = client_->call(
        "get", {{"session", id_}, {"path", path}, {"offset", out.size()}, {"length", kFilePiece}});
    out += got.body;
    if (got.body.empty() || flag_member(got.head, "eof")) return out;
  }
}

void RemoteSession::leave() {
  client_->call("leave", {{"session", id_}});
  client_->forget_events(id_);
}

void RemoteSession::remove() { client_->call("remove", {{"session", id_}}); }

}  // namespace brood
