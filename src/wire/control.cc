#include "wire/control.h"

#include "wire/fields.h"

namespace brood {
namespace {

// Tags are part of the protocol: never reuse one.
enum class SpecTag : uint16_t {
  kKey = 1,
  kSocketPath,
  kPreload,
  kInitFile,
  kImportDirectory,
  kOverride,
  kIgnoredVariable,
  kWatchedFile,
  kSpares,
  kImage,
  kAllowThreads,
  kAllowSockets,
  kForSessions,
  kForGateways,
};
enum class ReadyTag : uint16_t {
  kPreloadUs = 1,
  kForkUs,
  kImageForkUs,
  kImageBytes,
  kModules,
  kWatchedDirectories,
  kPolledFiles,
  kReadVariable,
  kOutput,
  kPythonVersion,
};
enum class EventTag : uint16_t { kText = 1, kPath, kPid, kProgram, kSignaled, kCode, kSpares };

void take_spec_field(ZygoteSpec& spec, const Field& field) {
  switch (static_cast<SpecTag>(field.tag)) {
    case SpecTag::kKey: spec.key = field.text(); break;
    case SpecTag::kSocketPath: spec.socket_path = field.text(); break;
    case SpecTag::kPreload: spec.preload.push_back(field.text()); break;
    case SpecTag::kInitFile: spec.init_file = field.text(); break;
    case SpecTag::kImportDirectory: spec.import_directory = field.text(); break;
    case SpecTag::kOverride: spec.overrides.push_back(field.text()); break;
    case SpecTag::kIgnoredVariable: spec.ignored_variables.push_back(field.text()); break;
    case SpecTag::kWatchedFile: spec.watched_files.push_back(field.text()); break;
    case SpecTag::kSpares: spec.spares = static_cast<uint32_t>(field.number()); break;
    case SpecTag::kImage: spec.image = static_cast<ImageMode>(field.number()); break;
    case SpecTag::kAllowThreads: spec.allow_threads = field.number() != 0; break;
    case SpecTag::kAllowSockets: spec.allow_sockets = field.number() != 0; break;
    case SpecTag::kForSessions: spec.for_sessions = field.number() != 0; break;
    case SpecTag::kForGateways: spec.for_gateways = field.number() != 0; break;
  }
}

void take_ready_field(ZygoteReady& ready, const Field& field) {
  switch (static_cast<ReadyTag>(field.tag)) {
    case ReadyTag::kPreloadUs: ready.preload_us = field.number(); break;
    case ReadyTag::kForkUs: ready.fork_us = field.number(); break;
    case ReadyTag::kImageForkUs: ready.image_fork_us = field.number(); break;
    case ReadyTag::kImageBytes: ready.image_bytes = field.number(); break;
    case ReadyTag::kModules: ready.modules = field.number(); break;
    case ReadyTag::kWatchedDirectories: ready.watched_directories = field.number(); break;
    case ReadyTag::kPolledFiles: ready.polled_files = field.number(); break;
    case ReadyTag::kReadVariable: ready.read_variables.push_back(field.text()); break;
    case ReadyTag::kOutput: ready.output = field.text(); break;
    case ReadyTag::kPythonVersion: ready.python_version = field.text(); break;
  }
}

void take_event_field(WorkerEvent& event, const Field& field) {
  switch (static_cast<EventTag>(field.tag)) {
    case EventTag::kPid: event.pid = static_cast<uint32_t>(field.number()); break;
    case EventTag::kProgram: event.program = field.text(); break;
    case EventTag::kSignaled: event.signaled = field.number() != 0; break;
    case EventTag::kCode: event.code = static_cast<uint32_t>(field.number()); break;
    case EventTag::kSpares: event.spares = static_cast<uint32_t>(field.number()); break;
    default: break;
  }
}

}  // namespace

std::string encode(const ZygoteSpec& spec) {
  FieldWriter out;
  out.add(SpecTag::kKey, spec.key);
  out.add(SpecTag::kSocketPath, spec.socket_path);
  for (const std::string& module : spec.preload)
    out.add(SpecTag::kPreload, module);
  out.add(SpecTag::kInitFile, spec.init_file);
  out.add(SpecTag::kImportDirectory, spec.import_directory);
  for (const std::string& item : spec.overrides)
    out.add(SpecTag::kOverride, item);
  for (const std::string& name : spec.ignored_variables)
    out.add(SpecTag::kIgnoredVariable, name);
  for (const std::string& path : spec.watched_files)
    out.add(SpecTag::kWatchedFile, path);
  out.add_number(SpecTag::kSpares, spec.spares);
  out.add_number(SpecTag::kImage, static_cast<uint64_t>(spec.image));
  out.add_number(SpecTag::kAllowThreads, spec.allow_threads);
  out.add_number(SpecTag::kAllowSockets, spec.allow_sockets);
  out.add_number(SpecTag::kForSessions, spec.for_sessions);
  out.add_number(SpecTag::kForGateways, spec.for_gateways);
  return out.take();
}

Result<ZygoteSpec> decode_zygote_spec(std::string_view payload) {
  return read_message<ZygoteSpec>(payload, "zygote specification", take_spec_field);
}

std::string encode(const ZygoteReady& ready) {
  FieldWriter out;
  out.add_number(ReadyTag::kPreloadUs, ready.preload_us);
  out.add_number(ReadyTag::kForkUs, ready.fork_us);
  out.add_number(ReadyTag::kImageForkUs, ready.image_fork_us);
  out.add_number(ReadyTag::kImageBytes, ready.image_bytes);
  out.add_number(ReadyTag::kModules, ready.modules);
  out.add_number(ReadyTag::kWatchedDirectories, ready.watched_directories);
  out.add_number(ReadyTag::kPolledFiles, ready.polled_files);
  for (const std::string& name : ready.read_variables)
    out.add(ReadyTag::kReadVariable, name);
  out.add(ReadyTag::kOutput, ready.output);
  out.add(ReadyTag::kPythonVersion, ready.python_version);
  return out.take();
}

Result<ZygoteReady> decode_zygote_ready(std::string_view payload) {
  return read_message<ZygoteReady>(payload, "zygote report", take_ready_field);
}

std::string encode(const ZygoteFailed& failed) {
  FieldWriter out;
  out.add(EventTag::kText, failed.text);
  return out.take();
}

Result<ZygoteFailed> decode_zygote_failed(std::string_view payload) {
  return read_message<ZygoteFailed>(payload, "zygote failure",
                                    [](ZygoteFailed& failed, const Field& field) {
                                      if (static_cast<EventTag>(field.tag) == EventTag::kText)
                                        failed.text = field.text();
                                    });
}

std::string encode(const ZygoteStale& stale) {
  FieldWriter out;
  out.add(EventTag::kPath, stale.path);
  return out.take();
}

Result<ZygoteStale> decode_zygote_stale(std::string_view payload) {
  return read_message<ZygoteStale>(payload, "staleness notice",
                                   [](ZygoteStale& stale, const Field& field) {
                                     if (static_cast<EventTag>(field.tag) == EventTag::kPath)
                                       stale.path = field.text();
                                   });
}

std::string encode(const WorkerEvent& event) {
  FieldWriter out;
  out.add_number(EventTag::kPid, event.pid);
  out.add(EventTag::kProgram, event.program);
  out.add_number(EventTag::kSignaled, event.signaled);
  out.add_number(EventTag::kCode, event.code);
  out.add_number(EventTag::kSpares, event.spares);
  return out.take();
}

Result<WorkerEvent> decode_worker_event(std::string_view payload) {
  return read_message<WorkerEvent>(payload, "worker event", take_event_field);
}

}  // namespace brood
