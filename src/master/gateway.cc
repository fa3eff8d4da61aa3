#include "brood/gateway.h"

#include <atomic>
#include <limits>

#include "base/clock.h"
#include "gateway/message.h"
#include "master/call_answer.h"
#include "master/complaints.h"
#include "master/deadlines.h"
#include "master/dedent.h"
#include "master/master.h"
#include "master/start.h"

namespace brood {

using gateway::ChannelPtr;
using gateway::kLeaveWithin;
using gateway::Wait;
using master::CallAnswer;
using master::encode;
using master::kRemote;
using master::kRoot;
using master::Master;

namespace {

constexpr int64_t kHeartbeat = 15;           // seconds between PINGs to other machines
constexpr int64_t kGrace = kSecond;          // beyond a call's deadline, until its gateway is ended
constexpr int64_t kAfter = kSecond;          // more than it takes to leave, or to die
constexpr int64_t kMostSeconds = 1LL << 32;  // of a deadline

std::string next_id() {
  static std::atomic<int> number{0};
  return "gw" + std::to_string(number++);
}

Value text_or_none(const std::string& text) { return text.empty() ? Value() : Value(text); }

Dict make_greet(const master::Spec& spec, const GatewayOptions& options) {
  const gateway::Limits limits;
  Dict env;
  for (const auto& [name, value] : spec.env)
    env.items.emplace_back(name, value);
  return {{"versions", List{1}},
          {"context", kRemote},
          {"ancestors", List{kRoot}},
          {"id", spec.id},
          {"level", options.log_level},
          {"heartbeat", spec.is_elsewhere() ? kHeartbeat : 0},
          {"item", limits.item},
          {"window", limits.window},
          {"chdir", text_or_none(spec.chdir)},
          {"nice", spec.nice ? Value(*spec.nice) : Value()},
          {"env", std::move(env)},
          {"serve", List{}}};
}

GatewayInfo make_info(const Dict& greet) {
  const auto text = [&](const char* key) -> std::string {
    const Value* value = greet.find(key);
    return value != nullptr && value->as_text() != nullptr ? *value->as_text() : "";
  };
  const Value* pid = greet.find("pid");
  return {pid != nullptr ? pid->as_integer().value_or(0) : 0, text("python"), text("executable"),
          text("platform"), text("engine")};
}

// CALL: module, class or None, function, args, kwargs, deadline, with_context.
std::string make_call(const std::string& target, const Tuple& args, const Dict& kwargs,
                      double deadline) {
  const size_t colon = target.find(':');
  const std::string function = colon == std::string::npos ? "" : target.substr(colon + 1);
  const size_t dot = function.rfind('.');
  const std::string owner = dot == std::string::npos ? "" : function.substr(0, dot);
  const std::string name = dot == std::string::npos ? function : function.substr(dot + 1);
  if (colon == 0 || name.empty())
    throw GatewayError("bad_request", "'" + target + "' is no function: expected MODULE:FUNCTION");
  if (!(deadline >= 0 && deadline < static_cast<double>(kMostSeconds)))
    throw GatewayError("bad_request", "a deadline is a number of seconds, 0 for none");
  return encode(List{target.substr(0, colon), text_or_none(owner), name, args, kwargs,
                     deadline > 0 ? Value(deadline) : Value(), false});
}

int64_t end_of_call(double deadline) {
  return deadline > 0 ? monotonic_ns() + static_cast<int64_t>(deadline * kSecond) + kGrace
                      : INT64_MAX;
}

}  // namespace

class Gateway::Implementation {
 public:
  Implementation(const std::string& text, const GatewayOptions& options);
  ~Implementation();
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  const master::Spec& spec() const { return spec_; }
  const GatewayInfo& info() const { return info_; }
  Channel request(FrameType type, const std::string& body);
  Value call(const std::string& body, double deadline);
  std::future<Value> call_async(const std::string& body, double deadline);
  Channel open() { return master_->handle(master_->engine().open(kRemote)); }
  void exit();
  bool wait(int64_t deadline);
  void kill(const std::string& why);

