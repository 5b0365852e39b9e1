#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/cache/tier_transfers_fixture.h"

namespace prefixd {
namespace {

TEST_F(TierTransfersTest, ABlockGoesThroughAllTiers) {
  EXPECT_FALSE(OnDisk());
  EXPECT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk);
  EXPECT_EQ(host_[2], device_[1]);
  EXPECT_EQ(Move(Of(Tier::kHost, Tier::kDisk, 2, kNoBlock)).result, TransferResult::kOk);
  EXPECT_TRUE(OnDisk());
  const FinishedTransfer loaded = Load(3);
  EXPECT_EQ(loaded.result, TransferResult::kOk);
  EXPECT_EQ(loaded.tokens, kTokens);
  EXPECT_EQ(device_[3], device_[1]);
  device_[3].fill({});
  EXPECT_EQ(Move(Of(Tier::kHost, Tier::kDevice, 2, 3)).result, TransferResult::kOk);
  EXPECT_EQ(device_[3], device_[1]);
  EXPECT_EQ(wakes_, 4);
  const TransferStats& stats = transfers_->stats();
  EXPECT_EQ(stats.written_bytes[static_cast<size_t>(Tier::kHost)], kBlockBytes);
  EXPECT_EQ(stats.read_bytes[static_cast<size_t>(Tier::kHost)] > 0, true);
  EXPECT_GT(stats.read_bytes[static_cast<size_t>(Tier::kDisk)], kBlockBytes);
  uint64_t loads = 0;
  for (const uint64_t count : stats.load_seconds.counts) loads += count;
  EXPECT_EQ(loads, 2u);
}

TEST_F(TierTransfersTest, CountsHowOldARecordIsWhenItIsRead) {
  EXPECT_EQ(Move(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock)).result, TransferResult::kOk);
  clock_.Advance(90'000'000'000);
  EXPECT_EQ(Load(3).result, TransferResult::kOk);
  const LatencyHistogram& ages = transfers_->stats().record_ages;
  EXPECT_EQ(ages.sum, 90);
  uint64_t count = 0;
  for (const uint64_t in_bucket : ages.counts) count += in_bucket;
  EXPECT_EQ(count, 1u);
}

// What the cache estimates the rates of the tiers from.
TEST_F(TierTransfersTest, ATransferSaysHowManyBytesItMovedAndHowLongItTook) {
  store_.on_put = [this] { clock_.Advance(250'000'000); };
  store_.on_get = [this] { clock_.Advance(125'000'000); };
  const auto run = [this](const Transfer& transfer) {
    transfers_->Start(transfer);
    clock_.Advance(2'000'000'000);
    RunAll();
    clock_.Advance(4'000'000'000);  // the engine is late
    std::vector<FinishedTransfer> finished;
    transfers_->Poll(&finished);
    PREFIXD_CHECK(finished.size() == 1) << finished.size();
    return finished[0];
  };
  const FinishedTransfer copy = run(Of(Tier::kDevice, Tier::kHost, 1, 2));
  EXPECT_EQ(copy.bytes, kBlockBytes);
  EXPECT_DOUBLE_EQ(copy.queued_seconds, 2);
  EXPECT_DOUBLE_EQ(copy.seconds, 0);
  const FinishedTransfer spill = run(Of(Tier::kHost, Tier::kDisk, 2, kNoBlock));
  EXPECT_EQ(spill.bytes, store_.records.Get(ChildKey(kRoot, kTokens))->size());
  EXPECT_DOUBLE_EQ(spill.queued_seconds, 2);
  EXPECT_DOUBLE_EQ(spill.seconds, 0.25);
  const FinishedTransfer load = run(Of(Tier::kDisk, Tier::kDevice, kNoBlock, 3));
  EXPECT_EQ(load.bytes, spill.bytes);
  EXPECT_DOUBLE_EQ(load.queued_seconds, 2);
  EXPECT_DOUBLE_EQ(load.seconds, 0.125);
  store_.put_fails = Code::kIo;
  const FinishedTransfer failed = run(Of(Tier::kHost, Tier::kDisk, 2, kNoBlock));
  EXPECT_EQ(failed.bytes, 0u) << "nothing was stored";
  EXPECT_DOUBLE_EQ(failed.seconds, 0.25);
  for (int i = 0; i < 5; ++i) transfers_->Start(Of(Tier::kDevice, Tier::kHost, 0, 0));  // one too many
  clock_.Advance(1'000'000'000);
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].bytes, 0u);
  EXPECT_DOUBLE_EQ(finished[0].queued_seconds, 0);
  EXPECT_DOUBLE_EQ(finished[0].seconds, 0);
  RunAll();
}

TEST_F(TierTransfersTest, ASpillThatIsNotLateGivesWay) {
  EXPECT_EQ(Spill(0), TransferResult::kOk);
  EXPECT_EQ(ways_given_, 1);
  EXPECT_EQ(Load(1).result, TransferResult::kOk);
  EXPECT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk);
  EXPECT_EQ(ways_given_, 1) << "somebody may wait for the next load";
  transfers_->Start(Of(Tier::kDevice, Tier::kDisk, 0, kNoBlock));
  clock_.Advance(20'000'000);
  RunAll();
  EXPECT_EQ(ways_given_, 1) << "it has waited as long as a spill should";
}

TEST_F(TierTransfersTest, KvThatIsNotFiniteIsNotSpilled) {
  device_[1][0] = std::byte{0xFF};
  EXPECT_EQ(Spill(1), TransferResult::kCorrupt);
  EXPECT_EQ(failures(VerifyFailure::kNonfinite), 1u);
  EXPECT_FALSE(OnDisk());
  EXPECT_EQ(store_.puts, 0);
}

TEST_F(TierTransfersTest, ARecordOfAnotherBlockOrModelIsDropped) {
  const std::pair<std::function<void(RecordIdentity*)>, VerifyFailure> cases[] = {
      {[](RecordIdentity* of) { of->fingerprint = kRoot; }, VerifyFailure::kFingerprint},
      {[](RecordIdentity* of) { of->root = kFingerprint; }, VerifyFailure::kTokens},
      {[](RecordIdentity* of) { of->parent = kFingerprint; }, VerifyFailure::kTokens},
      {[](RecordIdentity* of) { of->prefix_check = 78; }, VerifyFailure::kTokens}};
  for (const auto& [change, kind] : cases) {
    Replace(change);
    EXPECT_TRUE(OnDisk());
    const uint64_t before = failures(kind);
    EXPECT_EQ(Load(3).result, TransferResult::kCorrupt);
    EXPECT_EQ(failures(kind), before + 1);
    EXPECT_FALSE(OnDisk());
    EXPECT_FALSE(store_.records.Contains(ChildKey(kRoot, kTokens)));
  }
}

TEST_F(TierTransfersTest, ADamagedRecordIsCountedByItsDefect) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  const std::string whole = *store_.records.Get(ChildKey(kRoot, kTokens));
  PutRecord(whole.substr(0, whole.size() - 1));
  EXPECT_EQ(Load(3).result, TransferResult::kCorrupt);
  EXPECT_EQ(failures(VerifyFailure::kShort), 1u);
  std::string flipped = whole;
  flipped[whole.size() - 5] ^= 1;
  PutRecord(flipped);
  EXPECT_EQ(Load(3).result, TransferResult::kCorrupt);
  EXPECT_EQ(failures(VerifyFailure::kChecksum), 1u);
}

