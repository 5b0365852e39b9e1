// Spills that cost the steps more than they bring wait until no request computes.
#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::IsEmpty;

class DeferredSpillsTest : public TiersTest {
 protected:
  void MakeBusy(PrefixCache::Options options) {
    options.spills_slow_steps = true;
    Make(std::move(options));
  }
  void PollAt(double now, bool idle) {
    cache_->Poll(now, idle);
    cache_->CheckInvariants();
  }
  // A request for two new blocks, `seconds` long, of which each spill takes a twentieth of that.
  void ServeNew(double seconds = 0.1) {
    PollAt(now_, false);
    now_ += seconds;
    const TokenId a = 100 + next_++;
    Serve({a, a, a, a + 1});
    last_ = {a, a, a, a + 1};
    PollAt(now_, false);
    port_.work_seconds = seconds / 20;
    while (!port_.held().empty()) port_.End(port_.held().front().key);
    PollAt(now_, false);
  }
  // Blocks are spilled and never wanted again, until the cache holds them back.
  void LearnThatSpillsBringNothing() {
    for (int i = 0; i < 100 && stats().deferred_spills == 0; ++i) ServeNew();
    ASSERT_GT(stats().deferred_spills, 0u);
  }

  double now_ = 1;
  TokenId next_ = 0;
  Tokens last_;
};

TEST_F(DeferredSpillsTest, TheyRunWhenNoRequestComputes) {
  MakeBusy({.blocks = 64, .disk = true});
  LearnThatSpillsBringNothing();
  EXPECT_EQ(Where(last_), "device");
  EXPECT_GT(cache_->pending_disk_blocks(), 0u);
  PollAt(now_, false);
  EXPECT_THAT(port_.held(), IsEmpty());
  PollAt(now_, true);
  EXPECT_FALSE(port_.held().empty());
  SpillAll();
  EXPECT_EQ(Where(last_), "device disk");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

// For an end without time to drain.
TEST_F(DeferredSpillsTest, SpillingNothingMoreGivesThemUp) {
  MakeBusy({.blocks = 64, .disk = true});
  LearnThatSpillsBringNothing();
  ASSERT_GT(cache_->pending_disk_blocks(), 0u);
  cache_->SpillAll(0);
  cache_->CheckInvariants();
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  PollAt(now_, true);
  EXPECT_THAT(port_.held(), IsEmpty());
  EXPECT_EQ(Where(last_), "device");
}

TEST_F(DeferredSpillsTest, TheyRunBesideStepsAsSoonAsLostBlocksAreWantedAgain) {
  MakeBusy({.blocks = 8, .disk = true});
  LearnThatSpillsBringNothing();
  const Tokens lost = last_;
  ASSERT_EQ(Where(lost), "device");
  const double before = cache_->spill_budget().chance();
  EvictFromDevice(8);
  ASSERT_EQ(Where(lost), "ghost") << "nothing wrote it";
  Serve(lost);
  EXPECT_GT(cache_->spill_budget().chance(), before);
  for (int i = 0; i < 100 && !cache_->spill_budget().IsWorthIt(); ++i) {
    EvictFromDevice(8);
    Serve(lost);
  }
  ASSERT_TRUE(cache_->spill_budget().IsWorthIt());
  PollAt(now_, false);
  EXPECT_TRUE(port_.Holds(KeyOf(lost))) << "it waited, and waits no more";
}

TEST_F(DeferredSpillsTest, ABlockThatIsComputedAlthoughTheDiskHasItIsNotWantedFromThere) {
  MakeBusy({.blocks = 8, .disk = true, .load_policy = LoadPolicy::kRecompute});
  Serve({1, 1});
  SpillAll();
  EvictFromDevice(8);
  ASSERT_EQ(Where({1, 1}), "disk");
  Serve({1, 1});
  EXPECT_EQ(cache_->spill_budget().chance(), 0);
  Serve({2, 2});
  EvictFromDevice(8);
  Serve({2, 2});
  EXPECT_GT(cache_->spill_budget().chance(), 0) << "the disk did not have that one yet";
}

TEST_F(DeferredSpillsTest, ABlockThatWaitsIsSpilledSoonerWhenItIsUsedAgain) {
  MakeBusy({.blocks = 64, .disk = true});
  LearnThatSpillsBringNothing();
  const Tokens waits = last_;
  PollAt(now_, false);
  ASSERT_EQ(Where(waits), "device");
  now_ += 12;  // until nothing is owed of the allowance
  PollAt(now_, false);
  ASSERT_FALSE(cache_->spill_budget().IsWorthIt());
  Serve(waits);
  PollAt(now_, false);
  EXPECT_TRUE(port_.Holds(KeyOf(Tokens(waits.begin(), waits.begin() + 2))));
  PollAt(now_, true);
  SpillAll();
  EXPECT_EQ(Where(waits), "device disk");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u) << "its first entry found nothing to do";
}

TEST_F(DeferredSpillsTest, AtTheEndOfTheProcessTheyAreSpilled) {
  MakeBusy({.blocks = 64, .disk = true});
  LearnThatSpillsBringNothing();
  cache_->SpillAll(64);
  PollAt(now_, false);
  EXPECT_TRUE(port_.Holds(KeyOf(last_)));
  SpillAll();
  EXPECT_EQ(Where(last_), "device disk");
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
}

TEST_F(DeferredSpillsTest, TheHostTakesTheirBlocksAtOnceAndTheDiskLater) {
  MakeBusy({.blocks = 64, .host_blocks = 64, .disk = true});
  LearnThatSpillsBringNothing();
  EXPECT_EQ(Where(last_), "device host");
  PollAt(now_, true);
  SpillAll();
  EXPECT_EQ(Where(last_), "device host disk");
}

TEST_F(DeferredSpillsTest, TheirQueueIsBounded) {
  MakeBusy({.blocks = 8, .disk = true});
  LearnThatSpillsBringNothing();
  for (int i = 0; i < 300; ++i) {
    ServeNew();
    ASSERT_LE(cache_->pending_disk_blocks(), 17u) << "twice the blocks of the cache, and one";
  }
  PollAt(now_, true);
  SpillAll();
  EXPECT_EQ(cache_->pending_disk_blocks(), 0u);
  EXPECT_EQ(Where(last_), "device disk");
}

}  // namespace
}  // namespace prefixd
