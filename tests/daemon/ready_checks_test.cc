#include "daemon/ready_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using testing::Pair;
using testing::StartsWith;

TEST(ReadyChecks, TheDeviceFailsWithTheThirdFailedStepInARow) {
  EngineStats stats;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kLoading, stats, {})[1], Pair("device", "loading"));
  stats.failed_steps = 7;
  stats.failed_steps_in_row = 2;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats, {})[1], Pair("device", "ok"));
  stats.failed_steps_in_row = 3;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats, {})[1],
              Pair("device", StartsWith("failed: the last 3")));
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats, {})[0], Pair("model", "ok"));
}

TEST(ReadyChecks, ALostDeviceHasFailedThoughTheCpuComputes) {
  const std::string why = "there is no NVIDIA driver";
  EngineStats stats;
  for (const ServerPhase phase : {ServerPhase::kLoading, ServerPhase::kServing}) {
    EXPECT_THAT(ReadyChecksOf(phase, stats, {}, why)[1],
                Pair("device", "failed: the CPU computes in the place of the lost GPU: " + why));
  }
  stats.failed_steps_in_row = 3;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats, {}, why)[1],
              Pair("device", StartsWith("failed: the last 3")));
}

TEST(ReadyChecks, ATierThatFailsSaysWhy) {
  EngineStats stats;
  DiskTierStats disk;
  const auto check = [&](size_t part) { return ReadyChecksOf(ServerPhase::kServing, stats, disk)[part]; };
  EXPECT_THAT(check(2), Pair("host", "off"));
  EXPECT_THAT(check(3), Pair("disk", "off"));
  stats.blocks[static_cast<size_t>(Tier::kHost)].free = 1;
  disk.on = true;
  EXPECT_THAT(check(2), Pair("host", "ok"));
  EXPECT_THAT(check(3), Pair("disk", "ok"));
  disk.failure = "no space left";
  EXPECT_THAT(check(3), Pair("disk", "failed: no space left"));
  EXPECT_EQ(ReadyChecksOf(ServerPhase::kServing, stats, disk).size(), 4u) << "there is no remote tier";
  RemoteTierStats remote{.on = true};
  const auto remote_check = [&] { return ReadyChecksOf(ServerPhase::kServing, stats, disk, {}, remote)[4]; };
  EXPECT_THAT(remote_check(), Pair("remote", "ok"));
  remote.failure = "it has not answered in time";
  EXPECT_THAT(remote_check(), Pair("remote", "failed: it has not answered in time"));
}

TEST(ReadyChecks, AWarmStartSaysHowFarItIsAndNeverFails) {
  WarmStartStats warm;
  const auto checks = [&] { return ReadyChecksOf(ServerPhase::kLoading, {}, {}, {}, {}, warm); };
  EXPECT_EQ(checks().size(), 4u) << "there is none";
  warm.phase = WarmStartStats::Phase::kWaiting;
  EXPECT_THAT(checks()[4], Pair("warm_start", "waiting for the model"));
  warm.phase = WarmStartStats::Phase::kRuns;
  warm.tried = 9;
  warm.blocks[static_cast<size_t>(WarmBlock::kLoaded)] = 5;
  EXPECT_THAT(checks()[4], Pair("warm_start", "loading: 5 of 9 blocks"));
  warm.phase = WarmStartStats::Phase::kDone;
  EXPECT_THAT(checks()[4], Pair("warm_start", "ok: 5 of 9 blocks"));
  warm.trouble = "the store has no hot list";
  EXPECT_THAT(checks()[4], Pair("warm_start", "ok: 5 of 9 blocks; the store has no hot list"));
}

}  // namespace
}  // namespace prefixd
