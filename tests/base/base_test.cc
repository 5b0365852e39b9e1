#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/prng.h"
#include "base/status.h"

namespace prefixd {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("odd: " + std::to_string(x));
  return x / 2;
}
Result<int> Quarter(int x) {
  PREFIXD_ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}
Status Both(int a, int b) {
  PREFIXD_RETURN_IF_ERROR(Half(a).status());
  return Half(b).status();
}

TEST(Status, CarriesCodeAndMessageThroughTheMacros) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().ToString(), "invalid_argument: odd: 3");
  EXPECT_TRUE(Both(2, 4).ok());
  EXPECT_EQ(Both(2, 5).WithContext("b").message(), "b: odd: 5");
  const std::pair<const char*, const char*> sentences[] = {
      {"is empty", "b is empty"},
      {"has no x", "b has no x"},
      {"must be y", "b must be y"},
      {"isle", "b: isle"},
      {"cannot be read", "b cannot be read"},
      {"c is empty", "b: c is empty"},
  };
  for (const auto& [message, whole] : sentences)
    EXPECT_EQ(InvalidArgument(message).WithContext("b").message(), whole);
  EXPECT_TRUE(Status::Ok().WithContext("b").ok());
}

TEST(StatusDeathTest, MisuseIsACheck) {
  EXPECT_DEATH((void)Result<int>{Status::Ok()}, "needs an error");
  EXPECT_DEATH(Half(3).value(), "odd: 3");
  EXPECT_DEATH(PREFIXD_CHECK(1 == 2) << "because " << 7, "1 == 2 because 7");
}

TEST(Bytes, SizesAsPeopleWriteThem) {
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("64KiB"), 65536u);
  EXPECT_EQ(*ParseSize("1.5 GiB"), 1610612736u);
  EXPECT_EQ(*ParseSize("2GB"), 2000000000u);
  for (const char* bad : {"", "x", "-1", "5 parsecs", "1e5", "99999999999TiB", "nan", "KiB"}) {
    EXPECT_EQ(ParseSize(bad).status().code(), Code::kInvalidArgument) << bad;
  }
  EXPECT_EQ(FormatSize(1536 * 1024), "1.5 MiB");
  EXPECT_EQ(FormatSize(7), "7 B");
}

TEST(Bytes, LittleEndian) {
  std::string out;
  PutLittle<uint32_t>(&out, 0x01020304);
  EXPECT_EQ(out, std::string("\x04\x03\x02\x01"));
  EXPECT_EQ(GetLittle<uint16_t>(out.data() + 1), 0x0203);
}

TEST(BoundedQueue, RefusesBeyondCapacityAndDrainsAfterClose) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(queue.TryPush(std::move(third)));
  ASSERT_NE(third, nullptr) << "a refused item stays with its owner";
  queue.Close();
  EXPECT_FALSE(queue.TryPush(std::move(third)));
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_EQ(**queue.Pop(), 2);
  EXPECT_FALSE(queue.Pop().has_value());
}

TEST(BoundedQueue, ManyProducersLoseNothing) {
  BoundedQueue<int> queue(4);
  constexpr int kEach = 500;
  std::vector<std::thread> producers;
  for (int p = 0; p < 3; ++p) {
    producers.emplace_back([&] {
      for (int i = 1; i <= kEach; ++i) {
        while (!queue.TryPush(int{i})) std::this_thread::yield();
      }
    });
  }
  int64_t sum = 0;
  for (int i = 0; i < 3 * kEach; ++i) sum += *queue.Pop();
  for (auto& producer : producers) producer.join();
  EXPECT_EQ(sum, 3 * kEach * (kEach + 1) / 2);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(Executor, ThreadsRunEveryAcceptedJob) {
  std::atomic<int> ran = 0;
  int accepted = 0;
  {
    ThreadExecutor executor(2, 8);
    for (int i = 0; i < 200; ++i) accepted += executor.TrySubmit([&] { ++ran; }) ? 1 : 0;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_EQ(ran.load(), accepted);
}

TEST(Executor, ManualRunsWhenTold) {
  ManualExecutor executor(1);
  int ran = 0;
  EXPECT_TRUE(executor.TrySubmit([&] { ++ran; }));
  EXPECT_FALSE(executor.TrySubmit([&] { ++ran; }));
  EXPECT_EQ(ran, 0);
  EXPECT_TRUE(executor.RunOne());
  EXPECT_FALSE(executor.RunOne());
  EXPECT_EQ(ran, 1);
}

TEST(Prng, IsAFunctionOfItsSeed) {
  Prng a(7), b(7), c(8);
  EXPECT_EQ(a.Next(), b.Next());
  EXPECT_NE(a.Next(), c.Next());
  EXPECT_EQ(RandomAt(1, 2), RandomAt(1, 2));
  EXPECT_NE(RandomAt(1, 2), RandomAt(2, 1));
  int counts[5] = {};
  for (int i = 0; i < 5000; ++i) ++counts[a.Below(5)];
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 100; ++i) {
    const int64_t x = a.Between(-3, 3);
    EXPECT_GE(x, -3);
    EXPECT_LE(x, 3);
  }
}

TEST(PrngDeathTest, RangesAreNotEmpty) {
  Prng random(1);
  EXPECT_DEATH(random.Below(0), "bound > 0");
  EXPECT_DEATH(random.Between(1, 0), "1 > 0");
}

TEST(Log, SinkSeesLevelsAndFields) {
  std::vector<std::string> lines;
  SetLogSink([&](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
    std::string line(message);
    for (const auto& field : fields) line += " " + std::string(field.key) + "=" + field.value;
    lines.push_back(line);
  });
  SetLogLevel(LogLevel::kInfo);
  Log(LogLevel::kDebug, "hidden");
  Log(LogLevel::kInfo, "shown", {{"n", 3}, {"s", "x"}});
  EXPECT_THAT(lines, testing::ElementsAre("shown n=3 s=x"));
}

TEST(Clock, ManualMovesOnlyWhenTold) {
  ManualClock clock;
  EXPECT_EQ(clock.NowNanos(), 0);
  clock.Advance(1'500'000'000);
  EXPECT_DOUBLE_EQ(clock.NowSeconds(), 1.5);
  EXPECT_EQ(clock.UnixSeconds(), 1);
}

TEST(ClockDeathTest, NeverGoesBack) {
  ManualClock clock;
  EXPECT_DEATH(clock.Advance(-1), "nanos >= 0");
}

}  // namespace
}  // namespace prefixd
