#include "wire/launch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire/fields.h"

namespace brood {
namespace {

// Tags are part of the protocol: never reuse one.
enum class LaunchTag : uint16_t {
  kPython = 1,
  kPythonFile,
  kOption,
  kVariable,
  kConfigFile,
  kConfigIdentity,
  kEnvName,
  kPreload,
  kInitFile,
  kInitIdentity,
  kContext,
  kPythonChosen,
};
enum class RunTag : uint16_t {
  kKind = 1,
  kProgram,
  kArgument,
  kOrigArgv,
  kEnvironment,
  kUnbuffered,
  kUmask,
  kNice,
  kIgnoredSignals,
  kBlockedSignals,
  kLimits,
  kCpuAffinity,
  kDescriptors,
};
enum class ReplyTag : uint16_t { kPid = 1, kReason, kSignaled, kCode, kSignal, kOk, kText };

std::string pack(const FileIdentity& id) {
  std::string out;
  for (uint64_t number : {id.device, id.inode, id.size, static_cast<uint64_t>(id.mtime_ns),
                          static_cast<uint64_t>(id.ctime_ns)})
    put_u64(out, number);
  return out;
}

FileIdentity unpack_identity(std::string_view bytes) {
  if (bytes.size() != 40) return {};
  const char* p = bytes.data();
  return {get_u64(p), get_u64(p + 8), get_u64(p + 16), static_cast<int64_t>(get_u64(p + 24)),
          static_cast<int64_t>(get_u64(p + 32))};
}

bool read_limits(std::string_view bytes, ProcessState& process) {
  if (bytes.size() != kResourceLimits * 16) return false;
  for (size_t i = 0; i < kResourceLimits; i++)
    process.limits[i] = {get_u64(bytes.data() + 16 * i), get_u64(bytes.data() + 16 * i + 8)};
  return true;
}

bool read_descriptors(std::string_view bytes, std::vector<uint32_t>& numbers) {
  if (bytes.size() % 4 != 0) return false;
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const uint32_t number = get_u32(bytes.data() + i);
    if (!numbers.empty() && number <= numbers.back()) return false;
    numbers.push_back(number);
  }
  return true;
}

void take_launch_field(Launch& launch, const Field& field) {
  switch (static_cast<LaunchTag>(field.tag)) {
    case LaunchTag::kPython: launch.python = field.text(); break;
    case LaunchTag::kPythonChosen: launch.python_chosen = field.number() != 0; break;
    case LaunchTag::kPythonFile: launch.python_file = unpack_identity(field.value); break;
    case LaunchTag::kOption: launch.options.push_back(field.text()); break;
    case LaunchTag::kVariable: launch.variables.push_back(field.text()); break;
    case LaunchTag::kConfigFile: launch.config_file = field.text(); break;
    case LaunchTag::kConfigIdentity: launch.config_identity = unpack_identity(field.value); break;
    case LaunchTag::kEnvName: launch.env_name = field.text(); break;
    case LaunchTag::kPreload: launch.preload.push_back(field.text()); break;
    case LaunchTag::kInitFile: launch.init_file = field.text(); break;
    case LaunchTag::kInitIdentity: launch.init_identity = unpack_identity(field.value); break;
    case LaunchTag::kContext: launch.context = field.text(); break;
  }
}

bool take_run_field(RunRequest& request, const Field& field) {
  switch (static_cast<RunTag>(field.tag)) {
    case RunTag::kKind:
      if (field.number() > static_cast<uint64_t>(ProgramKind::kSession)) return false;
      request.kind = static_cast<ProgramKind>(field.number());
      break;
    case RunTag::kProgram: request.program = field.text(); break;
    case RunTag::kArgument: request.arguments.push_back(field.text()); break;
    case RunTag::kOrigArgv: request.orig_argv.push_back(field.text()); break;
    case RunTag::kEnvironment:
      if (!field.value.empty() && field.value.back() != '\0') return false;
      request.environment = field.text();
      break;
    case RunTag::kUnbuffered: request.unbuffered = field.number() != 0; break;
    case RunTag::kUmask: request.process.umask = static_cast<uint32_t>(field.number()); break;
    case RunTag::kNice: request.process.nice = static_cast<int32_t>(field.number()); break;
    case RunTag::kIgnoredSignals: request.process.ignored_signals = field.number(); break;
    case RunTag::kBlockedSignals: request.process.blocked_signals = field.number(); break;
    case RunTag::kLimits: return read_limits(field.value, request.process);
    case RunTag::kCpuAffinity: request.process.cpu_affinity = field.text(); break;
    case RunTag::kDescriptors: return read_descriptors(field.value, request.descriptor_numbers);
  }
  return true;
}

}  // namespace

