#include "auth/file_authenticator.h"

#include <gtest/gtest.h>

#include "auth/accounts.h"
#include "auth/test_folder.h"
#include "scram/crypto.h"

namespace brood {
namespace {

constexpr char kServing[] = "brood_of-the-server";

class Door : public testing::Test {
 protected:
  static constexpr int64_t kNow = 1'000'000;  // seconds

  void SetUp() override {
    ASSERT_TRUE(add_user(folder_.path(), "ann", "ann's password", false, kNow));
    ASSERT_TRUE(add_user(folder_.path(), "root", "größe", true, kNow));
    open();
  }

  void open() {
    DoorOptions options{folder_.path(), kServing, "me"};
    options.monotonic = [this] { return now_ * 1'000'000'000; };
    options.seconds = [this] { return now_; };
    Result<std::unique_ptr<FileAuthenticator>> made = FileAuthenticator::open(std::move(options));
    ASSERT_TRUE(made) << made.error().message;
    door_ = std::move(*made);
  }

  // The whole exchange; whom the server took it for. An Error of either side: nothing.
  std::optional<Identity> log_in(const std::string& user, const std::string& password) {
    Result<ScramClient> client = ScramClient::make(user, password);
    if (!client) return std::nullopt;
    const std::unique_ptr<ScramExchange> exchange = door_->scram();
    Result<ScramExchange::Step> first = exchange->step(client->first_message());
    if (!first || first->identity) return std::nullopt;
    Result<std::string> last = client->final_message(first->data);
    if (!last) return std::nullopt;
    Result<ScramExchange::Step> done = exchange->step(*last);
    if (!done) return std::nullopt;
    EXPECT_TRUE(client->verify(done->data));
    EXPECT_FALSE(exchange->step(*last)) << "it is over";
    return done->identity;
  }

  std::string new_token(const std::string& user, int64_t expires = 0) {
    Result<NewToken> made = add_token(folder_.path(), user, "a test", expires, kNow);
    EXPECT_TRUE(made) << made.error().message;
    last_id_ = made->record.id;
    return made->token;
  }

  // What the server offers to a user.
  std::string salt_of(const std::string& user) {
    Result<ScramExchange::Step> first = door_->scram()->step("n,,n=" + user + ",r=N");
    EXPECT_TRUE(first);
    const std::string& text = first->data;
    return text.substr(text.find(",s="));  // with the rounds
  }

  TestFolder folder_;
  int64_t now_ = kNow;
  std::unique_ptr<FileAuthenticator> door_;
  std::string last_id_;
};

void expect_is(const std::optional<Identity>& found, const std::string& user, bool admin) {
  ASSERT_TRUE(found);
  EXPECT_EQ(found->user, user);
  EXPECT_EQ(found->admin, admin);
}

TEST_F(Door, LetsUsersInByPassword) {
  expect_is(log_in("ann", "ann's password"), "ann", false);
  expect_is(log_in("root", "größe"), "root", true);
  expect_is(door_->check_password("ann", "ann's password"), "ann", false);
  expect_is(door_->check_password("root", "größe"), "root", true);
}

TEST_F(Door, KeepsOthersOut) {
  for (const auto& [user, password] : {std::pair("ann", "wrong"),
                                       {"ann", "größe"},
                                       {"Ann", "ann's password"},
                                       {"nobody", "x"},
                                       {"token", "wrong"},
                                       {"owner", kServing},
                                       {"me", kServing}}) {
    EXPECT_FALSE(log_in(user, password)) << user;
    EXPECT_FALSE(door_->check_password(user, password)) << user;
  }
  EXPECT_FALSE(door_->check_password("ann", ""));
  EXPECT_FALSE(door_->check_password("ann", std::string(1 << 20, 'x')));
}

TEST_F(Door, AnyTokenIsThePasswordOfTheUserToken) {
  expect_is(log_in("token", kServing), "me", true);
  expect_is(door_->check_token(kServing), "me", true);
  const std::string anns = new_token("ann");
  const std::string owners = new_token("owner");
  expect_is(log_in("token", anns), "ann", false);
  expect_is(log_in("token", owners), "me", true);
  expect_is(log_in("token", kServing), "me", true);  // whose salt is another one now
  expect_is(door_->check_token(anns), "ann", false);
  expect_is(door_->check_token(owners), "me", true);
  expect_is(door_->check_password("token", anns), "ann", false);
}

TEST_F(Door, OtherTokensAreNone) {
  const std::string token = new_token("ann");
  for (const std::string& wrong : {std::string(), std::string("brood_"), token + "x",
                                   token.substr(1), std::string(1 << 20, 'x')})
    EXPECT_FALSE(door_->check_token(wrong));
}

TEST_F(Door, WithoutAServingTokenNobodyHasIt) {
  Result<std::unique_ptr<FileAuthenticator>> made =
      FileAuthenticator::open({folder_.path(), "", "me"});
  ASSERT_TRUE(made);
  door_ = std::move(*made);
  EXPECT_FALSE(door_->check_token(""));
  EXPECT_FALSE(door_->check_password("token", ""));
  EXPECT_FALSE(log_in("token", "x"));
  const ScramKeys empty = door_->challenge("token");  // a client that knows the empty password
  const std::string salted = pbkdf2_sha256("", empty.salt, empty.iterations);
  const std::string key = hmac_sha256(salted, "Client Key");
  std::string proof = hmac_sha256(sha256(key), "message");
  for (size_t i = 0; i < proof.size(); ++i)
    proof[i] = static_cast<char>(proof[i] ^ key[i]);
  EXPECT_FALSE(door_->prove("token", "message", proof));
}

TEST_F(Door, WhetherThereAreTokens) {
  EXPECT_TRUE(door_->has_tokens());  // the serving one was chosen
  Result<std::unique_ptr<FileAuthenticator>> made =
      FileAuthenticator::open({folder_.path(), kServing, "me", true});
  ASSERT_TRUE(made);
  EXPECT_FALSE((*made)->has_tokens());
  new_token("ann", kNow + 60);  // long ago, by the real clock
  EXPECT_FALSE((*made)->has_tokens());
  new_token("ann");
  EXPECT_TRUE((*made)->has_tokens());
}

TEST_F(Door, TokensExpireAreRevokedAndGoWithTheirUser) {
  const std::string token = new_token("ann", kNow + 60);
  now_ = kNow + 59;
  EXPECT_TRUE(door_->check_token(token));
  EXPECT_TRUE(log_in("token", token));
  now_ = kNow + 60;
  EXPECT_FALSE(door_->check_token(token));
  EXPECT_FALSE(log_in("token", token));

  const std::string second = new_token("ann");
  EXPECT_TRUE(door_->check_token(second));
  ASSERT_TRUE(revoke_token(folder_.path(), last_id_));
  EXPECT_FALSE(door_->check_token(second));

  const std::string third = new_token("ann");
  const std::string tokens = folder_.read("tokens.json");
  ASSERT_TRUE(remove_user(folder_.path(), "ann"));
  folder_.write("tokens.json", tokens);  // even if it were still there
  EXPECT_FALSE(door_->check_token(third));
  EXPECT_FALSE(log_in("token", third));
}

TEST_F(Door, UsersThatDoNotExistCannotBeToldApart) {
  EXPECT_EQ(salt_of("nobody"), salt_of("nobody"));
  EXPECT_NE(salt_of("nobody"), salt_of("nobody2"));
  EXPECT_EQ(salt_of("nobody").size(), salt_of("ann").size());
  const std::string before = salt_of("nobody");
  open();
  EXPECT_EQ(salt_of("nobody"), before) << "a restart of the server tells nothing";
}

TEST_F(Door, AllFailuresLookAlike) {
  const std::string first = "n,,n=ann,r=N";
  for (const char* wrong : {"", "nonsense", "p=tls-unique,,n=ann,r=N"})
    EXPECT_EQ(door_->scram()->step(wrong).error().message, "authentication failed");
  const std::unique_ptr<ScramExchange> exchange = door_->scram();
  ASSERT_TRUE(exchange->step(first));
  EXPECT_EQ(exchange->step(first).error().message, "authentication failed") << "out of turn";
  EXPECT_FALSE(exchange->step(first)) << "it is over";
}

TEST_F(Door, AnExchangeCannotBeReplayedOrMixed) {
  Result<ScramClient> client = ScramClient::make("ann", "ann's password");
  const std::unique_ptr<ScramExchange> exchange = door_->scram();
  Result<ScramExchange::Step> offer = exchange->step(client->first_message());
  Result<std::string> last = client->final_message(offer->data);

  const std::unique_ptr<ScramExchange> another = door_->scram();
  EXPECT_FALSE(another->step(*last)) << "the last message first";
  const std::unique_ptr<ScramExchange> replay = door_->scram();
  ASSERT_TRUE(replay->step(client->first_message()));
  EXPECT_FALSE(replay->step(*last)) << "the server's nonce is another one";

  for (const size_t length : {size_t{0}, size_t{1}, last->size() / 2, last->size() - 1}) {
    const std::unique_ptr<ScramExchange> cut = door_->scram();
    Result<ScramExchange::Step> mine = cut->step(client->first_message());
    Result<std::string> good = client->final_message(mine->data);
    EXPECT_FALSE(cut->step(good->substr(0, length))) << length;
  }
}

// A client that knows the password but does not keep to the rules: `start` is what its last message
// says before the proof, NONCE in it is the right nonce.
std::string last_message(const std::string& server_first, std::string start) {
  const std::string nonce = server_first.substr(2, server_first.find(',') - 2);
  if (const size_t at = start.find("NONCE"); at != start.npos) start.replace(at, 5, nonce);
  const size_t salt_at = server_first.find(",s=") + 3;
  const size_t salt_end = server_first.find(",i=");
  const std::string salt = *from_base64(server_first.substr(salt_at, salt_end - salt_at));
  const std::string key =
      hmac_sha256(pbkdf2_sha256("ann's password", salt, kPasswordIterations), "Client Key");
  std::string proof =
      hmac_sha256(sha256(key), scram_auth_message("n=ann,r=N", server_first, start));
  for (size_t i = 0; i < proof.size(); ++i)
    proof[i] = static_cast<char>(proof[i] ^ key[i]);
  return start + ",p=" + to_base64(proof);
}

TEST_F(Door, AGoodProofOfOtherThingsIsNone) {
  for (const auto& [start, good] : {std::pair("c=biws,r=NONCE", true),
                                    {"c=eSws,r=NONCE", false},
                                    {"c=,r=NONCE", false},
                                    {"c=biws,r=N", false},
                                    {"c=biws,r=NONCEx", false},
                                    {"c=biws,r=xNONCE", false}}) {
    const std::unique_ptr<ScramExchange> exchange = door_->scram();
    Result<ScramExchange::Step> offer = exchange->step("n,,n=ann,r=N");
    ASSERT_TRUE(offer);
    EXPECT_EQ(bool(exchange->step(last_message(offer->data, start))), good) << start;
  }
}

TEST_F(Door, AUserWhoIsRemovedMeanwhileIsNotLetIn) {
  Result<ScramClient> client = ScramClient::make("ann", "ann's password");
  const std::unique_ptr<ScramExchange> exchange = door_->scram();
  Result<std::string> last = client->final_message(exchange->step(client->first_message())->data);
  ASSERT_TRUE(remove_user(folder_.path(), "ann"));
  EXPECT_FALSE(exchange->step(*last));
}

TEST_F(Door, SeesChangesAtOnce) {
  ASSERT_TRUE(add_user(folder_.path(), "new", "p", false, kNow));
  EXPECT_TRUE(log_in("new", "p"));
  ASSERT_TRUE(set_password(folder_.path(), "new", "q"));
  EXPECT_FALSE(log_in("new", "p"));
  EXPECT_TRUE(door_->check_password("new", "q"));
  ASSERT_TRUE(remove_user(folder_.path(), "new"));
  EXPECT_FALSE(log_in("new", "q"));
}

TEST_F(Door, ABrokenFileChangesNothingButIsReported) {
  const std::string users = folder_.read("users.json");
  folder_.write("users.json", users.substr(0, users.size() / 2));
  EXPECT_TRUE(log_in("ann", "ann's password"));
  Result<void> reloaded = door_->reload();
  ASSERT_FALSE(reloaded);
  EXPECT_NE(reloaded.error().message.find("users.json: not JSON, at line"), std::string::npos)
      << reloaded.error().message;
  folder_.write("users.json", users);
  EXPECT_TRUE(door_->reload());
  folder_.mode("users.json", 0640);
  EXPECT_NE(door_->reload().error().message.find("chmod 0600"), std::string::npos);
  EXPECT_TRUE(log_in("ann", "ann's password"));
  EXPECT_FALSE(FileAuthenticator::open({folder_.path(), "", "me"})) << "a start is refused";
}

TEST_F(Door, WithoutFilesThereAreNoUsers) {
  Result<std::unique_ptr<FileAuthenticator>> made =
      FileAuthenticator::open({folder_.path() + "/none", kServing, "me"});
  ASSERT_TRUE(made) << made.error().message;
  door_ = std::move(*made);
  EXPECT_FALSE(log_in("ann", "ann's password"));
  expect_is(log_in("token", kServing), "me", true);
}

TEST_F(Door, RefusesATokenThatNoClientCanSend) {
  Result<std::unique_ptr<FileAuthenticator>> made =
      FileAuthenticator::open({folder_.path(), "two\nlines", "me"});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("the server's token"), std::string::npos);
}

TEST_F(Door, CookiesStandForIdentities) {
  const std::string cookie = door_->make_cookie(*door_->check_password("ann", "ann's password"));
  expect_is(door_->check_cookie(cookie), "ann", false);
  now_ += kCookieSeconds;
  EXPECT_FALSE(door_->check_cookie(cookie));
  const std::string owners = door_->make_cookie(*door_->check_token(kServing));
  expect_is(door_->check_cookie(owners), "me", true);
  door_->drop_cookie(owners);
  EXPECT_FALSE(door_->check_cookie(owners));
  EXPECT_FALSE(door_->check_cookie(""));
}

TEST_F(Door, CookiesEndWithWhatTheyWereMadeFrom) {
  const Identity ann = *door_->check_password("ann", "ann's password");
  const std::string of_password = door_->make_cookie(ann);
  const std::string of_token = door_->make_cookie(*door_->check_token(new_token("ann")));
  const std::string of_root = door_->make_cookie(*door_->check_password("root", "größe"));
  ASSERT_TRUE(set_password(folder_.path(), "ann", "new"));
  EXPECT_FALSE(door_->check_cookie(of_password));
  expect_is(door_->check_cookie(of_token), "ann", false);
  ASSERT_TRUE(revoke_token(folder_.path(), last_id_));
  EXPECT_FALSE(door_->check_cookie(of_token));

  ASSERT_TRUE(remove_user(folder_.path(), "root"));
  ASSERT_TRUE(add_user(folder_.path(), "root", "größe", false, kNow));
  EXPECT_FALSE(door_->check_cookie(of_root)) << "another user of the same name";
  EXPECT_FALSE(door_->check_cookie(door_->make_cookie({"ann", true})))
      << "only the owner needs no password and no token";
  expect_is(door_->check_cookie(door_->make_cookie({"me", true})), "me", true);
}

TEST_F(Door, ARoleThatChangesHoldsForCookiesToo) {
  const std::string cookie = door_->make_cookie(*door_->check_password("ann", "ann's password"));
  std::string users = folder_.read("users.json");
  users.replace(users.find("\"user\""), 6, "\"admin\"");
  folder_.write("users.json", users);
  expect_is(door_->check_cookie(cookie), "ann", true);
}

TEST_F(Door, CountsFailuresByItsClock) {
  EXPECT_EQ(door_->failed("1.2.3.4").delay_ns, ThrottleTable::kFirstDelayNs);
  for (int i = 0; i < 19; ++i)
    (void)door_->failed("1.2.3.4");
  EXPECT_TRUE(door_->before_attempt("1.2.3.4").refused);
  EXPECT_FALSE(door_->before_attempt("1.2.3.5").refused);
  now_ += 60;
  EXPECT_FALSE(door_->before_attempt("1.2.3.4").refused);
}

}  // namespace
}  // namespace brood