// Also before the store drops it.
TEST_F(TierTransfersTest, ARecordOlderThanAllowedIsNotUsed) {
  Make(10);
  clock_.Advance(5'000'000'000);
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  clock_.Advance(9'000'000'000);
  EXPECT_EQ(Load(3).result, TransferResult::kOk) << "9 seconds old";
  device_[3].fill(std::byte{9});
  const auto before = device_[3];
  clock_.Advance(1'000'000'000);
  EXPECT_TRUE(OnDisk());
  EXPECT_EQ(Load(3).result, TransferResult::kMissing) << "10 seconds old";
  EXPECT_EQ(device_[3], before);
  EXPECT_FALSE(OnDisk());
  EXPECT_FALSE(store_.records.Contains(ChildKey(kRoot, kTokens)));
  std::vector<RecordDrop> drops;
  EXPECT_TRUE(transfers_->TakeDrops(&drops));
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].key, ChildKey(kRoot, kTokens));
  EXPECT_EQ(drops[0].reason, DropReason::kExpired);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kMissing), 0u) << "nothing went wrong";
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  EXPECT_EQ(Load(3).result, TransferResult::kOk) << "written again";
  Make(0);
  clock_.Advance(int64_t{1'000'000'000} * 1'000'000'000);
  EXPECT_EQ(Load(3).result, TransferResult::kOk) << "without a limit";
}

