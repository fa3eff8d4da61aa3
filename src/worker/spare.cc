#include "worker/spare.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/scheduling.h"
#include "base/signals.h"
#include "base/socket.h"
#include "base/sys.h"
#include "wire/frame.h"
#include "worker/become.h"
#include "worker/lifeline.h"

namespace brood {
namespace {

// A client sends its request at once; one that does not is broken or hostile.
constexpr int kRequestTimeoutMs = 1000;

struct Client {
  Fd connection;
  RunRequest request;
  Fd cwd;
  std::vector<Fd> descriptors;  // as in request.descriptor_numbers
};

Result<Client> receive_request(const Fd& socket) {
  set_timeout(socket.get(), SO_RCVTIMEO, kRequestTimeoutMs);
  Client client;
  FrameParser parser;
  FrameView frame;
  for (;;) {
    const FrameParser::Step step = parser.next(frame);
    if (step == FrameParser::Step::kMalformed) return Error{parser.error()};
    if (step == FrameParser::Step::kFrame) break;
    Result<size_t> got = receive_some(socket.get(), 1 << 16, parser.buffer(), client.descriptors);
    if (!got) return got.error();
    if (*got == 0) return Error{"the client left"};
  }
  if (frame.header.type != FrameType::kRun) return Error{"not a run request"};
  Result<RunRequest> request = decode_run_request(frame.payload);
  if (!request) return request.error();
  client.request = std::move(*request);
  if (client.descriptors.size() != client.request.descriptor_numbers.size() + 2)
    return Error{"another number of descriptors than announced"};
  client.cwd = std::move(client.descriptors[0]);
  client.connection = std::move(client.descriptors[1]);
  client.descriptors.erase(client.descriptors.begin(), client.descriptors.begin() + 2);
  return client;
}

Client accept_client(int listener) {
  for (;;) {
    const Fd socket(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      _exit(1);
    }
    Result<unsigned> uid = peer_uid(socket.get());
    if (!uid || *uid != geteuid()) continue;
    if (Result<Client> client = receive_request(socket); client) return std::move(*client);
  }
}

std::string title(const RunRequest& request) {
  switch (request.kind) {
    case ProgramKind::kCommand:
      return "-c " + request.program.substr(0, request.program.find('\n'));
    case ProgramKind::kModule: return "-m " + request.program;
    case ProgramKind::kStdin: return "-";
    case ProgramKind::kSession: return "session " + request.program;
    case ProgramKind::kScript: break;
  }
  return request.program;
}

void notify_zygote(const SpareContext& context, const Client& client) {
  Notice notice{};
  notice.pid = getpid();
  const std::string text = title(client.request);
  std::memcpy(notice.program, text.data(), std::min(text.size(), sizeof notice.program - 1));
  const int connection = client.connection.get();
  (void)send_all(context.notices,
                 std::string_view(reinterpret_cast<const char*>(&notice), sizeof notice),
                 std::span(&connection, 1));
}

void send_frame(int socket, FrameType type, const std::string& payload) {
  (void)send_all(socket, encode_frame(type, payload));
}

[[noreturn]] void refuse(const Fd& connection, const std::string& reason) {
  send_frame(connection.get(), FrameType::kRefused, encode(Refused{reason}));
  _exit(0);
}

std::optional<std::string> value_in(const std::string& block, const std::string& name) {
  for (size_t at = 0; at < block.size();) {
    const char* item = block.c_str() + at;
    const size_t length = std::strlen(item);
    if (length > name.size() && item[name.size()] == '=' &&
        block.compare(at, name.size(), name) == 0)
      return std::string(item + name.size() + 1);
    at += length + 1;
  }
  return std::nullopt;
}

std::string foreign_variable(const SpareContext& context, const std::string& environment) {
  for (const auto& [name, value] : context.bound_variables)
    if (value_in(environment, name) != value)
      return name + " was read while the environment was loaded, and has another value here";
  return "";
}

void apply_changes(const SpareContext& context) {
  for (const auto& [name, value] : context.changed_variables) {
    if (value)
      setenv(name.c_str(), value->c_str(), 1);
    else
      unsetenv(name.c_str());
  }
}

// All that can fail before the program is accepted. Leaves by refuse() if it does.
void become(const SpareContext& context, Client& client, Program& program) {
  const RunRequest& request = client.request;
  if (!context.fresh())
    refuse(client.connection, "what the environment has loaded changed on disk");
  if (std::string why = foreign_variable(context, request.environment); !why.empty())
    refuse(client.connection, why);
  Result<void> taken = take_process_state(request.process, client.cwd.get());
  if (!taken) refuse(client.connection, taken.error().message);
  client.cwd.reset();
  taken = take_descriptors(std::move(client.descriptors), request.descriptor_numbers,
                           context.kept_descriptors, client.connection);
  if (taken) taken = take_limits(request.process);
  if (!taken) refuse(client.connection, taken.error().message);
  TakenEnvironment environment = take_environment(request.environment, context.overrides);
  if (!context.changed_variables.empty()) {
    apply_changes(context);
    environment.items.clear();
    for (char** item = environ; *item; item++)
      environment.items.push_back(*item);
  }
  Result<void> ready = program.prepare(request, environment.items);
  if (!ready) refuse(client.connection, ready.error().message);
  show_command_line(request.orig_argv, environment);
}

[[noreturn]] void die_of_interrupt() {
  signal(SIGINT, SIG_DFL);
  raise(SIGINT);
  _exit(130);
}

}  // namespace

void rehearse(const SpareContext& context, Program& program, Cells* cells, int result) {
  program.use_fresh_thread_state();
  program.reseed();
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; fd++)
    dup2(null, fd);
  RunRequest request;
  request.kind = cells ? ProgramKind::kSession : ProgramKind::kCommand;
  request.program = "print('rehearsal')";
  request.orig_argv = {"python3", "-c", request.program};
  std::string block;
  for (char** item = environ; *item; item++)
    block.append(*item).push_back('\0');
  const TakenEnvironment environment = take_environment(block, context.overrides);
  if (program.prepare(request, environment.items)) {
    show_command_line(request.orig_argv, environment);
    if (cells)
      rehearse_session(*cells, program);
    else
      program.rehearse();
  }
  const std::vector<PageRun> runs = present_pages();
  (void)write_all(result,
                  {reinterpret_cast<const char*>(runs.data()), runs.size() * sizeof(PageRun)});
  _exit(0);
}

