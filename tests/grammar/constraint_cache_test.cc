// Memory of compiled formats: what they take is counted and bounded, whatever clients ask for.
#include "grammar/constraint_cache.h"

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace prefixd::grammar {
namespace {

constexpr size_t kMaskBytes = 20'000;

std::shared_ptr<const Vocabulary> Letters() {
  std::vector<std::string> texts(1);
  for (char a = 'a'; a <= 'z'; ++a)
    for (char b = 'a'; b <= 'z'; ++b) texts.push_back({a, b});
  const auto size = static_cast<int>(texts.size());
  return std::make_shared<const Vocabulary>(std::move(texts), std::vector<TokenId>{0}, size);
}

ConstraintSpec Regex(std::string text) {
  return {.kind = ConstraintSpec::Kind::kRegex, .text = std::move(text)};
}

// Draws the first token of every mask, so that masks are kept.
void Follow(const std::shared_ptr<const Constraint>& constraint, int steps) {
  ConstraintState state(constraint);
  for (int i = 0; i < steps && !state.complete(); ++i) {
    const auto mask = state.Mask();
    ASSERT_NE(mask, nullptr);
    size_t word = 0;
    while (word < mask->size() && (*mask)[word] == 0) ++word;
    ASSERT_LT(word, mask->size());
    state.Append(static_cast<TokenId>(word * 32 + static_cast<size_t>(std::countr_zero((*mask)[word]))));
  }
}

TEST(ConstraintCache, CountsWhatFormatsTake) {
  ConstraintCache cache(Letters(), {.most_cached = 2, .most_bytes = 1 << 20, .most_mask_bytes = kMaskBytes});
  EXPECT_EQ(cache.counts().bytes, 0u);
  const auto one = cache.Get(Regex("[a-m]{8}"));
  ASSERT_TRUE(one.ok());
  const size_t alone = cache.counts().bytes;
  EXPECT_GE(alone, one->constraint->bytes());
  EXPECT_LE(alone, one->constraint->bytes() + 100);
  Follow(one->constraint, 4);
  EXPECT_GT(cache.counts().bytes, alone) << "masks are kept";
  EXPECT_LE(cache.counts().bytes, alone + kMaskBytes);
  {
    const auto other = cache.Get(Regex("[n-z]{8}"));
    ASSERT_TRUE(other.ok());
  }
  EXPECT_EQ(cache.Get(Regex("[a-m]{8}"))->constraint, one->constraint);
  EXPECT_EQ(cache.counts().compiled, 2u);
  // The third replaces the one used last before it, which no request has.
  const size_t both = cache.counts().bytes;
  ASSERT_TRUE(cache.Get(Regex("[c-d]{8}")).ok());
  EXPECT_LT(cache.counts().bytes, both + 4000);
  EXPECT_EQ(cache.Get(Regex("[a-m]{8}"))->constraint, one->constraint);
}

TEST(ConstraintCache, RefusesFormatsBeyondItsBytesAndTakesThemLater) {
  constexpr size_t kMost = 100'000;
  ConstraintCache cache(Letters(), {.most_cached = 50, .most_bytes = kMost, .most_mask_bytes = kMaskBytes});
  std::vector<std::shared_ptr<const Constraint>> held;
  Status refused = Status::Ok();
  for (int i = 1; i < 200 && refused.ok(); ++i) {
    const auto made = cache.Get(Regex("[a-z]{" + std::to_string(2 * i) + "}"));
    EXPECT_LE(cache.counts().bytes, kMost);
    if (made.ok()) {
      Follow(made->constraint, 3);
      held.push_back(made->constraint);
    } else {
      refused = made.status();
    }
  }
  EXPECT_EQ(refused.code(), Code::kUnavailable) << refused.ToString();
  EXPECT_GT(held.size(), 3u);
  // Masks are made without room to keep them, and are the same.
  ConstraintCache large(Letters(), {});
  const auto same = large.Get(Regex("[a-z]{4}"));
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(*ConstraintState(held[1]).Mask(), *ConstraintState(same->constraint).Mask());
  EXPECT_LE(cache.counts().bytes, kMost);
  // What no request has any more is forgotten for a new one.
  held.clear();
  EXPECT_TRUE(cache.Get(Regex("[b-y]{70}")).ok());
  EXPECT_LE(cache.counts().bytes, kMost);
}

TEST(ConstraintCache, GivesBackWhatWasRefused) {
  ConstraintCache cache(Letters(), {.most_cached = 0});
  EXPECT_FALSE(cache.Get(Regex("[a-z")).ok());
  EXPECT_FALSE(cache.Get(Regex("a{1,9999}{1,9999}{1,9999}")).ok());
  EXPECT_FALSE(cache.Get(Regex(std::string(ConstraintCache::kMostSpecBytes, 'a'))).ok());
  EXPECT_EQ(cache.counts().bytes, 0u);
  {
    const auto made = cache.Get(Regex("[a-z]{4}"));
    ASSERT_TRUE(made.ok());
    EXPECT_GT(cache.counts().bytes, 0u);
  }
  EXPECT_EQ(cache.counts().bytes, 0u);
}

}  // namespace
}  // namespace prefixd::grammar
