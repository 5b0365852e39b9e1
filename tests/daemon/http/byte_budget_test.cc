// The account of the bytes in flight, and the deadline of readers.
#include "daemon/http/byte_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "daemon/http/reader_deadline.h"

namespace prefixd {
namespace {

using Use = ByteBudget::Use;
using Reservation = ByteBudget::Reservation;

constexpr size_t kMiB = 1 << 20;

TEST(ByteBudgetTest, LargeReservationsLeaveAnEighthForSmallOnes) {
  ByteBudget budget(80 * kMiB, kMiB);
  Reservation large(budget, Use::kAnswer);
  EXPECT_FALSE(large.TryGrow(SIZE_MAX));
  EXPECT_FALSE(large.TryGrow(70 * kMiB + 1));
  EXPECT_TRUE(large.TryGrow(70 * kMiB));
  EXPECT_FALSE(large.TryGrow(1));
  Reservation answer(budget, Use::kAnswer), work(budget, Use::kWork), body(budget, Use::kBody);
  EXPECT_TRUE(answer.TryGrow(ByteBudget::kSmallAnswerBytes));
  EXPECT_FALSE(answer.TryGrow(1)) << "the whole reservation counts";
  EXPECT_TRUE(work.TryGrow(ByteBudget::kSmallWorkBytes));
  EXPECT_FALSE(work.TryGrow(1));
  EXPECT_FALSE(body.TryGrow(1));
  EXPECT_EQ(budget.stats().refusals, 6u);
  EXPECT_EQ(budget.held(), 70 * kMiB + ByteBudget::kSmallAnswerBytes + ByteBudget::kSmallWorkBytes);
  for (int i = 0; i < 1000; ++i) {
    Reservation more(budget, Use::kWork);
    if (!more.TryGrow(kMiB)) break;
    work.Absorb(std::move(more));
  }
  EXPECT_LE(budget.held(), budget.limit());
  EXPECT_GT(budget.held(), budget.limit() - kMiB);
}

TEST(ByteBudgetTest, NeedsRoomFollowsTheLatestRefusal) {
  ByteBudget budget(80 * kMiB, kMiB);
  const auto needs_room = [&](ByteBudget::Clock::duration later = {}) {
    return budget.NeedsRoom(ByteBudget::Clock::now() + later);
  };
  Reservation held(budget, Use::kAnswer), more(budget, Use::kWork);
  EXPECT_FALSE(more.TryGrow(71 * kMiB));
  EXPECT_FALSE(needs_room()) << "it would not fit an empty budget";
  ASSERT_TRUE(held.TryGrow(60 * kMiB));
  EXPECT_FALSE(needs_room());
  EXPECT_FALSE(more.TryGrow(20 * kMiB));
  EXPECT_TRUE(needs_room());
  EXPECT_FALSE(needs_room(ByteBudget::kWantedTime + std::chrono::seconds(1)));
  held.ShrinkTo(51 * kMiB);
  EXPECT_TRUE(needs_room());
  held.ShrinkTo(50 * kMiB);
  EXPECT_FALSE(needs_room());
}

TEST(ByteBudgetTest, BodiesLeaveRoomToWorkOnThem) {
  ByteBudget budget(80 * kMiB, kMiB);
  Reservation bodies(budget, Use::kBody);
  EXPECT_FALSE(bodies.TryGrow(70 * kMiB / 4 + 1));
  EXPECT_TRUE(bodies.TryGrow(70 * kMiB / 4));
  Reservation more(budget, Use::kBody), work(budget, Use::kWork);
  EXPECT_FALSE(more.TryGrow(1));
  EXPECT_TRUE(work.TryGrow(50 * kMiB));
  bodies.ShrinkTo(0);
  EXPECT_TRUE(more.TryGrow(kMiB));
  EXPECT_EQ(budget.held(), 51 * kMiB);
}

TEST(ByteBudgetTest, TheLargestBodyAlwaysFits) {
  ByteBudget budget(1, kMiB);
  EXPECT_EQ(budget.limit(), 8 * kMiB);
  Reservation body(budget, Use::kBody), work(budget, Use::kWork);
  EXPECT_TRUE(body.TryGrow(kMiB));
  EXPECT_TRUE(work.TryGrow(6 * kMiB));
}

TEST(ByteBudgetTest, ReservationsReturnTheirBytesOnce) {
  ByteBudget budget(80 * kMiB, kMiB);
  {
    Reservation six(budget, Use::kAnswer), four(budget, Use::kAnswer);
    ASSERT_TRUE(six.TryGrow(6) && four.TryGrow(4));
    Reservation moved = std::move(six);
    EXPECT_EQ(six.bytes(), 0u);
    EXPECT_EQ(budget.held(), 10u);
    moved = std::move(four);
    EXPECT_EQ(budget.held(), 4u) << "the bytes of the overwritten reservation are free";
    six.Absorb(std::move(moved));
    EXPECT_EQ(budget.held(), 4u);
    six.Shrink(3);
    EXPECT_EQ(budget.held(), 1u);
    six.Shrink(100);
    EXPECT_EQ(budget.held(), 0u);
    six.Add(200 * kMiB);
    EXPECT_FALSE(moved.TryGrow(1)) << "Add exceeded the limit";
  }
  EXPECT_EQ(budget.held(), 0u);
  Reservation nothing;
  EXPECT_DEATH((void)nothing.TryGrow(1), "no budget");
}

TEST(ByteBudgetTest, ManySmallReservationsThatBecameOneAreLarge) {
  ByteBudget budget(80 * kMiB, kMiB);
  Reservation rest(budget, Use::kWork), sum(budget, Use::kAnswer);
  ASSERT_TRUE(rest.TryGrow(70 * kMiB));
  for (int i = 0; i < 3; ++i) {
    Reservation part(budget, Use::kAnswer);
    ASSERT_TRUE(part.TryGrow(ByteBudget::kSmallAnswerBytes / 2));
    sum.Absorb(std::move(part));
    EXPECT_EQ(sum.WithinShare(), i < 2) << i;
  }
  rest.ShrinkTo(0);
  EXPECT_TRUE(sum.WithinShare());
}

TEST(ByteBudgetTest, ThreadsNeverExceedTheLimitTogether) {
  ByteBudget budget(8000, 1);
  std::atomic<int> over{0}, granted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        Reservation one(budget, t == 0 ? Use::kBody : Use::kWork);
        if (!one.TryGrow(static_cast<size_t>(1000 + i % 3000))) continue;
        ++granted;
        if (budget.held() > budget.limit()) ++over;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(over, 0);
  EXPECT_GT(granted, 0);
  EXPECT_EQ(budget.held(), 0u);
}

TEST(ReaderDeadlineTest, AReaderThatTakesNothingHasTheStallTime) {
  const ReaderDeadline deadline(60, 1000);
  EXPECT_EQ(deadline.SecondsFor(1), 60);
  EXPECT_EQ(deadline.SecondsFor(1'000'000), 60);
}

TEST(ReaderDeadlineTest, AReaderThatTakesALittleBeforeEveryDeadlineIsTooSlow) {
  ReaderDeadline deadline(60, 1000);
  int parts = 0;
  for (; deadline.SecondsFor(10'000) >= 59; ++parts) deadline.Record(10'000, 59);
  EXPECT_EQ(parts, 1) << "10 s are earned by each part, and 59 are spent";
  EXPECT_EQ(deadline.SecondsFor(10'000), 60 + 20 - 59);
  deadline.Record(0, 100);
  EXPECT_LT(deadline.SecondsFor(1), 0);
  EXPECT_EQ(deadline.taken(), 10'000u);
}

TEST(ReaderDeadlineTest, AReaderAtTheRateIsNeverTooSlow) {
  ReaderDeadline deadline(60, 1000);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(deadline.SecondsFor(10'000), 60) << i;
    deadline.Record(10'000, 10);
  }
  for (int i = 0; i < 100; ++i) deadline.Record(100, 0);  // a stream of short parts that never wait
  EXPECT_EQ(deadline.SecondsFor(100), 60);
}

}  // namespace
}  // namespace prefixd
