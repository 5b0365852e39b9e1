// Inbox: what is accepted when the queue is full.
#include "engine/inbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/ticking_clock.h"

namespace prefixd {
namespace {

class InboxTest : public testing::Test {
 protected:
  // Whether a sequence of the tenant is accepted. `sequences_` has those that were.
  bool Add(const std::string& tenant, int prompt = 1) {
    Request request;
    request.prompt.assign(static_cast<size_t>(prompt), 7);
    request.share.tenant = tenant;
    auto sequence = std::make_unique<Sequence>(++id_, std::move(request), BlockKeys({}, 16));
    const Status added = inbox_.Add(std::move(sequence), clock_);
    EXPECT_TRUE(added.ok() || added.code() == Code::kResourceExhausted) << added.ToString();
    for (auto& taken : inbox_.Take().submitted) sequences_.push_back(std::move(taken));
    return added.ok();
  }
  int AddAll(const std::string& tenant, int prompt = 1) {
    int added = 0;
    while (Add(tenant, prompt)) ++added;
    return added;
  }

  testing_support::TickingClock clock_{1};
  Inbox inbox_{8, /*max_tokens=*/1000, /*context=*/300};
  RequestId id_ = 0;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

TEST_F(InboxTest, ATenantThatIsAloneGetsTheQueueAndNoMore) {
  EXPECT_EQ(AddAll("flood"), 8);
  inbox_.LeftQueue(*sequences_[0]);
  EXPECT_EQ(AddAll("flood"), 1);
}

TEST_F(InboxTest, AFullQueueRefusesNoTenantThatHasFewInIt) {
  EXPECT_EQ(AddAll("flood"), 8);
  EXPECT_EQ(AddAll("quiet"), 2) << "a quarter";
  EXPECT_EQ(AddAll("third"), 0) << "whatever tenants there are, the queue is bounded";
  inbox_.LeftQueue(*sequences_[0]);
  EXPECT_FALSE(Add("flood"));
  EXPECT_TRUE(Add("third"));
}

TEST_F(InboxTest, SoDoPromptsThatFillTheTokensInFlight) {
  EXPECT_EQ(AddAll("flood", 250), 4);
  EXPECT_TRUE(Add("quiet", 200));
  EXPECT_FALSE(Add("quiet", 200)) << "above its reserve of a context";
  EXPECT_TRUE(Add("quiet", 100));
  EXPECT_FALSE(Add("third", 1)) << "the reserve is used";
  for (const auto& sequence : sequences_) {
    inbox_.LeftQueue(*sequence);
    inbox_.Finished(*sequence);
  }
  EXPECT_EQ(AddAll("flood", 250), 4);
}

TEST_F(InboxTest, WithoutTenantsTheLimitIsTheLimit) {
  EXPECT_EQ(AddAll(""), 8);
  EXPECT_FALSE(Add(""));
}

}  // namespace
}  // namespace prefixd