// The time of creation comes from the disk.
TEST_F(TierTransfersTest, AnyTimeOfCreationIsRead) {
  Make(10);
  clock_.Advance(5'000'000'000);
  for (const uint64_t created : {uint64_t{0}, uint64_t{6}, UINT64_MAX}) {
    Replace([](RecordIdentity*) {}, created);
    EXPECT_EQ(Load(3).result, TransferResult::kOk) << created << ": the clock itself is not past the limit";
  }
}

TEST_F(TierTransfersTest, ErrorsOfTheStoreAreCountedByKind) {
  EXPECT_EQ(Load(3).result, TransferResult::kMissing);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kMissing), 1u);
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  store_.get_fails = Code::kIo;
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kDisk, TierError::kRead), 1u);
  clock_.Advance(1'000'000'000);
  EXPECT_TRUE(OnDisk()) << "a later read may succeed";
}

// The error is the device's: neither the host nor the disk pauses, and their copies stay.
TEST_F(TierTransfersTest, WhatTheDeviceFailsCountsAtTheDevice) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  ASSERT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk);
  ASSERT_EQ(Load(3).result, TransferResult::kOk);
  EXPECT_EQ(device_[3], device_[1]);
  device_fails_ = true;
  const int puts = store_.puts;
  EXPECT_EQ(Move(Of(Tier::kHost, Tier::kDevice, 2, 3)).result, TransferResult::kFailed);
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kDevice, TierError::kWrite), 2u);
  EXPECT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 0)).result, TransferResult::kFailed);
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kDevice, TierError::kRead), 2u);
  EXPECT_EQ(store_.puts, puts);
  EXPECT_TRUE(OnDisk());
  EXPECT_EQ(Move(Of(Tier::kHost, Tier::kDisk, 2, kNoBlock)).result, TransferResult::kOk) << "without a pause";
  EXPECT_EQ(store_.puts, puts + 1);
  for (const Tier tier : {Tier::kHost, Tier::kDisk}) {
    for (const uint64_t count : transfers_->stats().errors[static_cast<size_t>(tier)]) EXPECT_EQ(count, 0u);
  }
  for (const uint64_t count : transfers_->stats().verify_failures) EXPECT_EQ(count, 0u);
}

TEST_F(TierTransfersTest, MemoryBetweenDeviceAndDiskIsLentWhileItIsUsed) {
  int accesses = 0;
  store_.on_put = store_.on_get = [&] {
    ++accesses;
    EXPECT_EQ(lent_, 0) << "while the disk works";
  };
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  ASSERT_EQ(Load(3).result, TransferResult::kOk);
  EXPECT_EQ(accesses, 2);
  EXPECT_EQ(lends_, 2);
  ASSERT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk);
  ASSERT_EQ(Move(Of(Tier::kHost, Tier::kDisk, 2, kNoBlock)).result, TransferResult::kOk);
  EXPECT_EQ(lends_, 2) << "the host has memory of its own";
  device_fails_ = true;
  EXPECT_EQ(Spill(1), TransferResult::kFailed);
  EXPECT_EQ(Load(3).result, TransferResult::kFailed);
  EXPECT_EQ(lends_, 4);
  EXPECT_EQ(lent_, 0);
}

TEST_F(TierTransfersTest, CopiesWaitNeitherForReadsNorForWritesOfTheDisk) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  ASSERT_EQ(Move(Of(Tier::kDevice, Tier::kHost, 1, 2)).result, TransferResult::kOk);
  for (int i = 0; i < 4; ++i) {  // all that the executors take; none of them ends
    transfers_->Start(Of(Tier::kDisk, Tier::kDevice, kNoBlock, 0));
    transfers_->Start(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock));
  }
  const Transfer load = Of(Tier::kHost, Tier::kDevice, 2, 3);
  const Transfer spill = Of(Tier::kDevice, Tier::kHost, 1, 3);
  transfers_->Start(load);
  transfers_->Start(spill);
  while (copies_.RunOne()) {
  }
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  ASSERT_EQ(finished.size(), 2u);
  EXPECT_EQ(finished[0].id, load.id);
  EXPECT_EQ(finished[1].id, spill.id);
  for (const FinishedTransfer& each : finished) EXPECT_EQ(each.result, TransferResult::kOk);
  EXPECT_EQ(device_[3], device_[1]);
  EXPECT_EQ(host_[3], device_[1]);
  RunAll();
}

