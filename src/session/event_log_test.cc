#include "session/event_log.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/clock.h"

namespace brood {
namespace {

Event output(const std::string& text, uint64_t cell = 1) {
  Event event;
  event.type = "stdout";
  event.cell = cell;
  event.head = "{}";
  event.body = text;
  return event;
}

const size_t kOne = [] {
  EventLog log{LogLimits{}};
  return log.append(output("0123456789"))->size();
}();

// Room for `keep` events of ten bytes; a cursor may be `lag` of them behind.
LogLimits limits_of(size_t keep, size_t lag) { return {keep * kOne, lag * kOne, kSecond}; }

void fill(EventLog& log, int count, uint64_t cell = 1) {
  for (int i = 0; i < count; i++)
    log.append(output("0123456789", cell));
}

std::vector<uint64_t> read_all(EventLog::Cursor& cursor) {
  std::vector<uint64_t> out;
  while (const EventPointer event = cursor.next())
    out.push_back(event->seq);
  return out;
}

TEST(EventLog, NumbersEventsAndShowsThemToEachInOneOrder) {
  EventLog log{LogLimits{}};
  const auto early = log.join(0);
  EXPECT_EQ(early->next(), nullptr);
  fill(log, 3);
  const auto late = log.join(0);
  EXPECT_EQ(read_all(*early), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(read_all(*late), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(early->next(), nullptr);
  fill(log, 1);
  EXPECT_EQ(read_all(*early), std::vector<uint64_t>{4});
}

TEST(EventLog, ReplaysWhatIsNewerThanTheLastOneSeen) {
  EventLog log{LogLimits{}};
  fill(log, 5);
  EXPECT_EQ(read_all(*log.join(3)), (std::vector<uint64_t>{4, 5}));
  EXPECT_TRUE(read_all(*log.join(5)).empty());
  const auto ahead = log.join(1000);  // of another life of the session: from now on
  EXPECT_EQ(ahead->next(), nullptr);
  fill(log, 1);
  EXPECT_EQ(read_all(*ahead), std::vector<uint64_t>{6});
  EXPECT_EQ(log.join(UINT64_MAX)->seq(), 1u);  // the number after it is 0: all there is
}

TEST(EventLog, ForgetsTheOldestThatNobodyNeeds) {
  EventLog log(limits_of(3, 100));
  fill(log, 10);
  EXPECT_EQ(log.first_seq(), 8u);
  EXPECT_EQ(log.forgotten_events(), 7u);
  EXPECT_EQ(log.bytes(), 3 * kOne);
  const auto cursor = log.join(2);
  const EventPointer lost = cursor->next();
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->type, "dropped");
  EXPECT_EQ(lost->seq, 7u);
  EXPECT_EQ(lost->head, R"({"events":5,"bytes":0,"messages":0})");
  EXPECT_EQ(read_all(*cursor), (std::vector<uint64_t>{8, 9, 10}));
}

TEST(EventLog, KeepsOneEventHoweverLargeItIs) {
  EventLog log(limits_of(1, 100));
  log.append(output(std::string(10 * kOne, 'x')));
  EXPECT_EQ(log.first_seq(), 1u);
  log.append(output("x"));
  EXPECT_EQ(log.first_seq(), 2u);
}

TEST(EventLog, KeepsWhatACursorHasNotRead) {
  EventLog log(limits_of(3, 100));
  auto cursor = log.join(0);
  fill(log, 10);
  EXPECT_EQ(log.first_seq(), 1u);
  for (int i = 0; i < 5; i++)
    cursor->next();
  EXPECT_EQ(log.first_seq(), 6u);
  cursor.reset();
  fill(log, 1);
  EXPECT_EQ(log.first_seq(), 9u);
}

TEST(EventLog, IsFullWhenTheSlowestIsFarBehind) {
  EventLog log(limits_of(1, 4));
  fill(log, 10);
  EXPECT_FALSE(log.full());  // nobody reads
  const auto slow = log.join(10), fast = log.join(10);
  fill(log, 3);
  EXPECT_FALSE(log.full());
  fill(log, 1);
  read_all(*fast);
  EXPECT_TRUE(log.full());
  slow->next();
  EXPECT_FALSE(log.full());
}

TEST(EventLog, MovesOnWhoHoldsUpOthersForTooLong) {
  EventLog log(limits_of(1, 4));
  const auto slow = log.join(0), fast = log.join(0);
  fill(log, 5);
  EXPECT_FALSE(log.move_on(100 * kSecond));  // nobody waits
  EXPECT_FALSE(log.move_on(200 * kSecond));
  read_all(*fast);
  EXPECT_FALSE(log.move_on(300 * kSecond));
  EXPECT_FALSE(log.move_on(301 * kSecond - 1));
  EXPECT_TRUE(log.move_on(301 * kSecond));
  EXPECT_FALSE(log.full());
  EXPECT_EQ(log.first_seq(), 5u);
  const EventPointer lost = slow->next();
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->type, "dropped");
  EXPECT_EQ(lost->seq, 5u);
  EXPECT_EQ(lost->head, R"({"events":5,"bytes":)" + std::to_string(5 * kOne) + R"(,"messages":0})");
  EXPECT_EQ(slow->next(), nullptr);
}

TEST(EventLog, PatienceBeginsAnewWhenTheSlowOneReads) {
  EventLog log(limits_of(1, 4));
  const auto slow = log.join(0), fast = log.join(0);
  fill(log, 4);
  read_all(*fast);
  EXPECT_FALSE(log.move_on(10 * kSecond));
  slow->next();
  EXPECT_FALSE(log.move_on(12 * kSecond));  // not full
  fill(log, 1);
  read_all(*fast);
  EXPECT_FALSE(log.move_on(13 * kSecond));
  EXPECT_TRUE(log.move_on(14 * kSecond));
}

TEST(EventLog, WhoWasMovedOnIsNotWaitedForUntilItReads) {
  EventLog log(limits_of(2, 4));
  const auto slow = log.join(0), fast = log.join(0);
  fill(log, 8);
  read_all(*fast);
  EXPECT_FALSE(log.move_on(10 * kSecond));
  ASSERT_TRUE(log.move_on(11 * kSecond));
  const uint64_t moved = log.next_seq();
  for (int i = 0; i < 10; i++) {
    fill(log, 8);
    read_all(*fast);
    EXPECT_FALSE(log.full());
  }
  const EventPointer lost = slow->next();
  ASSERT_EQ(lost->type, "dropped");
  EXPECT_GE(lost->seq, moved);
  EXPECT_EQ(lost->head, R"({"events":)" + std::to_string(lost->seq) + R"(,"bytes":)" +
                            std::to_string(lost->seq * kOne) + R"(,"messages":0})");
  EXPECT_EQ(read_all(*slow).front(), lost->seq + 1);
  fill(log, 8);
  EXPECT_TRUE(log.full());  // it reads again: it is waited for
}

TEST(EventLog, LostMessagesAreCounted) {
  EventLog log(limits_of(2, 4));
  Event message = output("0123456789");
  message.type = "message";
  log.append(message);
  fill(log, 2);
  log.append(message);
  fill(log, 4);
  const auto cursor = log.join(0);
  EXPECT_NE(cursor->next()->head.find(R"("messages":2)"), std::string::npos);
  fill(log, 1);
  log.append(message);
  log.append(message);
  fill(log, 1);
  const auto late = log.join(log.next_seq() - 3);  // has the first of the two
  EXPECT_NE(log.join(0)->next()->head.find(R"("messages":)"), std::string::npos);
  EXPECT_EQ(late->next()->type, "message");
}

TEST(EventLog, ABranchInheritsTheCellsBefore) {
  EventLog origin{LogLimits{}}, branch{LogLimits{}};
  fill(origin, 2, 1);
  fill(origin, 2, 2);
  Event ended;
  ended.type = "ended";
  origin.append(ended);
  branch.inherit(origin, 2);
  EXPECT_EQ(branch.next_seq(), 3u);
  EXPECT_EQ(read_all(*branch.join(0)), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(origin.next_seq(), 6u);
}

TEST(EventLog, ACursorMayOutliveIt) {
  std::unique_ptr<EventLog::Cursor> cursor;
  {
    EventLog log{LogLimits{}};
    cursor = log.join(0);
    fill(log, 1);
  }
  EXPECT_EQ(cursor->next(), nullptr);
}

}  // namespace
}  // namespace brood
