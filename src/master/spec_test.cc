#include "master/spec.h"

#include <gtest/gtest.h>

namespace brood::master {
namespace {

using Words = std::vector<std::string>;

TEST(GatewaySpec, HasATransportAndItsKeys) {
  Result<Spec> spec = parse_spec(
      "ssh=me@there -p 22//ssh_config=/c//python=python3.9 "
      "-E//chdir=w//nice=-5//env:A=b=c//env:B=");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->transport, Transport::kSsh);
  EXPECT_EQ(spec->target, "me@there -p 22");
  EXPECT_EQ(spec->ssh_config, "/c");
  EXPECT_EQ(spec->python, "python3.9 -E");
  EXPECT_EQ(spec->chdir, "w");
  EXPECT_EQ(spec->nice, -5);
  ASSERT_EQ(spec->env.size(), 2U);
  EXPECT_EQ(spec->env[0], std::make_pair(std::string("A"), std::string("b=c")));
  EXPECT_EQ(spec->env[1].second, "");
  EXPECT_EQ(parse_spec("warm=numbers")->environment, "numbers");
  EXPECT_EQ(parse_spec("socket=:80//warm=numbers")->environment, "numbers");
  EXPECT_EQ(parse_spec("warm//socket=:80")->transport, Transport::kSocket);
  EXPECT_EQ(parse_spec("popen//warm")->transport, Transport::kWarm);
  EXPECT_EQ(parse_spec("socket=:80//token_file=t")->where(), "socket=:80");
  EXPECT_EQ(parse_spec("sudo=you//id=x")->id, "x");
}

TEST(GatewaySpec, TellsWhatIsWrong) {
  const std::pair<const char*, const char*> wrong[] = {
      {"", "a part is empty"},
      {"popen//", "a part is empty"},
      {"popen\n", "more than one line"},
      {"python=python3", "does not say how to reach"},
      {"popen//ssh=x", "more than one way"},
      {"ssh=x//warm", "warm goes with popen or socket"},
      {"popen//popen", "popen is given twice"},
      {"popen=1", "popen takes no value"},
      {"ssh", "ssh needs a value"},
      {"ssh=", "ssh needs a value"},
      {"warm=", "warm= is empty"},
      {"popen//nice=low", "nice is an integer"},
      {"popen//env:=1", "expected env:NAME=VALUE"},
      {"popen//ssh_config=f", "ssh_config goes with ssh"},
      {"popen//pyhton=p", "'pyhton' is no key"},
      {"socket=here", "no HOST:PORT"},
      {"socket=here:0", "no HOST:PORT"},
      {"socket=here:70000", "no HOST:PORT"},
      {"socket=::1:80", "in brackets"},
  };
  for (const auto& [text, why] : wrong) {
    const Result<Spec> spec = parse_spec(text);
    ASSERT_FALSE(spec) << text;
    EXPECT_NE(spec.error().message.find(why), std::string::npos) << spec.error().message;
  }
}

TEST(GatewaySpec, CutsWordsAsAShell) {
  EXPECT_EQ(split_words("a  b\tc"), (Words{"a", "b", "c"}));
  EXPECT_EQ(split_words("-o 'a b'\"c d\"e '' x\\ y"), (Words{"-o", "a bc de", "", "x y"}));
  EXPECT_EQ(split_words("'a\\b'"), (Words{"a\\b"}));
  EXPECT_EQ(split_words("  "), Words{});
}

TEST(GatewaySpec, Addresses) {
  EXPECT_EQ(split_address("[::1]:80")->host, "::1");
  EXPECT_EQ(split_address(":80")->host, "localhost");
  EXPECT_EQ(split_address("h:65535")->port, "65535");
}

}  // namespace
}  // namespace brood::master
