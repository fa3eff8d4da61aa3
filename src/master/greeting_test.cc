#include "master/greeting.h"

#include <gtest/gtest.h>

#include "wire/frame.h"

namespace brood::master {
namespace {

constexpr char kMark[] = "\nbrood gateway 1\n";

std::string greeting(const Dict& greet) { return kMark + encode_greet(0, 1, greet); }

TEST(GatewayGreeting, ComesInPiecesBetweenOtherBytes) {
  const Dict greet{{"pid", 7}, {"python", "3.11.2"}};
  const std::string bytes = "Welcome!\n" + greeting(greet) + "ahead";
  GreetingReader reader;
  for (size_t i = 0; i < bytes.size() - 6; ++i) {
    Result<std::optional<Dict>> none = reader.feed(bytes.substr(i, 1));
    ASSERT_TRUE(none) << none.error().message;
    ASSERT_FALSE(*none) << i;
  }
  Result<std::optional<Dict>> got = reader.feed(bytes.substr(bytes.size() - 6));
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, greet);
  EXPECT_EQ(reader.banner(), "Welcome!\n");
  EXPECT_EQ(reader.ahead(), "ahead");
}

TEST(GatewayGreeting, RefusesWhatIsNone) {
  const std::string wrong[] = {
      std::string(70 << 10, 'x'),
      std::string(kMark) + "GET / HTTP/1.1\r\n",
      kMark + encode_frame(FrameType::kGreet, ""),
      kMark + encode_frame(FrameType::kPing, "0123456789abcdef"),
      kMark + encode_frame(FrameType::kGreet, std::string(12, '\0') + dump(List{1}).bytes),
      kMark + encode_frame(FrameType::kGreet, std::string(12, '\0') + "\xc1"),
  };
  for (const std::string& bytes : wrong)
    EXPECT_FALSE(GreetingReader().feed(bytes)) << bytes.substr(0, 40);
}

}  // namespace
}  // namespace brood::master
