#include "scram/scram.h"

#include <gtest/gtest.h>

#include "scram/crypto.h"

namespace brood {
namespace {

// The example of RFC 7677, section 3.
constexpr char kNonce[] = "rOprNGfwEbeRWgbNEkqO";
constexpr char kClientFirst[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr char kBothNonces[] = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr char kServerFirst[] =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr char kClientFinal[] =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr char kServerFinal[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

ScramKeys example_keys() {
  return derive_scram_keys("pencil", *from_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
}

ScramClient client(const char* password = "pencil") {
  return *ScramClient::make("user", password, kNonce);
}

TEST(Scram, TheClientSaysWhatTheRfcSays) {
  ScramClient user = client();
  EXPECT_EQ(user.first_message(), kClientFirst);
  Result<std::string> last = user.final_message(kServerFirst);
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(*last, kClientFinal);
  EXPECT_TRUE(user.verify(kServerFinal));
}

TEST(Scram, TheServerSaysWhatTheRfcSays) {
  Result<ScramClientFirst> first = parse_scram_client_first(kClientFirst);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->user, "user");
  EXPECT_EQ(first->nonce, kNonce);
  const ScramKeys keys = example_keys();
  EXPECT_EQ(format_scram_server_first(kBothNonces, keys), kServerFirst);
  Result<ScramClientFinal> last = parse_scram_client_final(kClientFinal);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->binding, first->header);
  EXPECT_EQ(last->nonce, kBothNonces);
  const std::string message = scram_auth_message(first->bare, kServerFirst, last->without_proof);
  EXPECT_TRUE(scram_proof_matches(keys, message, last->proof));
  EXPECT_EQ(format_scram_server_final(keys, message), kServerFinal);
}

TEST(Scram, AnotherPasswordOrMessageDoesNotMatch) {
  Result<ScramClientFinal> last =
      parse_scram_client_final(*client("pencils").final_message(kServerFirst));
  ASSERT_TRUE(last);
  const std::string message =
      scram_auth_message(std::string(kClientFirst).substr(3), kServerFirst, last->without_proof);
  EXPECT_FALSE(scram_proof_matches(example_keys(), message, last->proof));
  Result<ScramClientFinal> good = parse_scram_client_final(kClientFinal);
  EXPECT_TRUE(scram_proof_matches(example_keys(), message, good->proof));
  EXPECT_FALSE(scram_proof_matches(example_keys(), message + "x", good->proof));
  EXPECT_FALSE(scram_proof_matches(example_keys(), message, ""));
}

TEST(Scram, TheClientDoesNotTrustJustAnyServer) {
  EXPECT_FALSE(client().verify(kServerFinal)) << "before there was an exchange";
  ScramClient user = client();
  ASSERT_TRUE(user.final_message(kServerFirst));
  for (const char* wrong : {"", "v=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "x=1"})
    EXPECT_FALSE(user.verify(wrong)) << wrong;
  EXPECT_NE(user.verify("e=other-error").error().message.find("refused"), std::string::npos);
}

TEST(Scram, TheClientRefusesBadFirstMessagesOfTheServer) {
  const std::string nonce = "r=" + std::string(kBothNonces);
  const std::string salt = ",s=W22ZaJ0SNY7soEsUEjb6gQ==";
  for (const std::string& wrong :
       {std::string(), std::string("e=x"), nonce, nonce + salt, nonce + salt + ",i=",
        nonce + salt + ",i=4095", nonce + salt + ",i=-1", nonce + salt + ",i=2000000",
        nonce + salt + ",i=99999999999999999999", nonce + salt + ",i=4096x", nonce + ",s=,i=4096",
        nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ=,i=4096", "r=" + std::string(kNonce) + salt + ",i=4096",
        "r=another" + salt + ",i=4096", nonce.substr(0, 10) + salt + ",i=4096",
        "m=ext," + nonce + salt + ",i=4096", std::string(100'000, 'r')})
    EXPECT_FALSE(client().final_message(wrong)) << wrong.substr(0, 100);
}

TEST(Scram, NamesAreEscaped) {
  Result<ScramClient> odd = ScramClient::make("a=b,c", "p", "N");
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->first_message(), "n,,n=a=3Db=2Cc,r=N");
  EXPECT_EQ(parse_scram_client_first(odd->first_message())->user, "a=b,c");
}

TEST(Scram, RefusesBadFirstMessagesOfTheClient) {
  for (const char* wrong : {"",
                            "n",
                            "n,",
                            "n,,",
                            "n,,n=",
                            "n,,n=user",
                            "n,,n=user,r=",
                            "n,,r=N,n=user",
                            "n,,n=,r=N",
                            "p=tls-unique,,n=user,r=N",
                            "n,a=root,n=user,r=N",
                            "x,,n=user,r=N",
                            "n,,m=x,n=user,r=N",
                            "n,,n=a=,r=N",
                            "n,,n=a=2,r=N",
                            "n,,n=a=2c,r=N",
                            "n,,n=a=41,r=N",
                            "n,,n=us\ner,r=N",
                            "n,,n=\xff,r=N",
                            "n,,n=user,r=N\x01",
                            "n,,n=user,r=N N",
                            "N,,n=user,r=N"})
    EXPECT_FALSE(parse_scram_client_first(wrong)) << wrong;
  EXPECT_FALSE(parse_scram_client_first("n,,n=user,r=" + std::string(9000, 'N')));
  EXPECT_FALSE(parse_scram_client_first(std::string_view("n,,n=us\0er,r=N", 14)));
  EXPECT_TRUE(parse_scram_client_first("y,,n=user,r=N"));
  EXPECT_TRUE(parse_scram_client_first("n,,n=user,r=N,x=later"));
}

TEST(Scram, RefusesBadFinalMessagesOfTheClient) {
  const std::string proof = ",p=" + to_base64(std::string(32, 'x'));
  EXPECT_TRUE(parse_scram_client_final("c=biws,r=N" + proof));
  for (const std::string& wrong :
       {std::string(), std::string("c=biws,r=N"), std::string("c=biws,r=N,p="),
        std::string("c=biws,r=N,p=eA=="), "c=biws" + proof, "r=N,c=biws" + proof,
        "c=biw,r=N" + proof, "c=,r=" + proof, "c=biws,r=N" + proof.substr(0, 40),
        "c=biws,r=N" + proof + ",x=y", proof})
    EXPECT_FALSE(parse_scram_client_final(wrong)) << wrong;
}

TEST(Scram, ChecksText) {
  for (const char* good : {"a", "pass word", "größe", "日本", "😀", "\xc2\xa0"})
    EXPECT_TRUE(check_scram_text(good, "it")) << good;
  for (const char* bad : {"", "a\tb", "a\n", "\x7f", "\xc2\x80", "\xc2\x9f", "\x80", "\xc3",
                          "\xc0\xaf", "\xed\xa0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe6\x97"})
    EXPECT_FALSE(check_scram_text(bad, "it")) << bad;
  EXPECT_TRUE(check_scram_text(std::string(kMaxScramText, 'x'), "it"));
  EXPECT_FALSE(check_scram_text(std::string(kMaxScramText + 1, 'x'), "it"));
  EXPECT_FALSE(ScramClient::make("", "p"));
  EXPECT_FALSE(ScramClient::make("u", "p\n"));
}

TEST(Scram, NoncesDiffer) {
  EXPECT_EQ(scram_nonce().size(), 24U);
  EXPECT_NE(scram_nonce(), scram_nonce());
}

}  // namespace
}  // namespace brood
