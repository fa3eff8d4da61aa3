// The pure parts of the door: addresses, JSON that clients send, UTF-8.
#include <gtest/gtest.h>

#include "base/utf8.h"
#include "http/messages.h"
#include "http/routes.h"

namespace brood {
namespace {

TEST(UrlTest, EscapesAreDecodedOnceAndStrictly) {
  EXPECT_EQ(*percent_decode("a%20b%2F%2541"), "a b/%41");
  for (const char* bad : {"%", "%4", "%4g", "%zz", "a%00b", "%%41"})
    EXPECT_FALSE(percent_decode(bad)) << bad;
  EXPECT_EQ(percent_encode("a/b \xff~"), "a%2Fb%20%FF~");
}

TEST(UrlTest, Targets) {
  Result<Target> target = parse_target("/a%20b?x=1&y&=z%3D");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/a%20b");
  const std::vector<std::pair<std::string, std::string>> query = {
      {"x", "1"}, {"y", ""}, {"", "z="}};
  EXPECT_EQ(target->query, query);
  for (const char* bad : {"", "a", "http://x/", "*", "/a#b", "/?%"})
    EXPECT_FALSE(parse_target(bad)) << bad;
}

TEST(RoutesTest, WhatIsNoRoute) {
  const std::pair<const char*, unsigned> cases[] = {
      {"/v1", 404},
      {"/v1/", 404},
      {"/v1/sessions/", 404},
      {"/v1/sessions/x/", 404},
      {"/v1/sessions//execute", 404},
      {"/v1/sessions/x/execute", 405},
      {"/v1/sessions/x/execute/y", 404},
      {"/v1/sessions/x/files/%", 400},
      {"/v1/sessions/x/checkpoints?memory=2", 400},
      {"/v1/sessions/x/stream?after=-1", 400},
  };
  for (const auto& [path, status] : cases) {
    const auto found = find_route("GET", *parse_target(path));
    const NoRoute* none = std::get_if<NoRoute>(&found);
    ASSERT_NE(none, nullptr) << path;
    EXPECT_EQ(none->status, status) << path;
  }
}

TEST(MessagesTest, JsonIsBounded) {
  EXPECT_TRUE(parse_object(R"({"a":"[[[[,,,,{{{{\"]"})"));
  EXPECT_FALSE(parse_object(R"({"a":)" + std::string(40, '[') + std::string(40, ']') + "}"));
  EXPECT_FALSE(parse_object(R"({"a":[0)" + std::string(20'000, ',') + "0]}"));
  for (const char* bad : {"", "1", "[]", "{", "{}x", "{\"a\":NaN}", "{\"a\":\"\xff\"}"})
    EXPECT_FALSE(parse_object(bad)) << bad;
}

TEST(MessagesTest, Base64) {
  for (const char* text : {"", "a", "ab", "abc", "\xff\xfe"})
    EXPECT_EQ(*decode_base64(encode_base64(text)), text);
  for (const char* bad : {"a", "ab=", "a===", "ab c", "====", "ab==ab==", "YWJj\n"})
    EXPECT_FALSE(decode_base64(bad)) << bad;
}

TEST(MessagesTest, ABodyIsTextOrBase64) {
  nlohmann::json head = {{"data", "x"}, {"eof", true}};
  EXPECT_EQ(*take_body(head), "x");
  EXPECT_EQ(head, nlohmann::json({{"eof", true}}));
  nlohmann::json number = {{"data", 1}};
  EXPECT_FALSE(take_body(number));
  put_body(head, "\xff");
  EXPECT_EQ(head["base64"], "/w==");
}

TEST(Utf8Test, WhatIsNoneIsReplaced) {
  const std::pair<std::string, std::string> cases[] = {
      {"caf\xc3\xa9", "caf\xc3\xa9"},
      {"\xc0\xaf", "\xEF\xBF\xBD\xEF\xBF\xBD"},                  // overlong
      {"\xed\xa0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // a surrogate
      {"\xf0\x9f\x98x", "\xEF\xBF\xBDx"},                        // cut off
      {"\xf4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
  };
  for (const auto& [bytes, expected] : cases) {
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      Utf8Stream stream;
      std::string got = stream.next(bytes.substr(0, cut));
      got += stream.next(bytes.substr(cut));
      got += stream.flush();
      EXPECT_EQ(got, expected) << cut;
    }
    EXPECT_EQ(is_utf8(bytes), bytes == expected);
  }
}

}  // namespace
}  // namespace brood
