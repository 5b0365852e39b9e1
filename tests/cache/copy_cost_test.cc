// What a copy costs is told to the eviction of the tier that loses blocks to it.
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "tests/cache/split_loads_fixture.h"

namespace prefixd {

struct TenantEvictionTestPeer {
  static auto& Policy(TenantEviction* eviction) { return eviction->policy_; }
};

namespace {

// A policy that notes the copy costs that it is told.
class NotingPolicy final : public EvictionPolicy {
 public:
  NotingPolicy(std::unique_ptr<EvictionPolicy> policy, std::vector<double>* costs)
      : policy_(std::move(policy)), costs_(costs) {}
  void Insert(NodeId node, const NodeUse& use) override { policy_->Insert(node, use); }
  void Hit(NodeId node, const NodeUse& use) override { policy_->Hit(node, use); }
  void Remove(NodeId node, const NodeUse& use) override { policy_->Remove(node, use); }
  void AddCandidate(NodeId node, const NodeUse& use) override { policy_->AddCandidate(node, use); }
  void RemoveCandidate(NodeId node) override { policy_->RemoveCandidate(node); }
  void SetCopyCost(double share) override { costs_->push_back(share); }
  bool IsCandidate(NodeId node) const override { return policy_->IsCandidate(node); }
  std::optional<NodeId> Victim() const override { return policy_->Victim(); }
  void CheckInvariants() const override { policy_->CheckInvariants(); }

 private:
  const std::unique_ptr<EvictionPolicy> policy_;
  std::vector<double>* const costs_;
};

class CopyCostTest : public SplitLoadsTest {
 protected:
  void Note() {
    for (const Tier at : {Tier::kDevice, Tier::kHost}) {
      auto& policy = TenantEvictionTestPeer::Policy(&inside().tier(at).eviction);
      policy = std::make_unique<NotingPolicy>(std::move(policy), &costs_[static_cast<size_t>(at)]);
    }
  }
  const std::vector<double>& costs(Tier at) const { return costs_[static_cast<size_t>(at)]; }

  std::array<std::vector<double>, kPoolTiers> costs_;
};

TEST_F(CopyCostTest, AHitOnTheDiskIsOfTheDeviceWithoutAHost) {
  MakeDisk(4, 0.25);
  Note();
  ServeWithLoads(Prompt(4));
  EXPECT_EQ(costs(Tier::kDevice), std::vector<double>{0.25});
  EXPECT_EQ(costs(Tier::kHost), std::vector<double>{});
}

TEST_F(CopyCostTest, AHitOnTheDiskIsOfTheHostAndOneInTheHostOfTheDevice) {
  MakeDisk(4, 0.25, {.blocks = 40, .host_blocks = 40});
  Note();
  ServeWithLoads(Prompt(4));
  EXPECT_EQ(costs(Tier::kDevice), std::vector<double>{});
  EXPECT_EQ(costs(Tier::kHost), std::vector<double>{0.25});
  SpillAll();
  EvictFromDevice(40);
  ASSERT_EQ(Where(Block(0)), "host disk");
  ServeWithLoads(Prompt(4));
  ASSERT_EQ(costs(Tier::kDevice).size(), 1u);
  EXPECT_LT(costs(Tier::kDevice)[0], 0.25) << "nothing is known of the host, which is worth the least";
  EXPECT_EQ(costs(Tier::kHost).size(), 1u);
}

}  // namespace
}  // namespace prefixd