 private:
  master::Spec spec_;
  GatewayInfo info_;
  std::atomic<bool> leaves_{false};
  std::shared_ptr<Master> master_;
  std::unique_ptr<master::Process> process_;        // null: it is behind a socket
  std::unique_ptr<master::Complaints> complaints_;  // null: nothing more is said
  ChannelPtr life_;                                 // ends when the interpreter is gone
  std::unique_ptr<master::Deadlines> deadlines_ = std::make_unique<master::Deadlines>();
};

Gateway::Implementation::Implementation(const std::string& text, const GatewayOptions& options) {
  Result<master::Spec> spec = master::parse_spec(text);
  if (!spec) throw GatewayError("bad_request", spec.error().message);
  spec_ = std::move(*spec);
  if (spec_.id.empty()) spec_.id = next_id();
  encode(make_greet(spec_, options));  // a text that is no UTF-8
  Result<master::Started> started =
      master::start(spec_, make_greet(spec_, options), kRemote, options.timeout_ms);
  if (!started) throw GatewayError("connection", started.error().message);
  info_ = make_info(started->greet);
  master_ = Master::make(options.on_log);
  process_ = std::move(started->process);
  constexpr int kWarning = 30;
  const auto said = [master = master_](std::string_view line) {
    if (!line.empty()) master->log(kWarning, "", std::string(line));
  };
  for (size_t begin = 0; begin < started->said.size();) {
    const size_t end = std::min(started->said.find('\n', begin), started->said.size());
    said(std::string_view(started->said).substr(begin, end - begin));
    begin = end + 1;
  }
  if (started->complaints)
    complaints_ = std::make_unique<master::Complaints>(std::move(started->complaints), said);
  const int64_t heartbeat = spec_.is_elsewhere() ? kHeartbeat * kSecond : 0;
  const Result<void> linked = master_->engine().add_link(
      kRemote, spec_.id, std::move(started->link), {}, started->ahead, heartbeat);
  if (!linked) throw GatewayError("connection", linked.error().message);
  life_ = master_->engine().open(kRemote);
}

Gateway::Implementation::~Implementation() {
  exit();
  if (!wait(monotonic_ns() + kLeaveWithin + kAfter)) {
    kill("it has not left in time");
    wait(monotonic_ns() + kAfter);
  }
  master_->hear_out(monotonic_ns() + kAfter);
  deadlines_.reset();
  master_->stop();
  complaints_.reset();
}

Channel Gateway::Implementation::request(FrameType type, const std::string& body) {
  if (leaves_) throw GatewayError("connection", spec_.id + " was told to exit");
  ChannelPtr channel;
  Wait waited;
  do {
    waited = master_->engine().request(kRemote, type, body, channel, INT64_MAX);
  } while (waited == Wait::kInterrupted);
  if (channel == nullptr) throw GatewayError("connection", "the gateway has stopped");
  if (waited != Wait::kDone) throw GatewayError("connection", master_->engine().lost(*channel));
  return master_->handle(channel);
}

Value Gateway::Implementation::call(const std::string& body, double deadline) {
  const int64_t end = end_of_call(deadline);
  const Channel channel = request(FrameType::kCall, body);
  return master::receive_answer(channel, end, deadline, [this](const auto& why) { kill(why); });
}

std::future<Value> Gateway::Implementation::call_async(const std::string& body, double deadline) {
  const int64_t end = end_of_call(deadline);
  const auto answer = std::make_shared<CallAnswer>(deadline);
  std::future<Value> future = answer->future();
  Channel channel = request(FrameType::kCall, body);
  channel.set_callback([answer](Value value) { answer->give(std::move(value)); },
                       [answer, channel](const GatewayError* error) { answer->fail(error); });
  if (deadline > 0)
    deadlines_->add(end, [this, weak = std::weak_ptr<CallAnswer>(answer)] {
      if (const std::shared_ptr<CallAnswer> late = weak.lock(); late && late->become_late())
        kill(CallAnswer::lateness(late->deadline()));
    });
  return future;
}

void Gateway::Implementation::exit() {
  if (leaves_.exchange(true)) return;
  constexpr double kSeconds = static_cast<double>(kLeaveWithin) / kSecond;
  master_->engine().post(kRemote, FrameType::kShutdown, encode(kSeconds));
}

bool Gateway::Implementation::wait(int64_t deadline) {
  Wait waited;
  do {
    waited = master_->engine().wait_closed(*life_, false, deadline);
  } while (waited == Wait::kInterrupted);
  return waited != Wait::kTimeout && (process_ == nullptr || process_->wait(deadline));
}

void Gateway::Implementation::kill(const std::string& why) {
  master_->engine().lose(kRemote, why);  // first: the end of its link says less
  if (process_ != nullptr) process_->kill();
}

// --- Gateway -------------------------------------------------------------------------------------

Gateway::Gateway(const std::string& spec, const GatewayOptions& options)
    : implementation_(std::make_unique<Implementation>(spec, options)) {}
Gateway::~Gateway() = default;
Gateway::Gateway(Gateway&&) noexcept = default;
Gateway& Gateway::operator=(Gateway&&) noexcept = default;

const std::string& Gateway::id() const { return implementation_->spec().id; }
const std::string& Gateway::spec() const { return implementation_->spec().text; }
const GatewayInfo& Gateway::info() const { return implementation_->info(); }

Channel Gateway::exec(const std::string& source) { return exec(source, ""); }

Channel Gateway::exec(const std::string& source, const std::string& function, const Dict& kwargs) {
  const Dict request{{"source", master::dedent(source)},
                     {"name", "__channelexec__"},
                     {"file", None()},
                     {"function", text_or_none(function)},
                     {"kwargs", kwargs}};
  return implementation_->request(FrameType::kExec, encode(request));
}

Value Gateway::call(const std::string& function, const Tuple& args, const Dict& kwargs,
                    double deadline) {
  return implementation_->call(make_call(function, args, kwargs, deadline), deadline);
}

std::future<Value> Gateway::call_async(const std::string& function, const Tuple& args,
                                       const Dict& kwargs, double deadline) {
  return implementation_->call_async(make_call(function, args, kwargs, deadline), deadline);
}

Channel Gateway::new_channel() { return implementation_->open(); }
void Gateway::exit() { implementation_->exit(); }
bool Gateway::wait(int timeout_ms) {
  return implementation_->wait(master::deadline_after(timeout_ms));
}
void Gateway::kill() { implementation_->kill(id() + " was killed"); }

}  // namespace brood
