#include "daemon/environments.h"

#include <unistd.h>

#include "daemon/fake_zygote.h"

namespace brood {
namespace {

struct Waiter : WarmWaiter {
  void on_warmed(const Warmed& warmed) override {
    answers++;
    last = warmed;
  }
  int answers = 0;
  Warmed last;
};

class EnvironmentsTest : public DaemonTest {
 protected:
  explicit EnvironmentsTest(uint32_t most = 16)
      : environments_(io_, dir_, config(most), "/nonexistent/_brood.abi3.so") {}
  static DaemonConfig config(uint32_t most) {
    DaemonConfig out;
    out.max_environments = most;
    return out;
  }

  const Environment* find(const Launch& launch) const {
    const auto found = environments_.all().find(environment_key(launch));
    return found == environments_.all().end() ? nullptr : &found->second;
  }
  bool ready(const Launch& launch) const { return find(launch) && find(launch)->current; }
  bool failed(const Launch& launch) const { return find(launch) && !find(launch)->failure.empty(); }
  std::string failure_text(const Launch& launch) const {
    Result<std::string> text = read_file(dir_.failure_file(environment_key(launch)), 4096);
    return text ? *text : "(none)";
  }

  Environments environments_;
};

TEST_F(EnvironmentsTest, PreparesOnceAndTellsWaiters) {
  const Launch asked = launch("serve");
  Waiter first, second;
  environments_.wait_for(asked, first);
  environments_.warm(asked);
  environments_.wait_for(asked, second);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  EXPECT_TRUE(first.last.ok);
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(second.answers, 1);
  EXPECT_EQ(environments_.all().size(), 1u);
  EXPECT_FALSE(find(asked)->upcoming);
  EXPECT_EQ(find(asked)->current->report().python_version, "3.99");
  EXPECT_EQ(find(asked)->label(), "plain");
  Waiter late;
  environments_.wait_for(asked, late);
  EXPECT_TRUE(late.last.ok);
}

TEST_F(EnvironmentsTest, LeavesTheProcessorsToTheColdRunUnlessSomebodyWaits) {
  const Launch asked = launch("serve");
  environments_.warm(asked);
  EXPECT_FALSE(find(asked)->upcoming);
  Waiter waiter;
  environments_.wait_for(asked, waiter);
  EXPECT_TRUE(find(asked)->upcoming);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  EXPECT_TRUE(waiter.last.ok);
}

TEST_F(EnvironmentsTest, WritesDownAFailureAndDoesNotRepeatIt) {
  const Launch asked = launch("fail");
  Waiter waiter;
  environments_.wait_for(asked, waiter);
  ASSERT_TRUE(until([&] { return waiter.answers == 1; }));
  EXPECT_FALSE(waiter.last.ok);
  EXPECT_EQ(waiter.last.text, "no such module");
  EXPECT_EQ(failure_text(asked), "no such module");
  EXPECT_EQ(find(asked)->failures, 1u);
  environments_.warm(asked);  // within the first second
  EXPECT_FALSE(find(asked)->upcoming);
  environments_.wait_for(asked, waiter);  // somebody waits: at once
  EXPECT_TRUE(find(asked)->upcoming);
  ASSERT_TRUE(until([&] { return waiter.answers == 2; }));
  EXPECT_GT(find(asked)->retry_ns - find(asked)->failed_ns, 1'500'000'000);  // twice as long
}

TEST_F(EnvironmentsTest, ForgetsAFailureWhenItIsReady) {
  const Launch asked = launch("serve");
  EXPECT_TRUE(replace_file(dir_.failure_file(environment_key(asked)), "old"));
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  EXPECT_EQ(failure_text(asked), "(none)");
}

TEST_F(EnvironmentsTest, TellsHowAnInterpreterDied) {
  environments_.warm(launch("die"));
  environments_.warm(launch("kill"));
  ASSERT_TRUE(until([&] { return failed(launch("die")) && failed(launch("kill")); }));
  EXPECT_EQ(find(launch("die"))->failure,
            "the interpreter ended with status 7 while it was being prepared:\nlast words\n");
  EXPECT_EQ(find(launch("kill"))->failure,
            "the interpreter ended by signal 9 while it was being prepared");
  EXPECT_TRUE(until([&] { return environments_.retiring().empty(); }));
}

TEST_F(EnvironmentsTest, TellsThatThereIsNoInterpreter) {
  Launch asked = launch("serve");
  asked.python = "/nonexistent/python";
  Waiter waiter;
  environments_.wait_for(asked, waiter);
  EXPECT_EQ(waiter.last.text, "cannot execute /nonexistent/python: No such file or directory");
}

TEST_F(EnvironmentsTest, ReplacesAStaleZygote) {
  const Launch asked = launch("stale");
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return find(asked) && find(asked)->restart_delay_ns != 0; }));
  EXPECT_FALSE(find(asked)->current);
  EXPECT_EQ(environments_.retiring().size(), 1u);
  const int64_t first_delay = find(asked)->restart_delay_ns;
  ASSERT_TRUE(until([&] { return find(asked)->restart_delay_ns > first_delay; }));
}

