// The remote tier in the cache: when it is asked, what comes from it, and what goes there.
#include <gtest/gtest.h>

#include "cache/stacked_transfers.h"
#include "tests/cache/tier_transfers_fixture.h"
#include "tests/cache/tiers_fixture.h"
#include "tests/support/device_memory.h"

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

TEST_F(RemoteTierTest, AnAnswerIsWaitedForThoughTheFirstBlockIsKnown) {
  Make({.blocks = 16, .remote = true});
  PutRemote(kLong, 1);
  port_.remote_answer = RemoteAnswer::kAsked;
  Lease lease = Open();
  EXPECT_EQ(AcquireWith(lease, kLong, Computing(10)).state, State::kLoading);
  EXPECT_EQ(port_.started(), 0u) << "what the answer names is planned with it";
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
  port_.remote_answer = RemoteAnswer::kAsked;
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kLong).state, State::kLoading) << "until it has answered";
  EXPECT_EQ(port_.started(), 0u);
  ASSERT_EQ(port_.asked.size(), 5u);
  EXPECT_EQ(port_.asked[0], KeyOf(kSecond));
  EXPECT_EQ(port_.asked[4], KeyOf(kLong));
  PutRemote(kLong, 3);
  port_.remote_answer = RemoteAnswer::kKnown;
  EXPECT_EQ(Acquire(lease, kLong).state, State::kLoading);
  EXPECT_EQ(port_.started(), 3u) << "one of the disk, two of the remote tier";
}

TEST_F(RemoteTierTest, ItIsNotAskedForAFewBlocks) {
  Make({.blocks = 8, .remote = true});
  port_.remote_answer = RemoteAnswer::kAsked;
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kSecond).state, State::kReady);
  EXPECT_EQ(port_.questions, 0);
}

