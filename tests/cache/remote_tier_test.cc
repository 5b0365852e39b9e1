// The remote tier in the cache: when it is asked, what comes from it, and what goes there.
#include <gtest/gtest.h>

#include "cache/stacked_transfers.h"
#include "tests/cache/tier_transfers_fixture.h"
#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using Miss = PrefixCache::MissRun;
using enum TransferResult;

const Tokens kFirst{1, 1};
const Tokens kSecond{1, 1, 2, 2};
const Tokens kLong{1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6};

// Computing takes so many seconds for a token.
class Computing final : public ComputeEstimate {
 public:
  explicit Computing(double seconds) : seconds_(seconds) {}
  double Seconds(int from, int to) const override { return seconds_ * (to - from); }
  double StepSeconds() const override { return seconds_; }

 private:
  const double seconds_;
};

class RemoteTierTest : public TiersTest {
 protected:
  void PutRemote(const Tokens& prompt, size_t blocks) {
    for (size_t n = 1; n <= blocks; ++n)
      port_.remote_known.insert(KeyOf(Tokens(prompt.begin(), prompt.begin() + static_cast<int>(2 * n))));
  }
  PrefixCache::Acquired AcquireWith(Lease& lease, const Tokens& tokens, const ComputeEstimate& compute) {
    const auto acquired = cache_->Acquire(lease, tokens, static_cast<int>(tokens.size()), &compute);
    cache_->CheckInvariants();
    return acquired;
  }
  void PollAt(double seconds) {
    cache_->Poll(seconds, false);
    cache_->CheckInvariants();
  }
};

TEST_F(RemoteTierTest, BlocksComeFromThere) {
  Make({.blocks = 8, .remote = true});
  PutRemote(kSecond, 2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 2u);
  EXPECT_EQ(port_.held()[0].from, Tier::kRemote);
  EXPECT_EQ(port_.held()[0].from_block, kNoBlock);
  End(kFirst, kOk, {1, 1});
  End(kSecond, kOk, {2, 2});
  EXPECT_THAT(Acquire(lease, kSecond).tier_tokens, ElementsAre(0, 0, 0, 4));
  EXPECT_EQ(lease.ready(), 4);
}

TEST_F(RemoteTierTest, TheDiskComesFirst) {
  Make({.blocks = 8, .disk = true, .remote = true});
  PutRemote(kSecond, 2);
  AddRecords({kFirst});
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kLoading);
  ASSERT_EQ(port_.held().size(), 2u);
  End(kFirst);
  End(kSecond, kOk, {2, 2});
  EXPECT_THAT(Acquire(lease, kSecond).tier_tokens, ElementsAre(0, 0, 2, 2));
}

TEST_F(RemoteTierTest, OtherTokensAreAMissAndDropped) {
  Make({.blocks = 8, .remote = true});
  PutRemote(kFirst, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kOk, {1, 2});
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_EQ(stats().key_collisions, 1u);
  EXPECT_EQ(port_.drops, 1);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kCorrupt, 2}));
}

TEST_F(RemoteTierTest, WhatItHasDroppedIsExplained) {
  Make({.blocks = 8, .remote = true});
  PutRemote(kFirst, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  End(kFirst, kMissing);
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  EXPECT_THAT(cache_->ExplainMisses(lease, kFirst), ElementsAre(Miss{MissReason::kEvictedRemote, 2}));
}

TEST_F(RemoteTierTest, ItIsAskedForWhatOtherTiersLack) {
  Make({.blocks = 8, .disk = true, .remote = true});
  AddRecords({kFirst});
  port_.remote_asks = true;
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kLong).state, State::kLoading) << "until it has answered";
  EXPECT_EQ(port_.started(), 0u);
  ASSERT_EQ(port_.asked.size(), 5u);
  EXPECT_EQ(port_.asked[0], KeyOf(kSecond));
  EXPECT_EQ(port_.asked[4], KeyOf(kLong));
  PutRemote(kLong, 3);
  port_.remote_asks = false;
  EXPECT_EQ(Acquire(lease, kLong).state, State::kLoading);
  EXPECT_EQ(port_.started(), 3u) << "one of the disk, two of the remote tier";
}