TEST_F(EnvironmentsTest, CountsACrashOfAYoungZygoteAsFailure) {
  const Launch asked = launch("crash");
  environments_.warm(asked);
  const std::string socket = dir_.environment_socket(environment_key(asked));
  std::ofstream(socket) << "";  // as if it had published
  ASSERT_TRUE(until([&] { return failed(asked); }));
  EXPECT_EQ(find(asked)->failure, "its zygote ended with status 3");
  EXPECT_FALSE(identify(socket.c_str()).exists());
}

TEST_F(EnvironmentsTest, CountsPrograms) {
  const Launch asked = launch("busy");
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return environments_.served() == 1; }));
  const ZygoteHost& zygote = *find(asked)->current;
  EXPECT_EQ(zygote.spares(), 3u);
  ASSERT_EQ(zygote.programs().size(), 1u);
  EXPECT_EQ(zygote.programs().at(4242).program, "prog.py");
  EXPECT_EQ(environments_.retire_matching("plain"), 1u);
  EXPECT_TRUE(until([&] { return environments_.retiring().empty(); }));
  EXPECT_EQ(environments_.served(), 1u);
  EXPECT_FALSE(find(asked));
}

TEST_F(EnvironmentsTest, RetiresByLabelAndKey) {
  Launch one = launch("serve");
  Launch other = launch("serve");
  other.preload = {"json", "csv"};
  environments_.warm(one);
  environments_.warm(other);
  ASSERT_TRUE(until([&] { return ready(one) && ready(other); }));
  EXPECT_EQ(environments_.retire_matching("nothing"), 0u);
  EXPECT_EQ(environments_.retire_matching(environment_key(one).substr(0, 3)), 0u);
  EXPECT_EQ(environments_.retire_matching("json,csv"), 1u);
  EXPECT_TRUE(ready(one));
  EXPECT_EQ(environments_.retire_matching(environment_key(one).substr(0, 6)), 1u);
  EXPECT_TRUE(environments_.all().empty());
}

TEST_F(EnvironmentsTest, TellsWaitersWhenItIsRetired) {
  const Launch asked = launch("hang");
  Waiter waiter, gone;
  environments_.wait_for(asked, waiter);
  environments_.wait_for(asked, gone);
  environments_.forget(gone);
  environments_.retire_all();
  EXPECT_EQ(waiter.answers, 1);
  EXPECT_FALSE(waiter.last.ok);
  EXPECT_EQ(gone.answers, 0);
}

