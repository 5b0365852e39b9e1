// The pauses of TierTransfers after errors of the disk, and what goes on meanwhile.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/read_pause.h"
#include "tests/cache/tier_transfers_fixture.h"

namespace prefixd {
namespace {

TEST_F(TierTransfersTest, AfterAFailedWriteSpillsPauseForASecond) {
  store_.put_fails = Code::kResourceExhausted;
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kFull), 1u);
  store_.put_fails = Code::kIo;
  clock_.Advance(500'000'000);
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(store_.puts, 1) << "the store is left alone";
  EXPECT_EQ(errors(Tier::kDisk, TierError::kBusy), 1u);
  EXPECT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk) << "the host is not";
  clock_.Advance(500'000'000);
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kWrite), 1u);
  clock_.Advance(1'000'000'000);
  store_.put_fails.reset();
  EXPECT_EQ(Spill(1), TransferResult::kOk);
}

TEST_F(TierTransfersTest, ARecordIsKnownWhileReadsPause) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.get_fails = Code::kIo;
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_FALSE(OnDisk());
  EXPECT_TRUE(transfers_->HasRecord(ChildKey(kRoot, kTokens)));
  EXPECT_FALSE(transfers_->HasRecord(kRoot));
  transfers_->Drop(ChildKey(kRoot, kTokens));
  EXPECT_FALSE(transfers_->HasRecord(ChildKey(kRoot, kTokens)));
  RunAll();
}

TEST_F(TierTransfersTest, WhatNobodyWorksOnCanBeWithdrawn) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  const int gets = store_.gets, puts = store_.puts;
  transfers_->Start(Of(Tier::kDisk, Tier::kDevice, kNoBlock, 2));
  transfers_->Start(Of(Tier::kDevice, Tier::kDisk, 3, kNoBlock));
  transfers_->Start(Of(Tier::kDevice, Tier::kHost, 3, 0));
  const int wakes = wakes_;
  transfers_->Withdraw();
  transfers_->Withdraw();  // changes nothing
  EXPECT_EQ(wakes_, wakes + 2);
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  ASSERT_EQ(finished.size(), 2u) << "a copy in memory hangs on no disk";
  for (const FinishedTransfer& each : finished) {
    EXPECT_EQ(each.result, TransferResult::kFailed);
    EXPECT_EQ(each.ended, 0) << "it says nothing of the rate of the tier";
  }
  EXPECT_EQ(errors(Tier::kDisk, TierError::kBusy), 2u);
  RunAll();
  finished.clear();
  transfers_->Poll(&finished);
  EXPECT_EQ(finished.size(), 1u) << "the copy; each transfer is reported once";
  EXPECT_EQ(store_.gets, gets);
  EXPECT_EQ(store_.puts, puts);
  EXPECT_TRUE(OnDisk());
}

TEST_F(TierTransfersTest, WhatAWorkerHasTakenUpIsNotWithdrawn) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.on_get = [&] { transfers_->Withdraw(); };
  EXPECT_EQ(Load(3).result, TransferResult::kOk);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kBusy), 0u);
}

// The whole of what requests pay for a disk that does not read: a read when it begins to fail, and one after
// each pause.
TEST_F(TierTransfersTest, AfterAFailedReadTheDiskIsNotReadForAWhile) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.get_fails = Code::kIo;
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_FALSE(OnDisk());
  EXPECT_FALSE(transfers_->OnDisk(kRoot)) << "nor has it any other key";
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_EQ(store_.gets, 1) << "the store is left alone";
  EXPECT_EQ(errors(Tier::kDisk, TierError::kRead), 1u);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kBusy), 1u);
  int gets = 1;
  for (const int64_t seconds : {1, 2, 4, 8, 16, 30, 30}) {
    clock_.Advance(seconds * 1'000'000'000 - 1);
    EXPECT_FALSE(OnDisk()) << seconds;
    clock_.Advance(1);
    EXPECT_TRUE(OnDisk()) << seconds;
    EXPECT_EQ(Load(3).result, TransferResult::kFailed);
    EXPECT_EQ(store_.gets, ++gets);
  }
  clock_.Advance(30'000'000'000);
  store_.get_fails.reset();
  EXPECT_EQ(Load(3).result, TransferResult::kOk);
  EXPECT_TRUE(OnDisk()) << "the pause is over";
  store_.get_fails = Code::kIo;
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  clock_.Advance(1'000'000'000);
  EXPECT_TRUE(OnDisk()) << "it was a second again";
}

// Loads that a request has started at once, of which the first fails.
TEST_F(TierTransfersTest, LoadsThatWaitWhenAReadFailsAreNotTried) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.get_fails = Code::kIo;
  for (int i = 0; i < 4; ++i) transfers_->Start(Of(Tier::kDisk, Tier::kDevice, kNoBlock, 3));
  RunAll();
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  EXPECT_EQ(finished.size(), 4u);
  for (const FinishedTransfer& each : finished) EXPECT_EQ(each.result, TransferResult::kFailed);
  EXPECT_EQ(store_.gets, 1);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kRead), 1u);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kBusy), 3u);
}

TEST_F(TierTransfersTest, ARecordThatIsGoneOrDamagedStopsNoOtherRead) {
  for (const Code code : {Code::kNotFound, Code::kCorrupt}) {
    store_.get_fails = code;
    EXPECT_NE(Load(3).result, TransferResult::kOk);
    store_.get_fails.reset();
    ASSERT_EQ(Spill(1), TransferResult::kOk);
    EXPECT_TRUE(OnDisk());
    EXPECT_EQ(Load(3).result, TransferResult::kOk);
  }
}

// In a pause the cache takes the disk for empty, and wants to write again what is there.
TEST_F(TierTransfersTest, WhatTheDiskHasIsNotWrittenAgainWhileItDoesNotRead) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.get_fails = Code::kIo;
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(store_.puts, 1);
  Transfer other = Of(Tier::kDevice, Tier::kDisk, 2, kNoBlock);
  other.key = kFingerprint;
  EXPECT_EQ(Move(other).result, TransferResult::kOk) << "another block is written";
  transfers_->Drop(ChildKey(kRoot, kTokens));
  RunAll();
  EXPECT_EQ(Spill(1), TransferResult::kOk) << "and one whose record was dropped";
  EXPECT_EQ(store_.puts, 3);
}

TEST(ReadPause, ReadsThatFailTogetherCountOnce) {
  ManualClock clock;
  ReadPause pause;
  clock.Advance(5'000'000'000);
  for (int i = 0; i < 4; ++i) pause.Failed(0, clock.NowNanos());  // they all began at 0
  EXPECT_TRUE(pause.IsOn(clock));
  clock.Advance(ReadPause::kShortestNanos);
  EXPECT_FALSE(pause.IsOn(clock)) << "it did not double";
  pause.Failed(0, clock.NowNanos());  // the last one of them
  EXPECT_TRUE(pause.IsOn(clock));
  clock.Advance(ReadPause::kShortestNanos);
  EXPECT_FALSE(pause.IsOn(clock));
  pause.Failed(clock.NowNanos(), clock.NowNanos());
  clock.Advance(2 * ReadPause::kShortestNanos - 1);
  EXPECT_TRUE(pause.IsOn(clock));
}

}  // namespace
}  // namespace prefixd