TEST_F(RemoteTierTest, AnAnswerThatDoesNotComeIsNotWaitedForLong) {
  Make({.blocks = 8, .remote = true});
  port_.remote_answer = RemoteAnswer::kAsked;
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

// --- Blocks that another daemon computes ---

class ElsewhereTest : public RemoteTierTest {
 protected:
  // A lease that waits for another daemon, since time 10.
  Lease Wait(const Tokens& tokens) {
    Make({.blocks = 16, .remote = true});
    port_.remote_answer = RemoteAnswer::kComputed;
    PollAt(10);
    Lease lease = Open();
    EXPECT_EQ(AcquireWith(lease, tokens, compute_).state, State::kLoading);
    EXPECT_TRUE(cache_->waits_for_tiers());
    return lease;
  }
  // The state after a poll at that time.
  State At(double seconds, Lease& lease, const Tokens& tokens) {
    PollAt(seconds);
    return AcquireWith(lease, tokens, compute_).state;
  }
  const Computing compute_{0.5};  // seconds for a token, and for a step
};

// To compute kLong takes 6 seconds, and a wait costs at most a quarter of that and a step: 2 seconds.
TEST_F(ElsewhereTest, ItIsWaitedForAQuarterOfWhatComputingTakesAndAStep) {
  Lease lease = Wait(kLong);
  EXPECT_EQ(At(11.9, lease, kLong), State::kLoading);
  EXPECT_EQ(At(12.1, lease, kLong), State::kReady);
  ASSERT_EQ(port_.remote_ends.size(), 1u);
  EXPECT_EQ(port_.remote_ends[0].end, RemoteEnd::kWaitedInVain);
  EXPECT_EQ(port_.remote_ends[0].asker, port_.asker);
  EXPECT_FALSE(cache_->waits_for_tiers());
  const int questions = port_.questions;
  Compute(lease, kLong);
  EXPECT_EQ(port_.questions, questions) << "it asks no more";
}

TEST_F(ElsewhereTest, BesideOthersThatBeginToComputeHereItGoesOnWaiting) {
  Lease lease = Wait(kLong);
  PollAt(11.9);
  const Computing busy(2);
  EXPECT_EQ(AcquireWith(lease, kLong, busy).state, State::kLoading);
  PollAt(12.1);
  EXPECT_EQ(AcquireWith(lease, kLong, busy).state, State::kReady);
}

TEST_F(ElsewhereTest, AStoreThatIsSlowerThanComputingIsNotWaitedFor) {
  PrefixCache::Options options{.blocks = 16, .remote = true};
  options.block_seconds[static_cast<size_t>(Tier::kRemote)] = 1.1;  // to compute one takes a second
  Make(std::move(options));
  port_.remote_answer = RemoteAnswer::kComputed;
  PollAt(10);
  Lease lease = Open();
  EXPECT_EQ(AcquireWith(lease, kLong, compute_).state, State::kReady);
  ASSERT_EQ(port_.remote_ends.size(), 1u);
  EXPECT_EQ(port_.remote_ends[0].end, RemoteEnd::kOver) << "nobody has lied";
}

TEST_F(ElsewhereTest, AFewBlocksThatHaveComeAreLoadedThoughComputingThemIsAsFast) {
  PrefixCache::Options options{.blocks = 16, .remote = true};
  options.block_seconds[static_cast<size_t>(Tier::kRemote)] = 0.9;
  Make(std::move(options));
  port_.remote_answer = RemoteAnswer::kComputed;
  PollAt(10);
  Lease lease = Open();
  EXPECT_EQ(AcquireWith(lease, kLong, compute_).state, State::kLoading);
  PutRemote(kLong, 3);
  EXPECT_EQ(At(10, lease, kLong), State::kLoading);
  EXPECT_EQ(port_.started(), 3u) << "none is computed beside";
  EXPECT_EQ(At(11.9, lease, kLong), State::kLoading);
  EXPECT_EQ(At(12.1, lease, kLong), State::kReady) << "loads that hang are waited for no longer";
  EXPECT_EQ(port_.remote_ends[0].end, RemoteEnd::kWaitedInVain);
}

TEST_F(ElsewhereTest, WhatComesIsLoadedAndWaitedOn) {
  Lease lease = Wait(kLong);
  PutRemote(kLong, 2);
  EXPECT_EQ(At(11.5, lease, kLong), State::kLoading);
  ASSERT_EQ(port_.held().size(), 2u) << "what has come is loaded";
  End(kSecond, kOk, {2, 2});
  End(kFirst, kOk, {1, 1});
  EXPECT_EQ(At(11.5, lease, kLong), State::kLoading);
  EXPECT_EQ(lease.ready(), 4);
  EXPECT_EQ(port_.started(), 2u);
  // To compute the other four takes 4 seconds: until 15.5 now, and until 16 at first.
  EXPECT_EQ(At(13.4, lease, kLong), State::kLoading) << "2 seconds later than from the last block on";
  PutRemote(kLong, 5);
  EXPECT_EQ(At(13.4, lease, kLong), State::kLoading);
  for (int n = 5; n > 2; --n) End(Tokens(kLong.begin(), kLong.begin() + 2 * n), kOk, {n, n});
  EXPECT_EQ(At(13.4, lease, kLong), State::kLoading) << "for the last block too";
  EXPECT_EQ(lease.ready(), 10);
  EXPECT_EQ(At(15.3, lease, kLong), State::kLoading);
  EXPECT_EQ(At(15.5, lease, kLong), State::kReady);
  EXPECT_EQ(AcquireWith(lease, kLong, compute_).until, 12);
}

TEST_F(ElsewhereTest, BlocksThatTrickleAreNotWaitedForForever) {
  Lease lease = Wait(kLong);
  double now = 10;
  for (size_t n = 1; n <= 3; ++n) {
    now += 1.3;  // and a second to compute
    PutRemote(kLong, n);
    ASSERT_EQ(At(now, lease, kLong), State::kLoading);
    const auto token = static_cast<TokenId>(n);
    End(Tokens(kLong.begin(), kLong.begin() + static_cast<int>(2 * n)), kOk, {token, token});
    ASSERT_EQ(At(now, lease, kLong), State::kLoading);
  }
  EXPECT_EQ(At(14.9, lease, kLong), State::kLoading);
  EXPECT_EQ(At(15.1, lease, kLong), State::kReady) << "so all is computed after 8 seconds, not 6";
}

TEST_F(ElsewhereTest, AWaitThatIsOverLeavesNothingBehind) {
  Lease lease = Wait(kLong);
  PutRemote(kLong, 3);
  port_.remote_answer = RemoteAnswer::kAsked;
  EXPECT_EQ(At(10.5, lease, kLong), State::kLoading);
  for (int n = 3; n > 0; --n) End(Tokens(kLong.begin(), kLong.begin() + 2 * n), kOk, {n, n});
  const int questions = port_.questions;
  EXPECT_EQ(Acquire(lease, kLong, 6).state, State::kReady) << "no more is wanted";
  EXPECT_EQ(port_.questions, questions);
  EXPECT_FALSE(cache_->waits_for_tiers());
}

// A spill of the first one would hold a block of the device, of which too few are left; what a lease has is
// held anyway.
TEST_F(RemoteTierTest, WhatCannotGoYetDoesNotHoldUpTheOthers) {
  Make({.blocks = 4, .remote = true, .spill_reserve = 2});
  port_.wanted_askers.insert(0);  // --remote-write-through
  Serve(kFirst);
  Lease lease = Open();
  const Tokens others{8, 8, 9, 9};
  ASSERT_EQ(Acquire(lease, others).state, State::kReady);
  Compute(lease, others);
  Poll();
  ASSERT_EQ(port_.held().size(), 2u);
  EXPECT_EQ(port_.held()[0].key, KeyOf({8, 8}));
  EXPECT_EQ(port_.held()[1].key, KeyOf(others));
  port_.EndAll();
  Poll();
  EXPECT_EQ(port_.started(), 2u);
  lease.Release();
  Poll();
  ASSERT_EQ(port_.held().size(), 1u) << "it has kept its place";
  EXPECT_EQ(port_.held()[0].key, KeyOf(kFirst));
}

TEST_F(ElsewhereTest, WhenNobodyComputesItAnyMoreItIsComputed) {
  Lease lease = Wait(kLong);
  PutRemote(kLong, 1);
  port_.remote_answer = RemoteAnswer::kKnown;
  EXPECT_EQ(At(11, lease, kLong), State::kLoading) << "what has come";
  End(kFirst, kOk, {1, 1});
  EXPECT_EQ(At(11, lease, kLong), State::kReady);
  EXPECT_EQ(lease.ready(), 2);
  EXPECT_FALSE(cache_->waits_for_tiers());
  Compute(lease, kLong);
  ASSERT_EQ(port_.remote_ends.size(), 1u);
  EXPECT_EQ(port_.remote_ends[0].end, RemoteEnd::kOver);
  EXPECT_EQ(port_.remote_ends[0].computed, 6u);
}

TEST_F(ElsewhereTest, WhatOthersWaitForGoesThereAtOnce) {
  Make({.blocks = 16, .remote = true});
  port_.remote_answer = RemoteAnswer::kKnown;
  Lease lease = Open();
  EXPECT_EQ(AcquireWith(lease, kLong, compute_).state, State::kReady);
  Compute(lease, kSecond);
  Poll();
  EXPECT_EQ(port_.started(), 0u) << "nobody waits";
  port_.wanted_askers.insert(port_.asker);
  Poll();
  EXPECT_EQ(port_.started(), 2u) << "what was computed before";
  Compute(lease, Tokens(kLong.begin(), kLong.begin() + 6));
  Poll();
  EXPECT_EQ(port_.started(), 3u);
  for (const auto& held : port_.held()) EXPECT_EQ(held.to, Tier::kRemote);
  port_.EndAll();
  Compute(lease, kLong);
  lease.Release();
  Poll();
  EXPECT_EQ(port_.started(), 6u) << "also after the end of the request";
  SpillAll();
  EXPECT_EQ(port_.started(), 6u) << "each block once";
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

TEST_F(ElsewhereTest, BesideADiskItGoesToBoth) {
  Make({.blocks = 16, .disk = true, .remote = true});
  port_.wanted_askers.insert(0);  // --remote-write-through
  Serve(kFirst);
  SpillAll();
  EXPECT_TRUE(port_.records.contains(KeyOf(kFirst)));
  EXPECT_TRUE(port_.remote_known.contains(KeyOf(kFirst)));
  EXPECT_EQ(port_.started(), 2u);
}

// --- StackedTransfers ---

class StackedTransfersTest : public TierTransfersTest {
 protected:
  StackedTransfersTest() {
    TierTransfers::Options options;
    options.fingerprint = kFingerprint;
    options.block_bytes = kBlockBytes;
    options.codec = {PayloadCodec::kRaw, 1};
    testing_support::UseDeviceMemory([this](BlockId block) { return std::span(device_[block]); }, &options);
    options.host_block = [this](BlockId block) { return std::span(host_[block]); };
    options.is_finite = [](std::span<const std::byte>) { return true; };
    options.clock = &clock_;
    stacked_ = std::make_unique<StackedTransfers>(
        std::move(transfers_),
        std::make_unique<TierTransfers>(
            std::move(options), &remote_,
            TierTransfers::Executors{.loads = &loads_, .spills = &spills_, .copies = &copies_}),
        std::make_shared<Directory>());
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

  // Says of which asker it was told.
  class Directory final : public RemoteDirectory {
   public:
    RemoteAnswer Find(const RemoteQuestion& question) override {
      asker_ = question.asker;
      return RemoteAnswer::kComputed;
    }
    bool IsWanted(uint64_t asker) const override { return asker == asker_; }
    void End(uint64_t asker, size_t, RemoteEnd) override { asker_ = asker == asker_ ? 0 : asker_; }

   private:
    uint64_t asker_ = 0;
  };

  FailingStore remote_;
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
  EXPECT_EQ(stacked_->FindOnRemote({.keys = std::span(&key, 1), .asker = 5}), RemoteAnswer::kComputed);
  EXPECT_TRUE(stacked_->IsWantedOnRemote(5));
  stacked_->EndRemote(5, 1, RemoteEnd::kOver);
  EXPECT_FALSE(stacked_->IsWantedOnRemote(5));
  stacked_->Drop(key);
  RunAll();
  EXPECT_FALSE(OnRemote());
  EXPECT_FALSE(stacked_->OnDisk(key));
  EXPECT_FALSE(remote_.records.Contains(key));
  EXPECT_FALSE(store_.records.Contains(key));
}

}  // namespace
}  // namespace prefixd
