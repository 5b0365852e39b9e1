// What the disk drops by itself: in which order the cache learns and tells of it, and which reason a miss has
// afterwards.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cache/tiers_fixture.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using Miss = PrefixCache::MissRun;

const Tokens kFirst{1, 1};
const Tokens kSecond{1, 1, 2, 2};

// Writes down what it hears: "+disk 1" is OnStored of the block that ends in the token 1.
class Heard final : public ResidencyListener {
 public:
  void OnStored(const Block& block, Tier tier) override {
    names_[block.key] = block.tokens.back();
    changes.push_back("+" + NameOf(tier) + " " + std::to_string(block.tokens.back()));
  }
  void OnRemoved(const BlockKey&, const BlockKey& key, Tier tier) override {
    changes.push_back("-" + NameOf(tier) + " " + std::to_string(names_[key]));
  }
  void OnDropped(const BlockKey& key) override { OnRemoved({}, key, Tier::kDisk); }
  void OnLost() override { changes.push_back("lost"); }
  uint64_t WantedReport() const override { return 0; }
  void OnReported(uint64_t) override {}

  std::vector<std::string> Take() { return std::exchange(changes, {}); }
  std::vector<std::string> changes;

 private:
  static std::string NameOf(Tier tier) {
    return tier == Tier::kDevice ? "device" : tier == Tier::kHost ? "host" : "disk";
  }
  std::map<BlockKey, TokenId> names_;
};

class DropsTest : public TiersTest {
 protected:
  void MakeDisk(uint32_t blocks) { Make({.blocks = blocks, .disk = true, .residency = &heard_}); }
  std::vector<Miss> Explain(const Tokens& tokens) {
    Lease lease = Open();
    EXPECT_EQ(Acquire(lease, tokens).state, State::kReady);
    return cache_->ExplainMisses(lease, tokens);
  }
  Heard heard_;
};

TEST_F(DropsTest, TheTierThatLostABlockLastIsTheReason) {
  MakeDisk(2);
  Serve(kFirst);
  SpillAll();
  EXPECT_THAT(heard_.Take(), ElementsAre("+device 1", "+disk 1"));
  port_.LoseRecord(KeyOf(kFirst), DropReason::kEvicted);
  Poll();
  EvictFromDevice(2);
  EXPECT_THAT(heard_.Take(), ElementsAre("-disk 1", "-device 1"));
  EXPECT_THAT(Explain(kFirst), ElementsAre(Miss{MissReason::kEvictedDevice, 2}));

  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  port_.LoseRecord(KeyOf(kFirst), DropReason::kEvicted);
  EXPECT_THAT(Explain(kFirst), ElementsAre(Miss{MissReason::kEvictedDisk, 2})) << "without a Poll before";
  EXPECT_THAT(heard_.Take(), ElementsAre("+device 1", "+disk 1", "-device 1", "-disk 1"));
}

TEST_F(DropsTest, AReasonOutlivesTheGhostOfABlock) {
  MakeDisk(2);
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  port_.LoseRecord(KeyOf(kFirst), DropReason::kExpired);
  for (TokenId token = 10; token < 40; ++token) Serve({token, token});
  ASSERT_EQ(Node(kFirst), kNoNode);
  EXPECT_THAT(Explain(kSecond), ElementsAre(Miss{MissReason::kExpired, 2}, Miss{MissReason::kNeverSeen, 2}));
}

// Each block has a reason of its own, whatever is known of the one before it.
TEST_F(DropsTest, ABlockBehindOneThatWasNeverSeenHasItsOwnReason) {
  MakeDisk(2);
  AddRecords({kSecond});
  port_.LoseRecord(KeyOf(kSecond), DropReason::kEvicted);
  EXPECT_THAT(Explain(kSecond),
              ElementsAre(Miss{MissReason::kNeverSeen, 2}, Miss{MissReason::kEvictedDisk, 2}));
}

// A drop that comes before the end of the spill is of this record or of an older one: the store knows.
TEST_F(DropsTest, ARecordThatIsWrittenAgainIsNotLost) {
  MakeDisk(2);
  Serve(kFirst);
  SpillAll();
  (void)heard_.Take();
  port_.LoseRecord(KeyOf(kFirst), DropReason::kEvicted);
  AddRecords({kFirst});
  Poll();
  EXPECT_TRUE(heard_.Take().empty());
  EvictFromDevice(2);
  Lease lease = Open();
  EXPECT_EQ(Acquire(lease, kFirst).state, State::kLoading);
}

TEST_F(DropsTest, ARecordThatIsGoneByTheEndOfItsSpillIsToldAndTakenBack) {
  MakeDisk(2);
  Serve(kFirst);
  Poll();
  port_.End(KeyOf(kFirst));
  port_.LoseRecord(KeyOf(kFirst), DropReason::kEvicted);
  (void)heard_.Take();
  Poll();
  EXPECT_THAT(heard_.Take(), ElementsAre("-disk 1", "+disk 1", "-disk 1"));
}

TEST_F(DropsTest, WhatAnOperatorDeletesLeavesNoReason) {
  MakeDisk(2);
  Serve(kFirst);
  SpillAll();
  EvictFromDevice(2);
  port_.records.clear();
  port_.dropped.push_back({KeyOf(kFirst), std::nullopt});
  EXPECT_THAT(Explain(kFirst), ElementsAre(Miss{MissReason::kNeverSeen, 2}));
}

TEST_F(DropsTest, DropsThatWereForgottenAreTold) {
  MakeDisk(2);
  Poll();
  port_.forgot_drops = true;
  Poll();
  Poll();
  EXPECT_THAT(heard_.Take(), ElementsAre("lost"));
}

}  // namespace
}  // namespace prefixd