void be_spare(const SpareContext& context, Program& program, Cells& cells,
              Temperature temperature) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  if (getppid() != context.zygote) _exit(0);
  const auto get_ready = [&] {
    populate(context.hot_pages);
    program.use_fresh_thread_state();
    program.reseed();
  };
  if (temperature == Temperature::kHot) get_ready();
  stand_in_line();
  Client client = accept_client(context.listener);
  if (temperature == Temperature::kReserve) get_ready();
  notify_zygote(context, client);
  become(context, client, program);
  const pid_t self = getpid();
  prctl(PR_SET_PDEATHSIG, 0);
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  set_blocked_signals(client.request.process.blocked_signals);
  const std::string accepted =
      encode_frame(FrameType::kAccepted, encode(Accepted{static_cast<uint32_t>(self)}));
  // A client that gave up has closed its side; the send fails, and the program does not run a
  // second time.
  if (!send_all(client.connection.get(), accepted)) _exit(0);
  const int connection = client.connection.get();
  die_with(connection);
  program.acknowledged();
  if (client.request.kind == ProgramKind::kSession) run_session(cells, program, connection);
  const Exited exited = program.run(connection);
  if (getpid() == self) outlive(connection);
  if (getpid() == self) send_frame(connection, FrameType::kExited, encode(exited));
  give_way();
  if (exited.signaled) die_of_interrupt();
  _exit(static_cast<int>(exited.code));
}

}  // namespace brood
