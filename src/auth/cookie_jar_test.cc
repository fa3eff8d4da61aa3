#include "auth/cookie_jar.h"

#include <gtest/gtest.h>

#include "base/clock.h"

namespace brood {
namespace {

const Identity kAnn{"ann", false, "password"};

TEST(CookieJar, KnowsWhatItMade) {
  CookieJar jar;
  const std::string cookie = jar.make(kAnn, 0);
  EXPECT_EQ(cookie.size(), 43U);
  EXPECT_NE(cookie, jar.make(kAnn, 0));
  ASSERT_TRUE(jar.check(cookie, 0));
  EXPECT_EQ(jar.check(cookie, 0)->user, "ann");
  std::string other = cookie;
  other[0] = other[0] == 'A' ? 'B' : 'A';
  for (const std::string& wrong : {other, std::string(), cookie.substr(1), cookie + "x"})
    EXPECT_FALSE(jar.check(wrong, 0));
}

TEST(CookieJar, TheyEnd) {
  CookieJar jar;
  const std::string cookie = jar.make(kAnn, 5);
  EXPECT_TRUE(jar.check(cookie, 4 + kCookieSeconds * kSecond));
  EXPECT_FALSE(jar.check(cookie, 5 + kCookieSeconds * kSecond));
  (void)jar.make(kAnn, 5 + kCookieSeconds * kSecond);
  EXPECT_EQ(jar.size(), 1U) << "the old one is gone";
}

TEST(CookieJar, AreDroppedOneByOneOrByCondition) {
  CookieJar jar;
  const std::string first = jar.make(kAnn, 0);
  const std::string second = jar.make(kAnn, 0);
  const std::string other = jar.make({"bob", true, "serving"}, 0);
  jar.drop(first);
  jar.drop(first);
  jar.drop("nonsense");
  EXPECT_FALSE(jar.check(first, 1));
  EXPECT_TRUE(jar.check(second, 1));
  jar.drop_if([](const Identity& identity) { return identity.user == "ann"; });
  EXPECT_FALSE(jar.check(second, 1));
  EXPECT_TRUE(jar.check(other, 1));
  EXPECT_EQ(jar.size(), 1U);
}

TEST(CookieJar, IsBoundedForEachUser) {
  CookieJar jar;
  const std::string oldest = jar.make(kAnn, 0);
  const std::string others = jar.make({"bob", false, "password"}, 0);
  for (size_t i = 1; i < CookieJar::kMaxPerUser; ++i)
    (void)jar.make(kAnn, 1);
  EXPECT_TRUE(jar.check(oldest, 1));
  const std::string newest = jar.make(kAnn, 1);
  EXPECT_FALSE(jar.check(oldest, 1));
  EXPECT_TRUE(jar.check(newest, 1));
  EXPECT_TRUE(jar.check(others, 1));
  EXPECT_EQ(jar.size(), CookieJar::kMaxPerUser + 1);
}

}  // namespace
}  // namespace brood