TEST_F(EnvironmentsTest, RetiresWhatAnOlderStateOfAFileNeeded) {
  Launch old = launch("serve");
  old.init_file = dir_.path + "/init.py";
  old.init_identity.inode = 1;
  Launch unrelated = launch("serve", "other");
  environments_.warm(old);
  environments_.warm(unrelated);
  ASSERT_TRUE(until([&] { return ready(old) && ready(unrelated); }));
  Launch edited = old;
  edited.init_identity.inode = 2;
  environments_.warm(edited);
  ASSERT_TRUE(until([&] { return ready(edited); }));
  EXPECT_FALSE(ready(old));
  EXPECT_TRUE(ready(unrelated));
}

TEST_F(EnvironmentsTest, SurvivesGarbageFromAZygote) {
  const Launch asked = launch("garbage");
  environments_.warm(asked);
  EXPECT_TRUE(until([&] { return ready(asked); }));
  EXPECT_TRUE(until([&] { return !ready(asked); }));  // its connection is gone, so it is, too
}

class FewEnvironmentsTest : public EnvironmentsTest {
 protected:
  FewEnvironmentsTest() : EnvironmentsTest(2) {}
};

TEST_F(FewEnvironmentsTest, RetiresTheLeastRecentlyUsed) {
  const Launch a = launch("serve", "a"), b = launch("serve", "b"), c = launch("serve", "c");
  environments_.warm(a);
  environments_.warm(b);
  ASSERT_TRUE(until([&] { return ready(a) && ready(b); }));
  environments_.warm(a);  // used again
  environments_.warm(c);
  EXPECT_TRUE(until([&] { return ready(c); }));
  EXPECT_TRUE(ready(a));
  EXPECT_FALSE(ready(b));
}

TEST_F(FewEnvironmentsTest, RefusesWhenAllAreBeingPrepared) {
  Waiter first, second, waiter;
  environments_.wait_for(launch("hang", "a"), first);
  environments_.wait_for(launch("hang", "b"), second);
  environments_.wait_for(launch("serve", "c"), waiter);
  EXPECT_EQ(waiter.answers, 1);
  EXPECT_FALSE(waiter.last.ok);
  EXPECT_EQ(environments_.all().size(), 2u);
}

class ShortLivesTest : public EnvironmentsTest {
 protected:
  Launch configured(const std::string& text) {
    const std::string file = dir_.path + "/brood.toml";
    std::ofstream(file) << text;
    Launch out = launch("serve");
    out.config_file = file;
    out.config_identity = identify(file.c_str());
    return out;
  }
};

TEST_F(ShortLivesTest, RetiresWhatIsNotUsed) {
  const Launch asked = configured("[env.a]\nidle_exit = \"1s\"\n");
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  EXPECT_EQ(find(asked)->label(), "a");
  EXPECT_TRUE(until([&] { return !find(asked); }));
  EXPECT_TRUE(until([&] { return environments_.retiring().empty(); }));
}

TEST_F(ShortLivesTest, RenewsWhatIsOld) {
  const Launch asked = configured("[env.a]\nmax_age = \"1s\"\n");
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  const pid_t first = find(asked)->current->pid();
  EXPECT_TRUE(until([&] { return ready(asked) && find(asked)->current->pid() != first; }));
}

TEST_F(ShortLivesTest, TellsAMistakeInTheConfiguration) {
  const Launch asked = configured("[env.a]\nspares = 999\n");
  Waiter waiter;
  environments_.wait_for(asked, waiter);
  EXPECT_EQ(waiter.last.text,
            dir_.path + "/brood.toml:2:10: spares is 999, expected an integer from 1 to 256");
  EXPECT_EQ(failure_text(asked), waiter.last.text);
}

TEST_F(EnvironmentsTest, KillsAZygoteThatDoesNotLeave) {
  const Launch asked = launch("stubborn");
  environments_.warm(asked);
  ASSERT_TRUE(until([&] { return ready(asked); }));
  environments_.retire_matching("plain");
  EXPECT_TRUE(until([&] { return environments_.retiring().empty(); }));
}

}  // namespace
}  // namespace brood
