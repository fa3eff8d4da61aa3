#include "wire/launch.h"

#include <gtest/gtest.h>

#include "base/sys.h"
#include "wire/frame.h"

namespace brood {
namespace {

std::string vector_bytes(const std::string& name) {
  Result<std::string> bytes =
      read_file(std::string(BROOD_SOURCE_DIR) + "/tests/vectors/" + name + ".frame", 1 << 20);
  EXPECT_TRUE(bytes) << name;
  return bytes ? *bytes : "";
}

// The payload of a golden frame, which must be one whole frame of that type.
std::string payload(const std::string& name, FrameType type) {
  FrameParser parser;
  parser.buffer() = vector_bytes(name);
  FrameView frame;
  EXPECT_EQ(parser.next(frame), FrameParser::Step::kFrame) << name;
  EXPECT_EQ(frame.header.type, type) << name;
  std::string copy(frame.payload);
  EXPECT_EQ(parser.next(frame), FrameParser::Step::kPartial) << name;
  return copy;
}

TEST(GoldenVectors, RunScript) {
  const std::string bytes = payload("run_script", FrameType::kRun);
  Result<RunRequest> request = decode_run_request(bytes);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->kind, ProgramKind::kScript);
  EXPECT_EQ(request->program, "tools/job.py");
  EXPECT_EQ(request->arguments, (std::vector<std::string>{"--fast", "caf\xe9"}));
  EXPECT_EQ(request->orig_argv.size(), 5u);
  EXPECT_EQ(request->environment, std::string("HOME=/home/ada\0LANG=C.UTF-8\0", 28));
  EXPECT_TRUE(request->unbuffered);
  EXPECT_EQ(request->process.umask, 027u);
  EXPECT_EQ(request->process.nice, -5);
  EXPECT_EQ(request->process.ignored_signals, 1u);
  EXPECT_EQ(request->process.blocked_signals, 1u << 14);
  EXPECT_EQ(request->process.limits[15], (ResourceLimit{15, 115}));
  EXPECT_EQ(request->descriptor_numbers, (std::vector<uint32_t>{0, 1, 2, 63}));
  EXPECT_EQ(encode(*request), bytes);
}

TEST(GoldenVectors, UnknownFieldsAreSkipped) {
  Result<RunRequest> request = decode_run_request(payload("run_unknown_field", FrameType::kRun));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->kind, ProgramKind::kCommand);
  EXPECT_EQ(request->program, "print(1)");
}

TEST(GoldenVectors, Answers) {
  EXPECT_EQ(decode_accepted(payload("accepted", FrameType::kAccepted))->pid, 4711u);
  EXPECT_EQ(decode_refused(payload("refused", FrameType::kRefused))->reason,
            "what the environment has loaded changed on disk");
  Result<Exited> status = decode_exited(payload("exited_status", FrameType::kExited));
  EXPECT_FALSE(status->signaled);
  EXPECT_EQ(status->code, 120u);
  Result<Exited> signal = decode_exited(payload("exited_signal", FrameType::kExited));
  EXPECT_TRUE(signal->signaled);
  EXPECT_EQ(signal->code, 11u);
  EXPECT_EQ(decode_stopped(payload("stopped", FrameType::kStopped))->signal, 20u);
  Result<Warmed> warmed = decode_warmed(payload("warmed_failed", FrameType::kWarmed));
  EXPECT_FALSE(warmed->ok);
  EXPECT_EQ(warmed->text, "preload nump failed");
}

TEST(GoldenVectors, AnswersEncodeToTheSameBytes) {
  EXPECT_EQ(encode_frame(FrameType::kAccepted, encode(Accepted{4711})), vector_bytes("accepted"));
  EXPECT_EQ(encode_frame(FrameType::kExited, encode(Exited{true, 11})),
            vector_bytes("exited_signal"));
  EXPECT_EQ(encode_frame(FrameType::kStopped, encode(Stopped{20})), vector_bytes("stopped"));
  EXPECT_EQ(encode_frame(FrameType::kWarmed, encode(Warmed{false, "preload nump failed"})),
            vector_bytes("warmed_failed"));
}

TEST(GoldenVectors, Launch) {
  const std::string bytes = payload("warm_plain", FrameType::kWarm);
  Result<Launch> launch = decode_launch(bytes);
  ASSERT_TRUE(launch);
  EXPECT_EQ(launch->python, "/usr/bin/python3");
  EXPECT_EQ(launch->python_file.inode, 77u);
  EXPECT_EQ(launch->python_file.ctime_ns, 1700000000000000002);
  EXPECT_EQ(launch->options, (std::vector<std::string>{"-W", "error"}));
  EXPECT_EQ(launch->variables.size(), 2u);
  EXPECT_EQ(launch->context, "uid=1000 ");
  EXPECT_TRUE(launch->plain());
  EXPECT_EQ(encode(*launch), bytes);
}

TEST(GoldenVectors, MalformedFramesAreErrors) {
  for (const char* name : {"bad_version", "bad_length"}) {
    FrameParser parser;
    parser.buffer() = vector_bytes(name);
    FrameView frame;
    EXPECT_EQ(parser.next(frame), FrameParser::Step::kMalformed) << name;
    EXPECT_FALSE(parser.error().empty()) << name;
  }
}

TEST(GoldenVectors, MalformedPayloadsAreErrors) {
  for (const char* name : {"bad_field_length", "bad_field_zero", "bad_field_header", "bad_kind",
                           "bad_descriptors_order", "bad_limits", "bad_environment"})
    EXPECT_FALSE(decode_run_request(payload(name, FrameType::kRun))) << name;
  EXPECT_FALSE(decode_accepted(payload("bad_pid", FrameType::kAccepted)));
}

TEST(EnvironmentKey, DependsOnEveryField) {
  Launch base;
  base.python = "/usr/bin/python3";
  const std::string key = environment_key(base);
  EXPECT_EQ(key.size(), 32u);
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef"), key.npos);
  EXPECT_EQ(environment_key(base), key);
  std::vector<Launch> others(11, base);
  others[0].python = "/usr/bin/python3.11";
  others[1].python_chosen = true;
  others[2].python_file.mtime_ns = 1;
  others[3].options = {"-O"};
  others[4].variables = {"HOME=/"};
  others[5].config_file = "/brood.toml";
  others[6].config_identity.size = 1;
  others[7].env_name = "x";
  others[8].preload = {"numpy"};
  others[9].init_file = "/init.py";
  others[10].context = "uid=1 ";
  for (const Launch& other : others)
    EXPECT_NE(environment_key(other), key);
}

TEST(EnvironmentKey, ListsDoNotRunIntoEachOther) {
  Launch one, two;
  one.preload = {"ab", "c"};
  two.preload = {"a", "bc"};
  EXPECT_NE(environment_key(one), environment_key(two));
}

}  // namespace
}  // namespace brood
