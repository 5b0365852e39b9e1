#include "engine/other_models.h"

#include <gtest/gtest.h>

#include <numeric>
#include <utility>

#include "cache/block_keys.h"

namespace prefixd {
namespace {

constexpr BlockKey kModel{.low = 1, .high = 2}, kOther{.low = 3, .high = 4};
const CacheNamespace kShared, kSalted{.salt = "s"}, kTenant{.tenant = "t"};

std::vector<TokenId> Prompt(int tokens, TokenId first = 100) {
  std::vector<TokenId> prompt(static_cast<size_t>(tokens));
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}

std::vector<BlockKey> KeysOf(const BlockKey& model, const CacheNamespace& space, int block_tokens,
                             const std::vector<TokenId>& prompt) {
  BlockKeys keys(RootKey(model, space.tenant, space.salt), block_tokens);
  keys.Extend(prompt);
  return {keys.keys().begin(), keys.keys().end()};
}

TEST(OtherModels, FindsTheBlocksOfAPromptUpToTheFirstThatIsMissing) {
  OtherModels models;
  const std::vector<TokenId> prompt = Prompt(70);
  EXPECT_EQ(models.FindPrefix(kShared, prompt), 0);
  std::vector<BlockKey> keys = KeysOf(kModel, kShared, 16, prompt);
  models.Add(kModel, 16, keys);
  EXPECT_EQ(models.FindPrefix(kShared, prompt), 64);
  EXPECT_EQ(models.FindPrefix(kShared, Prompt(40)), 32);
  EXPECT_EQ(models.FindPrefix(kShared, Prompt(40, 101)), 0);
  keys = KeysOf(kOther, kShared, 32, Prompt(128));
  keys.erase(keys.begin() + 3);
  models.Add(kOther, 32, keys);
  EXPECT_EQ(models.FindPrefix(kShared, Prompt(200)), 96) << "blocks of another size, and the longer of both";
}

TEST(OtherModels, ANamespaceSeesItsOwnRecordsAlone) {
  OtherModels models;
  const std::vector<TokenId> prompt = Prompt(32);
  models.Add(kModel, 16, KeysOf(kModel, kTenant, 16, prompt));
  EXPECT_EQ(models.FindPrefix(kTenant, prompt), 32);
  for (const CacheNamespace& space :
       {kShared, kSalted, CacheNamespace{.tenant = "u"}, CacheNamespace{.tenant = "t", .salt = "s"}})
    EXPECT_EQ(models.FindPrefix(space, prompt), 0) << space.tenant << space.salt;
}

TEST(OtherModels, IsBounded) {
  OtherModels models;
  for (const int block_tokens : {0, -1, OtherModels::kMostBlockTokens + 1})
    models.Add(kModel, block_tokens, {});
  for (uint64_t i = 0; i < OtherModels::kMostModels; ++i) models.Add({.low = 10 + i}, 16, {});
  models.Add(kModel, 16, KeysOf(kModel, kShared, 16, Prompt(32)));
  EXPECT_EQ(models.FindPrefix(kShared, Prompt(32)), 0) << "one model more than it knows";

  OtherModels many;
  std::vector<BlockKey> keys;
  for (uint64_t i = 0; i < OtherModels::kMostKeys; ++i) keys.push_back({.low = i, .high = 7});
  many.Add(kModel, 16, keys);
  many.Add(kModel, 16, KeysOf(kModel, kShared, 16, Prompt(32)));
  EXPECT_EQ(many.FindPrefix(kShared, Prompt(32)), 0) << "more keys than it knows";
}

}  // namespace
}  // namespace prefixd
