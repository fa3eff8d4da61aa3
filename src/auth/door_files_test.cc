#include "auth/door_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "auth/accounts.h"
#include "auth/private_file.h"
#include "auth/test_folder.h"

namespace brood {
namespace {

constexpr int64_t kNow = 1'700'000'000;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  require(at != text.npos, "the test's text has what is replaced");
  return text.replace(at, from.size(), to);
}

void expect_wrong(const Error& error, const std::string& part) {
  EXPECT_TRUE(error.message.starts_with("/f/x.json: ")) << error.message;
  EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
}

mode_t mode_of(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
}

TEST(DoorFiles, UserNames) {
  for (const std::string& good : {std::string("a"), std::string("Ann"), std::string("a.b-c_d"),
                                  std::string("0"), std::string(64, 'x')})
    EXPECT_TRUE(check_user_name(good)) << good;
  for (const std::string& bad :
       {std::string(), std::string(".a"), std::string("-a"), std::string("_a"), std::string("a b"),
        std::string("a/b"), std::string("*"), std::string("größe"), std::string("a\n"),
        std::string("a\0b", 3), std::string(65, 'x')})
    EXPECT_FALSE(check_user_name(bad)) << bad;
  for (const char* reserved : {"token", "owner"})
    EXPECT_NE(check_user_name(reserved).error().message.find("reserved"), std::string::npos);
}

TEST(DoorFiles, AreWhatWasWritten) {
  const TestFolder folder;
  ASSERT_TRUE(add_user(folder.path(), "ann", "secret words", true, kNow));
  ASSERT_TRUE(add_user(folder.path(), "bob", "other words", false, kNow + 1));
  Result<NewToken> token = add_token(folder.path(), "bob", "größe", kNow + 100, kNow);
  ASSERT_TRUE(token);
  Result<UserFile> users = read_users(folder.path());
  ASSERT_TRUE(users);
  ASSERT_EQ(users->users.size(), 2U);
  EXPECT_TRUE(users->users.at("ann").admin);
  EXPECT_FALSE(users->users.at("bob").admin);
  EXPECT_EQ(users->users.at("bob").created, kNow + 1);
  EXPECT_EQ(users->users.at("bob").keys.iterations, kPasswordIterations);
  EXPECT_NE(users->users.at("ann").keys.salt, users->users.at("bob").keys.salt);
  Result<TokenFile> tokens = read_tokens(folder.path());
  ASSERT_TRUE(tokens);
  ASSERT_EQ(tokens->tokens.size(), 1U);
  EXPECT_EQ(tokens->tokens[0].id, token->record.id);
  EXPECT_EQ(tokens->tokens[0].hash, token->record.hash);
  EXPECT_EQ(tokens->tokens[0].keys, token->record.keys);
  EXPECT_EQ(tokens->tokens[0].name, "größe");
  EXPECT_EQ(tokens->tokens[0].expires, kNow + 100);
  EXPECT_EQ(format_users(*users), folder.read("users.json"));
  EXPECT_EQ(format_tokens(*tokens), folder.read("tokens.json"));
  for (const char* name : {"users.json", "tokens.json"}) {
    EXPECT_EQ(mode_of(folder.file(name)), 0600U);
    for (const std::string& secret : {std::string("words"), token->token, token->token.substr(6)})
      EXPECT_EQ(folder.read(name).find(secret), std::string::npos);
  }
}

TEST(DoorFiles, MakesItsFolder) {
  const TestFolder folder;
  const std::string deep = folder.path() + "/a/b";
  ASSERT_TRUE(add_user(deep, "ann", "p", false, kNow));
  EXPECT_EQ(mode_of(deep), 0700U);
  EXPECT_TRUE(read_users(deep)->users.contains("ann"));
}

TEST(DoorFiles, NothingIsThereYet) {
  const TestFolder folder;
  EXPECT_TRUE(read_users(folder.path())->users.empty());
  EXPECT_TRUE(read_tokens(folder.path() + "/none")->tokens.empty());
}

TEST(DoorFiles, SaysWhatIsWrongWithUsers) {
  UserFile file;
  file.secret = std::string(32, 's');
  const ScramKeys keys{"salt", 8192, std::string(32, 'a'), std::string(32, 'b')};
  file.users["ann"] = UserRecord{false, keys, kNow};
  const std::string good = format_users(file);
  ASSERT_TRUE(parse_users(good, "/f/x.json"));
  const auto wrong = [&](const std::string& from, const std::string& to, const std::string& part) {
    Result<UserFile> parsed = parse_users(replaced(good, from, to), "/f/x.json");
    ASSERT_FALSE(parsed) << from;
    expect_wrong(parsed.error(), part);
  };
  wrong("{", "[", "not JSON, at line");
  wrong("\"version\": 1", "\"version\": 2", "\"version\" must be 1");
  wrong("\"version\": 1", "\"more\": 1", "unknown member \"more\"");
  wrong("\"user\"", "\"king\"", "user ann: \"role\" must be");
  wrong("\"user\"", "7", "user ann: \"role\" must be a text");
  wrong("8192", "12", "\"iterations\" must be a number from 4096");
  wrong("8192", "8192.5", "\"iterations\" must be a number");
  wrong("8192", "18446744073709551615", "\"iterations\" must be a number");
  wrong("\"stored_key\": \"YWFh", "\"stored_key\": \"", "\"stored_key\" must be 32 bytes");
  wrong("\"salt\": \"c2FsdA==\"", "\"salt\": \"\"", "\"salt\" must be some bytes");
  wrong("\"ann\"", "\"token\"", "reserved");
  wrong("\"ann\"", "\"a b\"", "a user's name has");
  wrong("\"created\"", "\"creation\"", "user ann: unknown member");
  wrong("\"secret\"", "\"sekret\"", "unknown member \"sekret\"");
  for (const char* text : {"", "[]", "1", "null", "{}", "{\"version\": 1}", "\xff"})
    EXPECT_FALSE(parse_users(text, "/f/x.json")) << text;
}

TEST(DoorFiles, SaysWhatIsWrongWithTokens) {
  TokenFile file;
  file.salt = "salt";
  const ScramKeys keys{"salt", 8192, std::string(32, 'a'), std::string(32, 'b')};
  for (const char* id : {"00000001", "00000002"})
    file.tokens.push_back({id, std::string(32, 'h'), keys, "ann", "", kNow, 0});
  const std::string good = format_tokens(file);
  ASSERT_TRUE(parse_tokens(good, "/f/x.json"));
  const auto wrong = [&](const std::string& from, const std::string& to, const std::string& part) {
    Result<TokenFile> parsed = parse_tokens(replaced(good, from, to), "/f/x.json");
    ASSERT_FALSE(parsed) << from;
    expect_wrong(parsed.error(), part);
  };
  wrong("00000002", "00000001", "two tokens have the id 00000001");
  wrong("00000001", "0000000", "token 1: \"id\" must be 8 hexadecimal digits");
  wrong("00000002", "0000000g", "token 2: \"id\" must be");
  wrong("\"hash\": \"68", "\"hash\": \"", "\"hash\" must be 64 hexadecimal digits");
  wrong("\"user\": \"ann\"", "\"user\": \"\"", "a user's name has");
  wrong("\"expires\": 0", "\"expires\": -1", "\"expires\" must be a number from 0");
  wrong("\"name\": \"\"", "\"name\": \"" + std::string(201, 'x') + "\"", "\"name\" is too long");
  wrong("\"salt\": \"c2FsdA==\"", "\"salt\": null", "\"salt\" must be a text");
  EXPECT_TRUE(parse_tokens(replaced(good, "\"ann\"", "\"owner\""), "/f/x.json"));
}

TEST(DoorFiles, RefusesWhatOthersCanReachOrOwn) {
  const TestFolder folder;
  folder.write("x", "text");
  for (const mode_t mode : {0640U, 0604U, 0620U, 0602U, 0610U}) {
    folder.mode("x", mode);
    Result<std::string> text = read_private_file(folder.file("x"), 10);
    ASSERT_FALSE(text) << mode;
    EXPECT_EQ(text.error().message,
              folder.file("x") + " is open to others; make it private with chmod 0600");
  }
  folder.mode("x", 0400);
  EXPECT_EQ(*read_private_file(folder.file("x"), 10), "text");
  EXPECT_EQ(*read_private_file(folder.file("x"), 4), "text");
  EXPECT_FALSE(read_private_file(folder.file("x"), 3));
  EXPECT_EQ(read_private_file(folder.file("none"), 3).error().code, ENOENT);
  EXPECT_FALSE(read_private_file(folder.path(), 3));
  ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_NE(read_private_file(folder.file("pipe"), 3).error().message.find("not a regular file"),
            std::string::npos);
  if (geteuid() != 0) return;
  folder.mode("x", 0640);
  EXPECT_TRUE(read_private_file(folder.file("x"), 10, Secrecy::kRootsGroup));
  folder.mode("x", 0644);
  EXPECT_FALSE(read_private_file(folder.file("x"), 10, Secrecy::kRootsGroup));
  folder.mode("x", 0600);
  ASSERT_EQ(chown(folder.file("x").c_str(), 65534, 65534), 0);
  EXPECT_NE(read_private_file(folder.file("x"), 10).error().message.find("belongs to user 65534"),
            std::string::npos);
}

TEST(Accounts, RefuseWhatMakesNoSense) {
  const TestFolder folder;
  const std::string& at = folder.path();
  ASSERT_TRUE(add_user(at, "ann", "p", false, kNow));
  EXPECT_NE(add_user(at, "ann", "p", false, kNow).error().message.find("already"),
            std::string::npos);
  EXPECT_FALSE(add_user(at, "token", "p", false, kNow));
  EXPECT_FALSE(add_user(at, "bob", "", false, kNow));
  EXPECT_FALSE(add_user(at, "bob", "p\n", false, kNow));
  EXPECT_FALSE(remove_user(at, "bob"));
  EXPECT_FALSE(set_password(at, "bob", "p"));
  EXPECT_FALSE(add_token(at, "bob", "", 0, kNow));
  EXPECT_FALSE(add_token(at, "ann", "a\tb", 0, kNow));
  EXPECT_FALSE(add_token(at, "ann", std::string(kMaxTokenName + 1, 'x'), 0, kNow));
  EXPECT_FALSE(revoke_token(at, "00000000"));
  EXPECT_EQ(read_users(at)->users.size(), 1U);
}

TEST(Accounts, TokensAreRandomAndOldOnesAreDropped) {
  const TestFolder folder;
  const std::string token = random_token();
  EXPECT_EQ(token.size(), 6U + 43U);
  EXPECT_TRUE(token.starts_with("brood_"));
  EXPECT_NE(token, random_token());
  ASSERT_TRUE(add_token(folder.path(), "owner", "first", kNow + 1, kNow));
  ASSERT_TRUE(add_token(folder.path(), "owner", "second", 0, kNow + 1));
  Result<TokenFile> tokens = read_tokens(folder.path());
  ASSERT_EQ(tokens->tokens.size(), 1U);
  EXPECT_EQ(tokens->tokens[0].name, "second");
}

TEST(Accounts, RemovingAUserRemovesItsTokensOnly) {
  const TestFolder folder;
  ASSERT_TRUE(add_user(folder.path(), "ann", "p", false, kNow));
  for (const char* user : {"ann", "owner", "ann"})
    ASSERT_TRUE(add_token(folder.path(), user, "", 0, kNow));
  EXPECT_EQ(*remove_user(folder.path(), "ann"), 2U);
  EXPECT_EQ(read_tokens(folder.path())->tokens.size(), 1U);
}

TEST(Accounts, ABrokenFileIsNotReplaced) {
  const TestFolder folder;
  folder.write("users.json", "{");
  EXPECT_FALSE(add_user(folder.path(), "ann", "p", false, kNow));
  EXPECT_EQ(folder.read("users.json"), "{");
}

TEST(Accounts, NothingIsLostWhenManyChangeAtOnce) {
  const TestFolder folder;
  constexpr int kThreads = 4;
  constexpr int kEach = 5;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&folder, thread] {
      for (int i = 0; i < kEach; ++i)
        EXPECT_TRUE(add_token(folder.path(), "owner", std::to_string(thread), 0, kNow));
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(read_tokens(folder.path())->tokens.size(), size_t{kThreads * kEach});
}

}  // namespace
}  // namespace brood
