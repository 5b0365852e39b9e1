#include "storage/hot_list.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace prefixd {
namespace {

constexpr BlockKey kModel{.low = 7, .high = 9};

BlockKey Key(uint64_t n) { return {.low = n, .high = ~n}; }
HotBlock Block(uint64_t n, float heat, uint32_t depth = 0) {
  return {.key = Key(n), .heat = heat, .depth = depth};
}
std::vector<uint64_t> Numbers(const HotList& list) {
  std::vector<uint64_t> numbers;
  for (const HotBlock& block : list.blocks()) numbers.push_back(block.key.low);
  return numbers;
}
Result<HotList> Decode(std::string_view bytes) {
  uint64_t written = 0;
  return HotList::Decode(bytes, kModel, &written);
}

TEST(HotList, TheHottestComeFirstAndParentsBeforeChildren) {
  const HotList list({Block(3, 1, 2), Block(1, 5, 0), Block(2, 1, 1), Block(4, 5, 1)});
  EXPECT_EQ(Numbers(list), (std::vector<uint64_t>{1, 4, 2, 3}));
}

TEST(HotList, MergingTwiceChangesNothing) {
  HotList list({Block(1, 4), Block(2, 2, 1)});
  const HotList other({Block(2, 3, 1), Block(5, 1)});
  list.Merge(other);
  ASSERT_EQ(Numbers(list), (std::vector<uint64_t>{1, 2, 5}));
  EXPECT_EQ(list.blocks()[1].heat, 3);
  const std::string once = list.Encode(kModel, 1);
  list.Merge(other);
  EXPECT_EQ(list.Encode(kModel, 1), once);
}

TEST(HotList, UsesFade) {
  HotList list;
  list.Add({Block(1, 4)});
  list.Fade(2 * HotList::kHalfLife);
  ASSERT_EQ(list.blocks().size(), 1u);
  EXPECT_FLOAT_EQ(list.blocks()[0].heat, 1);
  list.Add({Block(1, 2), Block(2, 2)});
  EXPECT_FLOAT_EQ(list.blocks()[0].heat, 3);
  list.Fade(-5);
  EXPECT_FLOAT_EQ(list.blocks()[0].heat, 3) << "a clock that goes back changes nothing";
  list.Fade(7 * HotList::kHalfLife);
  EXPECT_EQ(Numbers(list), (std::vector<uint64_t>{1, 2}));
  list.Fade(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(list.blocks().empty());
}

// Whatever several daemons count, as long as each counts from the beginning of prompts.
TEST(HotList, WhatFollowsABlockNeverComesBeforeIt) {
  constexpr size_t kDepth = 40;
  std::mt19937 random(3);
  HotList fleet;
  for (int daemon = 0; daemon < 5; ++daemon) {
    HotList own;
    for (int turn = 0; turn < 30; ++turn) {
      std::vector<HotBlock> uses;
      const uint64_t prompts = 600;
      for (uint64_t prompt = 0; prompt < prompts; ++prompt) {
        const auto hits = static_cast<float>(1 + random() % 5);
        const auto blocks = static_cast<uint32_t>(random() % (kDepth + 1));
        for (uint32_t depth = 0; depth < blocks; ++depth)
          uses.push_back(Block(1 + prompt * kDepth + depth, hits, depth));
      }
      own.Add(std::move(uses));
      own.Fade(static_cast<double>(random() % 10000));
    }
    fleet.Merge(own);
  }
  EXPECT_EQ(fleet.blocks().size(), HotList::kMostBlocks) << "more were used";
  std::vector<uint32_t> next(600);
  for (const HotBlock& block : fleet.blocks()) {
    const uint64_t prompt = (block.key.low - 1) / kDepth;
    ASSERT_EQ(block.depth, next[prompt]++) << prompt;
  }
}

TEST(HotList, WhatIsWrittenIsRead) {
  std::vector<HotBlock> blocks;
  for (uint64_t n = 0; n < 100; ++n) blocks.push_back(Block(n, static_cast<float>(n + 1), 3));
  const HotList list(blocks);
  uint64_t written = 0;
  const Result<HotList> read = HotList::Decode(list.Encode(kModel, 1234), kModel, &written);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(written, 1234u);
  EXPECT_TRUE(std::ranges::equal(read->blocks(), list.blocks()));
}

TEST(HotList, EveryDamageIsFound) {
  const std::string bytes = HotList({Block(1, 4), Block(2, 2)}).Encode(kModel, 5);
  ASSERT_TRUE(Decode(bytes).ok());
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    EXPECT_EQ(Decode(damaged).status().code(), Code::kCorrupt) << at;
    EXPECT_EQ(Decode(bytes.substr(0, at)).status().code(), Code::kCorrupt) << at;
  }
  EXPECT_EQ(Decode(bytes + "x").status().code(), Code::kCorrupt);
  EXPECT_EQ(Decode(std::string(2 * HotList::kMostBytes, 'x')).status().code(), Code::kCorrupt);
  uint64_t written = 0;
  EXPECT_FALSE(HotList::Decode(bytes, {.low = 1, .high = 1}, &written).ok()) << "of another model";
}

TEST(HotList, ItIsBoundedWhateverSomebodyWrites) {
  std::vector<HotBlock> blocks;
  for (uint64_t n = 0; n < 3 * HotList::kMostBlocks; ++n) blocks.push_back(Block(n, 1e30f));
  blocks.push_back(Block(1, std::numeric_limits<float>::quiet_NaN()));
  blocks.push_back(Block(2, std::numeric_limits<float>::infinity()));
  blocks.push_back(Block(3, -1));
  HotList list(blocks);
  EXPECT_EQ(list.blocks().size(), HotList::kMostBlocks);
  EXPECT_EQ(list.Encode(kModel, 0).size(), HotList::kMostBytes);
  list.Fade(31 * HotList::kHalfLife);
  EXPECT_TRUE(list.blocks().empty()) << "what was never used is forgotten";
}

}  // namespace
}  // namespace prefixd
