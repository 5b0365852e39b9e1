#include "daemon/ready_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using testing::Pair;
using testing::StartsWith;

TEST(ReadyChecks, TheDeviceFailsWithTheThirdFailedStepInARow) {
  EngineStats stats;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kLoading, stats)[1], Pair("device", "loading"));
  stats.failed_steps = 7;
  stats.failed_steps_in_row = 2;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats)[1], Pair("device", "ok"));
  stats.failed_steps_in_row = 3;
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats)[1],
              Pair("device", StartsWith("failed: the last 3")));
  EXPECT_THAT(ReadyChecksOf(ServerPhase::kServing, stats)[0], Pair("model", "ok"));
}

}  // namespace
}  // namespace prefixd