TEST_F(TierTransfersTest, WhatTheExecutorRefusesFails) {
  for (int i = 0; i < 5; ++i) transfers_->Start(Of(Tier::kDevice, Tier::kHost, 0, 0));
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].id, 5u);
  EXPECT_EQ(finished[0].result, TransferResult::kFailed);
  EXPECT_EQ(errors(Tier::kHost, TierError::kBusy), 1u);
  EXPECT_EQ(wakes_, 1);
  RunAll();
  transfers_->Poll(&finished);
  EXPECT_EQ(finished.size(), 5u);
}

TEST_F(TierTransfersTest, ADroppedRecordIsGoneAtOnceAndBackWithTheNextSpill) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  transfers_->Drop(ChildKey(kRoot, kTokens));
  EXPECT_FALSE(OnDisk());
  RunAll();
  std::vector<FinishedTransfer> none;
  transfers_->Poll(&none);
  EXPECT_FALSE(OnDisk());
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  EXPECT_TRUE(OnDisk());
}

TEST_F(TierTransfersTest, ADeleteThatWasRefusedDoesNotFollowTheSpillOfItsKey) {
  ASSERT_EQ(Spill(1), TransferResult::kOk);
  for (uint64_t i = 0; i < 4; ++i) {
    Transfer other = Of(Tier::kDevice, Tier::kDisk, 0, kNoBlock);
    other.key = {i, i};
    transfers_->Start(other);
  }
  transfers_->Drop(ChildKey(kRoot, kTokens));  // the executor is full
  EXPECT_FALSE(OnDisk());
  spills_.RunOne();
  transfers_->Start(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock));
  std::vector<FinishedTransfer> finished;
  transfers_->Poll(&finished);
  EXPECT_FALSE(OnDisk()) << "until the spill has ended";
  RunAll();
  transfers_->Poll(&finished);
  RunAll();
  transfers_->Poll(&finished);
  EXPECT_EQ(finished.size(), 5u);
  EXPECT_TRUE(OnDisk());
  EXPECT_TRUE(store_.records.Contains(ChildKey(kRoot, kTokens)));
}

TEST_F(TierTransfersTest, BringsWhatTheStoreDroppedAndWakesTheEngine) {
  const BlockKey keys[] = {{1, 1}, {2, 2}, {3, 3}};
  const int wakes = wakes_;
  drops_->Add(keys[0], DropReason::kEvicted);
  drops_->Add(keys[1], std::nullopt);
  EXPECT_EQ(wakes_, wakes + 1) << "the queue was empty once";
  std::vector<RecordDrop> drops;
  EXPECT_TRUE(transfers_->TakeDrops(&drops));
  ASSERT_EQ(drops.size(), 2u);
  EXPECT_EQ(drops[0].key, keys[0]);
  EXPECT_EQ(drops[0].reason, DropReason::kEvicted);
  EXPECT_EQ(drops[1].reason, std::nullopt);
  for (const BlockKey& key : keys) drops_->Add(key, DropReason::kLost);
  EXPECT_EQ(wakes_, wakes + 2);
  drops.clear();
  EXPECT_FALSE(transfers_->TakeDrops(&drops)) << "it holds two";
  ASSERT_EQ(drops.size(), 2u);
  EXPECT_EQ(drops[0].key, keys[1]);
  EXPECT_EQ(drops[1].key, keys[2]);
  drops.clear();
  EXPECT_TRUE(transfers_->TakeDrops(&drops));
  EXPECT_TRUE(drops.empty());
  transfers_.reset();
  drops_->Add(keys[0], DropReason::kEvicted);
  EXPECT_EQ(wakes_, wakes + 2) << "the engine is gone";
}

}  // namespace
}  // namespace prefixd