TEST_F(RemoteTierTest, ItIsNotAskedForAFewBlocks) {
  Make({.blocks = 8, .remote = true});
  port_.remote_asks = true;
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_EQ(port_.questions, 0);
}

TEST_F(RemoteTierTest, AnAnswerThatDoesNotComeIsNotWaitedForLong) {
  Make({.blocks = 8, .remote = true});
  port_.remote_asks = true;
  const Computing fast(0.001), slow(1);  // seconds for a token
  PollAt(10);
  Lease lease = Open();
  EXPECT_EQ(AcquireWith(lease, kLong, fast).state, State::kLoading);
  PollAt(10.0002);
  EXPECT_EQ(AcquireWith(lease, kLong, fast).state, State::kLoading) << "a fiftieth of 12 ms";
  PollAt(10.001);
  EXPECT_EQ(AcquireWith(lease, kLong, fast).state, State::kReady);
  Lease other = Open();
  const Tokens others(12, 7);
  EXPECT_EQ(AcquireWith(other, others, slow).state, State::kLoading);
  PollAt(10.2);
  EXPECT_EQ(AcquireWith(other, others, slow).state, State::kLoading) << "a fiftieth of 12 s";
  PollAt(10.3);
  EXPECT_EQ(AcquireWith(other, others, slow).state, State::kReady);
}

TEST_F(RemoteTierTest, WithoutADiskWhatIsUsedTwiceGoesThere) {
  MakeAsAsked({.blocks = 8, .remote = true});
  Serve(kFirst);
  Poll();
  EXPECT_EQ(port_.started(), 0u) << "it was used once";
  Serve(kFirst);
  Poll();
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].to, Tier::kRemote);
  EXPECT_TRUE(port_.held()[0].used_again);
  End(kFirst);
  Serve(kFirst);
  Poll();
  EXPECT_EQ(port_.started(), 1u) << "it is there";
  Serve({8, 8});
  cache_->SpillAll(100);
  Poll();
  EXPECT_EQ(port_.started(), 1u) << "at the end of a daemon nothing more goes there";
}

TEST_F(RemoteTierTest, ASpillSaysWhetherTheBlockWasUsedTwice) {
  Make({.blocks = 8, .disk = true, .remote = true});  // write-through
  Serve(kFirst);
  Poll();
  ASSERT_EQ(port_.held().size(), 1u);
  EXPECT_EQ(port_.held()[0].to, Tier::kDisk);
  EXPECT_FALSE(port_.held()[0].used_again);
}

TEST_F(RemoteTierTest, AFailedLoadIsComputed) {
  Make({.blocks = 8, .remote = true});
  PutRemote(kFirst, 1);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
  port_.remote_known.clear();  // it is left alone now
  End(kFirst, kFailed);
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kReady);
  Compute(lease, kFirst);
}

// --- StackedTransfers ---

class StackedTransfersTest : public TierTransfersTest {
 protected:
  StackedTransfersTest() {
    TierTransfers::Options options;
    options.fingerprint = kFingerprint;
    options.block_bytes = kBlockBytes;
    options.codec = {PayloadCodec::kRaw, 1};
    options.device_block = [this](BlockId block) { return std::span(device_[block]); };
    options.host_block = [this](BlockId block) { return std::span(host_[block]); };
    options.is_finite = [](std::span<const std::byte>) { return true; };
    options.clock = &clock_;
    stacked_ = std::make_unique<StackedTransfers>(
        std::move(transfers_),
        std::make_unique<TierTransfers>(
            std::move(options), &remote_,
            TierTransfers::Executors{.loads = &loads_, .spills = &spills_, .copies = &copies_}),
        [this](std::span<const BlockKey> keys) { return keys.size() == 1 && finds_; });
  }
  TransferResult RunOne(const Transfer& transfer) {
    stacked_->Start(transfer);
    RunAll();
    std::vector<FinishedTransfer> finished;
    stacked_->Poll(&finished);
    RunAll();
    PREFIXD_CHECK(finished.size() == 1) << finished.size();
    return finished[0].result;
  }
  bool OnRemote() const { return stacked_->OnRemote(ChildKey(kRoot, kTokens)); }
  uint64_t bytes(const std::array<uint64_t, kTiers>& of, Tier tier) const {
    return of[static_cast<size_t>(tier)];
  }

