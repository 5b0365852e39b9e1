#include "daemon/warm_plan.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/record_chain.h"

namespace prefixd {
namespace {

using testing_support::RecordChain;
using Found = WarmPlan::Found;

constexpr BlockKey kModel{.low = 7, .high = 9};
constexpr int kBlock = 4;

class WarmPlanTest : public testing::Test {
 protected:
  static WarmPlan::Options Options() {
    return {.fingerprint = kModel, .block_tokens = kBlock, .vocab = 100, .most_depth = 8};
  }
  // Puts the next block of a chain into the store, with tokens that begin with `token`.
  BlockKey Put(RecordChain* chain, TokenId token) {
    const std::vector<TokenId> tokens(kBlock, token);
    const StoreEntry entry = chain->Next(tokens, 64);
    heads_[entry.key] = entry.record.substr(0, WarmPlan::HeadBytes(kBlock));
    return entry.key;
  }
  Found Add(const BlockKey& key) { return plan_.Add(key, heads_[key]); }

  std::map<BlockKey, std::string> heads_;
  WarmPlan plan_{Options()};
};

TEST_F(WarmPlanTest, ChainsBeginAtTheRootAndTheHottestComeFirst) {
  RecordChain trunk(kModel, "");
  const BlockKey root = trunk.root();
  const BlockKey a = Put(&trunk, 1), b = Put(&trunk, 2);
  RecordChain left = trunk, right = trunk, other(kModel, "salt");
  const BlockKey l = Put(&left, 3), r = Put(&right, 4), r2 = Put(&right, 5), o = Put(&other, 1);
  for (const BlockKey& key : {a, b, r, o, l, r2}) ASSERT_EQ(Add(key), Found::kBlock);
  EXPECT_EQ(plan_.blocks(), 6u);
  auto chain = plan_.Next();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->root, root);
  EXPECT_EQ(chain->tokens, (std::vector<TokenId>{1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 5, 5, 5, 5}));
  EXPECT_EQ(chain->blocks, (std::vector<size_t>{0, 1, 2, 5}));
  chain = plan_.Next();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->root, other.root());
  EXPECT_EQ(chain->blocks, (std::vector<size_t>{3}));
  chain = plan_.Next();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->blocks, (std::vector<size_t>{0, 1, 4}));
  EXPECT_FALSE(plan_.Next());
}

TEST_F(WarmPlanTest, WhatIsNotThereIsMissingWithAllThatFollows) {
  RecordChain chain(kModel, "");
  const BlockKey a = Put(&chain, 1), b = Put(&chain, 2), c = Put(&chain, 3);
  heads_[b].clear();
  EXPECT_EQ(Add(a), Found::kBlock);
  EXPECT_EQ(Add(b), Found::kMissing);
  EXPECT_EQ(Add(c), Found::kMissing);
  EXPECT_EQ(plan_.Next()->blocks.size(), 1u);
}

TEST_F(WarmPlanTest, AHeadProvesItsBlock) {
  RecordChain chain(kModel, ""), strange({.low = 1, .high = 1}, ""), large(kModel, "");
  const BlockKey a = Put(&chain, 1), b = Put(&chain, 2);
  for (size_t at = 0; at < heads_[a].size(); ++at) {
    std::string damaged = heads_[a];
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_EQ(plan_.Add(a, damaged), Found::kDamaged) << at;
    if (at > 0) EXPECT_EQ(plan_.Add(a, heads_[a].substr(0, at)), Found::kDamaged) << at;
  }
  EXPECT_EQ(plan_.Add(a, heads_[b]), Found::kDamaged) << "of another block";
  const BlockKey s = Put(&strange, 1);
  EXPECT_EQ(Add(s), Found::kDamaged) << "of another model";
  const BlockKey l = Put(&large, 100);
  EXPECT_EQ(Add(l), Found::kDamaged) << "a token that the model does not have";
  EXPECT_EQ(plan_.blocks(), 0u);
  EXPECT_EQ(Add(a), Found::kBlock);
  EXPECT_EQ(Add(a), Found::kDamaged) << "once";
}

TEST_F(WarmPlanTest, AChainOfAnotherNamespaceIsNotContinued) {
  RecordChain chain(kModel, "");
  const BlockKey a = Put(&chain, 1);
  ASSERT_EQ(Add(a), Found::kBlock);
  // It says that it continues `a`, and that its root is another one.
  const std::vector<TokenId> tokens(kBlock, 2);
  const BlockKey key = ChildKey(a, tokens);
  const RecordIdentity identity{.fingerprint = kModel,
                                .root = RootKey(kModel, "other"),
                                .key = key,
                                .parent = a,
                                .prefix_check = 1,
                                .tokens = tokens};
  const std::string record = EncodeRecord(identity, 0, StoredPayload{});
  EXPECT_EQ(plan_.Add(key, record), Found::kDamaged);
}

TEST_F(WarmPlanTest, NoChainIsLongerThanAContext) {
  RecordChain chain(kModel, "");
  for (TokenId token = 0; token < 8; ++token) EXPECT_EQ(Add(Put(&chain, token)), Found::kBlock);
  EXPECT_EQ(Add(Put(&chain, 8)), Found::kDamaged);
}

}  // namespace
}  // namespace prefixd