std::string encode(const Launch& launch) {
  FieldWriter out;
  out.add(LaunchTag::kPython, launch.python);
  out.add_number(LaunchTag::kPythonChosen, launch.python_chosen);
  out.add(LaunchTag::kPythonFile, pack(launch.python_file));
  for (const std::string& option : launch.options)
    out.add(LaunchTag::kOption, option);
  for (const std::string& variable : launch.variables)
    out.add(LaunchTag::kVariable, variable);
  out.add(LaunchTag::kConfigFile, launch.config_file);
  out.add(LaunchTag::kConfigIdentity, pack(launch.config_identity));
  out.add(LaunchTag::kEnvName, launch.env_name);
  for (const std::string& module : launch.preload)
    out.add(LaunchTag::kPreload, module);
  out.add(LaunchTag::kInitFile, launch.init_file);
  out.add(LaunchTag::kInitIdentity, pack(launch.init_identity));
  out.add(LaunchTag::kContext, launch.context);
  return out.take();
}

Result<Launch> decode_launch(std::string_view payload) {
  Result<Launch> launch = read_message<Launch>(payload, "launch description", take_launch_field);
  if (launch && launch->python.empty()) return malformed("launch description");
  return launch;
}

std::string environment_key(const Launch& launch) {
  const std::string bytes = encode(launch);
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string key;
  for (uint64_t half : {hash.high64, hash.low64})
    for (int shift = 60; shift >= 0; shift -= 4)
      key.push_back(kDigits[half >> shift & 15]);
  return key;
}

std::string encode(const RunRequest& request) {
  FieldWriter out;
  out.add_number(RunTag::kKind, static_cast<uint64_t>(request.kind));
  out.add(RunTag::kProgram, request.program);
  for (const std::string& argument : request.arguments)
    out.add(RunTag::kArgument, argument);
  for (const std::string& argument : request.orig_argv)
    out.add(RunTag::kOrigArgv, argument);
  out.add(RunTag::kEnvironment, request.environment);
  out.add_number(RunTag::kUnbuffered, request.unbuffered);
  const ProcessState& process = request.process;
  out.add_number(RunTag::kUmask, process.umask);
  out.add_number(RunTag::kNice, static_cast<uint64_t>(int64_t{process.nice}));
  out.add_number(RunTag::kIgnoredSignals, process.ignored_signals);
  out.add_number(RunTag::kBlockedSignals, process.blocked_signals);
  std::string limits;
  for (const ResourceLimit& limit : process.limits) {
    put_u64(limits, limit.soft);
    put_u64(limits, limit.hard);
  }
  out.add(RunTag::kLimits, limits);
  out.add(RunTag::kCpuAffinity, process.cpu_affinity);
  std::string numbers;
  for (uint32_t number : request.descriptor_numbers)
    put_u32(numbers, number);
  out.add(RunTag::kDescriptors, numbers);
  return out.take();
}

Result<RunRequest> decode_run_request(std::string_view payload) {
  return read_message<RunRequest>(payload, "run request", take_run_field);
}

std::string encode(const Accepted& accepted) {
  FieldWriter out;
  out.add_number(ReplyTag::kPid, accepted.pid);
  return out.take();
}

Result<Accepted> decode_accepted(std::string_view payload) {
  Result<Accepted> accepted =
      read_message<Accepted>(payload, "acknowledgement", [](Accepted& out, const Field& field) {
        if (static_cast<ReplyTag>(field.tag) == ReplyTag::kPid)
          out.pid = static_cast<uint32_t>(field.number());
      });
  if (accepted && accepted->pid == 0) return malformed("acknowledgement");
  return accepted;
}

std::string encode(const Refused& refused) {
  FieldWriter out;
  out.add(ReplyTag::kReason, refused.reason);
  return out.take();
}

Result<Refused> decode_refused(std::string_view payload) {
  return read_message<Refused>(payload, "refusal", [](Refused& refused, const Field& field) {
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kReason) refused.reason = field.text();
  });
}

std::string encode(const Exited& exited) {
  FieldWriter out;
  out.add_number(ReplyTag::kSignaled, exited.signaled);
  out.add_number(ReplyTag::kCode, exited.code);
  return out.take();
}

Result<Exited> decode_exited(std::string_view payload) {
  return read_message<Exited>(payload, "exit status", [](Exited& exited, const Field& field) {
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kSignaled)
      exited.signaled = field.number() != 0;
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kCode)
      exited.code = static_cast<uint32_t>(field.number());
  });
}

std::string encode(const Stopped& stopped) {
  FieldWriter out;
  out.add_number(ReplyTag::kSignal, stopped.signal);
  return out.take();
}

Result<Stopped> decode_stopped(std::string_view payload) {
  return read_message<Stopped>(payload, "stop notice", [](Stopped& stopped, const Field& field) {
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kSignal)
      stopped.signal = static_cast<uint32_t>(field.number());
  });
}

std::string encode(const Warmed& warmed) {
  FieldWriter out;
  out.add_number(ReplyTag::kOk, warmed.ok);
  out.add(ReplyTag::kText, warmed.text);
  return out.take();
}

Result<Warmed> decode_warmed(std::string_view payload) {
  return read_message<Warmed>(payload, "warm-up answer", [](Warmed& warmed, const Field& field) {
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kOk) warmed.ok = field.number() != 0;
    if (static_cast<ReplyTag>(field.tag) == ReplyTag::kText) warmed.text = field.text();
  });
}

}  // namespace brood