  FailingStore remote_;
  bool finds_ = true;
  std::unique_ptr<StackedTransfers> stacked_;
};

TEST_F(StackedTransfersTest, EachStoreHasItsRecords) {
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kRemote, 1, kNoBlock)), kOk);
  EXPECT_TRUE(OnRemote());
  EXPECT_FALSE(stacked_->OnDisk(ChildKey(kRoot, kTokens)));
  EXPECT_EQ(store_.puts, 0);
  EXPECT_EQ(RunOne(Of(Tier::kRemote, Tier::kDevice, kNoBlock, 3)), kOk);
  EXPECT_EQ(device_[3], device_[1]);
  const TransferStats& stats = stacked_->stats();
  EXPECT_GT(bytes(stats.written_bytes, Tier::kRemote), kBlockBytes);
  EXPECT_EQ(bytes(stats.read_bytes, Tier::kRemote), bytes(stats.written_bytes, Tier::kRemote));
  EXPECT_EQ(bytes(stats.written_bytes, Tier::kDisk), 0u);
  EXPECT_GT(bytes(stats.read_bytes, Tier::kDevice), 0u);
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock)), kOk);
  EXPECT_GT(bytes(stacked_->stats().written_bytes, Tier::kDisk), kBlockBytes);
}

TEST_F(StackedTransfersTest, AStoreThatFailsDoesNotStopTheOther) {
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kRemote, 1, kNoBlock)), kOk);
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock)), kOk);
  remote_.get_fails = Code::kIo;
  EXPECT_EQ(RunOne(Of(Tier::kRemote, Tier::kDevice, kNoBlock, 3)), kFailed);
  EXPECT_FALSE(OnRemote()) << "it is left alone";
  EXPECT_EQ(RunOne(Of(Tier::kDisk, Tier::kDevice, kNoBlock, 3)), kOk);
  EXPECT_EQ(
      stacked_->stats().errors[static_cast<size_t>(Tier::kRemote)][static_cast<size_t>(TierError::kRead)],
      1u);
}

TEST_F(StackedTransfersTest, DamageIsCountedAndDropped) {
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kRemote, 1, kNoBlock)), kOk);
  const BlockKey key = ChildKey(kRoot, kTokens);
  std::string record = *remote_.records.Get(key);
  record.back() ^= 1;
  ASSERT_TRUE(remote_.records.Put(key, record).ok());
  EXPECT_EQ(RunOne(Of(Tier::kRemote, Tier::kDevice, kNoBlock, 3)), kCorrupt);
  EXPECT_EQ(stacked_->stats().verify_failures[static_cast<size_t>(VerifyFailure::kChecksum)], 1u);
  EXPECT_FALSE(OnRemote());
  EXPECT_FALSE(remote_.records.Contains(key));
}

TEST_F(StackedTransfersTest, DropsInBothAndAsksTheRemoteOne) {
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kRemote, 1, kNoBlock)), kOk);
  EXPECT_EQ(RunOne(Of(Tier::kDevice, Tier::kDisk, 1, kNoBlock)), kOk);
  const BlockKey key = ChildKey(kRoot, kTokens);
  EXPECT_TRUE(stacked_->FindOnRemote(std::span(&key, 1)));
  finds_ = false;
  EXPECT_FALSE(stacked_->FindOnRemote(std::span(&key, 1)));
  stacked_->Drop(key);
  RunAll();
  EXPECT_FALSE(OnRemote());
  EXPECT_FALSE(stacked_->OnDisk(key));
  EXPECT_FALSE(remote_.records.Contains(key));
  EXPECT_FALSE(store_.records.Contains(key));
}

}  // namespace
}  // namespace prefixd
