#include "scram/crypto.h"

#include <gtest/gtest.h>

namespace brood {
namespace {

TEST(Crypto, HashesAsPublished) {
  EXPECT_EQ(to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),  // RFC 4231, case 2
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Crypto, SpellsBytesBothWays) {
  for (const std::string& bytes :
       {std::string(), std::string("f"), std::string("fo"), std::string("foo"),
        std::string("\0\0", 2), std::string("\xff\xfe\xfd\xfc")}) {
    EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
    EXPECT_EQ(from_hex(to_hex(bytes)), bytes);
  }
  EXPECT_EQ(to_base64("\xfb\xff"), "+/8=");
  EXPECT_EQ(to_base64url("\xfb\xff"), "-_8");
}

TEST(Crypto, RefusesOtherSpellings) {
  for (const char* wrong : {"A", "AA", "AAA", "=", "====", "A===", "AB==", "AAB=", " AAAA",
                            "AAAA\n", "AA==AAAA", "-_8=", "AAA\n", "    ", "AA=A"})
    EXPECT_FALSE(from_base64(wrong)) << wrong;
  for (const char* wrong : {"a", "0g", "AB", " 0", "0x"})
    EXPECT_FALSE(from_hex(wrong)) << wrong;
}

TEST(Crypto, ComparesWholeTexts) {
  EXPECT_TRUE(same_bytes("", ""));
  EXPECT_TRUE(same_bytes("abc", "abc"));
  EXPECT_FALSE(same_bytes("abc", "abd"));
  EXPECT_FALSE(same_bytes("abc", "ab"));
}

TEST(Crypto, RandomBytesDiffer) {
  EXPECT_EQ(random_bytes(32).size(), 32U);
  EXPECT_NE(random_bytes(32), random_bytes(32));
}

}  // namespace
}  // namespace brood
