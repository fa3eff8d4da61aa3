#include "wire/frame.h"

#include <gtest/gtest.h>

#include "wire/fields.h"

namespace brood {
namespace {

TEST(FrameParser, TakesFramesThatArriveByteByByte) {
  const std::string stream = encode_frame(FrameType::kRun, "abc") +
                             encode_frame(FrameType::kRetire, "") +
                             encode_frame(FrameType::kReply, "z");
  FrameParser parser;
  std::vector<std::pair<FrameType, std::string>> seen;
  for (char byte : stream) {
    parser.buffer().push_back(byte);
    FrameView frame;
    while (parser.next(frame) == FrameParser::Step::kFrame)
      seen.emplace_back(frame.header.type, std::string(frame.payload));
  }
  const std::vector<std::pair<FrameType, std::string>> expected{
      {FrameType::kRun, "abc"}, {FrameType::kRetire, ""}, {FrameType::kReply, "z"}};
  EXPECT_EQ(seen, expected);
}

TEST(FrameParser, ALengthOverTheLimitIsRefusedBeforeThePayloadArrives) {
  FrameParser parser;
  std::string header;
  put_u32(header, kMaxFramePayload + 1);
  put_u16(header, 1);
  put_u16(header, kProtocolVersion);
  parser.buffer() = header;
  FrameView frame;
  EXPECT_EQ(parser.next(frame), FrameParser::Step::kMalformed);
}

TEST(Fields, RoundTripNumbersAndText) {
  enum class Tag : uint16_t { kText = 7, kNumber = 65535 };
  FieldWriter writer;
  writer.add(Tag::kText, std::string_view("a\0b", 3));
  writer.add_number(Tag::kNumber, ~uint64_t{0});
  const std::string bytes = writer.take();
  FieldReader reader(bytes);
  Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.tag, 7);
  EXPECT_EQ(field.value, std::string_view("a\0b", 3));
  EXPECT_EQ(field.number(), 0u);  // not eight bytes
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number(), ~uint64_t{0});
  EXPECT_FALSE(reader.next(field));
  EXPECT_FALSE(reader.malformed());
}

TEST(Fields, EveryTruncationIsMalformedOrAPrefix) {
  enum class Tag : uint16_t { kText = 1 };
  FieldWriter writer;
  writer.add(Tag::kText, "hello");
  const std::string bytes = writer.take();
  for (size_t length = 1; length < bytes.size(); length++) {
    FieldReader reader(std::string_view(bytes).substr(0, length));
    Field field;
    EXPECT_FALSE(reader.next(field)) << length;
    EXPECT_TRUE(reader.malformed()) << length;
  }
}

}  // namespace
}  // namespace brood
