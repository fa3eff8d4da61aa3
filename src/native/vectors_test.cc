// The golden frames of the protocol's section 5 mean what docs/protocol.md says.
#include <gtest/gtest.h>

#include "base/sys.h"
#include "native/head.h"
#include "wire/message.h"

namespace brood {
namespace {

using nlohmann::json;

struct Read {
  FrameType type{};
  json head;
  std::string body;
};

Result<Read> read_vector(const std::string& name) {
  Result<std::string> bytes =
      read_file(std::string(BROOD_SOURCE_DIR) + "/tests/vectors/" + name + ".frame", 1 << 20);
  if (!bytes) return bytes.error();
  FrameParser parser;
  parser.buffer() = *bytes;
  FrameView frame;
  if (parser.next(frame) != FrameParser::Step::kFrame) return Error{"no frame"};
  Result<MessageView> message = decode_message(frame.payload);
  if (!message) return message.error();
  Result<json> head = parse_head(message->head);
  if (!head) return head.error();
  // What is written again is the same, byte for byte.
  EXPECT_EQ(encode_message_frame(frame.header.type, message->head, message->body.size()) +
                std::string(message->body),
            *bytes);
  return Read{frame.header.type, std::move(*head), std::string(message->body)};
}

TEST(SessionVectors, AreRead) {
  EXPECT_EQ(read_vector("hello_client")->head["versions"], json::array({1}));
  EXPECT_EQ(read_vector("hello_server")->type, FrameType::kHello);
  EXPECT_EQ(read_vector("auth_first")->type, FrameType::kAuth);
  EXPECT_EQ(read_vector("request_execute")->head["code"], "print('caf\xc3\xa9')");
  EXPECT_EQ(read_vector("request_stdin")->body, std::string("a\0b\xff\n", 5));
  EXPECT_EQ(read_vector("answer")->type, FrameType::kAnswer);
  EXPECT_EQ(read_vector("answer_error")->head,
            problem_head(2, {ProblemCode::kNotFound, "there is no such session"}));
  Result<Read> event = read_vector("event_stdout");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->body, "caf\xc3\xa9\xff\n");
  EXPECT_EQ(json::parse(event_head("\"s-1\"", {12, "stdout", 3, "{}", ""})), event->head);
}

TEST(SessionVectors, MalformedOnesAreRefused) {
  for (const char* name : {"short", "length", "limit", "list", "text", "nan", "deep"})
    EXPECT_FALSE(read_vector(std::string("bad_message_") + name)) << name;
  EXPECT_EQ(parse_head("[]").error().message, "the head is no JSON object");
}

}  // namespace
}  // namespace brood
