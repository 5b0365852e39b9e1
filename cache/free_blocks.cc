#include "cache/free_blocks.h"

#include <bit>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr uint64_t kGroupBits = (uint64_t{1} << FreeBlocks::kGroup) - 1;
static_assert(64 % FreeBlocks::kGroup == 0);

size_t WordsFor(size_t bits) { return (bits + 63) / 64; }

void SetBit(std::vector<uint64_t>* bits, uint32_t at, bool value) {
  const uint64_t bit = uint64_t{1} << at % 64;
  uint64_t& word = (*bits)[at / 64];
  word = value ? word | bit : word & ~bit;
}

// Returns the first bit of the first group of a word of which all are set.
std::optional<uint32_t> FirstGroup(uint64_t word) {
  for (uint32_t at = 0; at < 64; at += FreeBlocks::kGroup)
    if ((word >> at & kGroupBits) == kGroupBits) return at;
  return std::nullopt;
}

}  // namespace

FreeBlocks::FreeBlocks(uint32_t capacity)
    : capacity_(capacity), free_(WordsFor(capacity)), some_(WordsFor(free_.size())), whole_(some_.size()) {
  for (BlockId block = 0; block < capacity; ++block) Add(block);
}

size_t FreeBlocks::MaxMemoryBytes(size_t capacity) {
  const size_t words = WordsFor(capacity);
  return (words + 2 * WordsFor(words)) * sizeof(uint64_t);
}

void FreeBlocks::Set(BlockId block, bool free) {
  SetBit(&free_, block, free);
  const uint64_t word = free_[block / 64];
  SetBit(&some_, block / 64, word != 0);
  SetBit(&whole_, block / 64, FirstGroup(word).has_value());
}

void FreeBlocks::Add(BlockId block) {
  PREFIXD_CHECK(block < capacity_ && !Contains(block)) << "block " << block << " of " << capacity_;
  Set(block, true);
  ++size_;
}

std::optional<uint32_t> FreeBlocks::FirstOf(const Bits& bits) {
  for (uint32_t i = 0; i < bits.size(); ++i)
    if (bits[i] != 0) return i * 64 + static_cast<uint32_t>(std::countr_zero(bits[i]));
  return std::nullopt;
}

std::optional<BlockId> FreeBlocks::Take(const BlockWish& wish) {
  if (size_ == 0) return std::nullopt;
  std::optional<BlockId> block;
  if (wish.previous != kNoBlock && (wish.previous + 1) % kGroup != 0 && Contains(wish.previous + 1)) {
    block = wish.previous + 1;
  } else if (wish.next != kNoBlock && wish.next % kGroup != 0 && Contains(wish.next - 1)) {
    block = wish.next - 1;
  } else if (const auto word = wish.place < 0 ? std::nullopt : FirstOf(whole_)) {
    block = *word * 64 + *FirstGroup(free_[*word]) + static_cast<uint32_t>(wish.place) % kGroup;
  } else {
    const std::optional<uint32_t> first = FirstOf(some_);
    PREFIXD_CHECK(first) << size_ << " blocks are free";
    block = *first * 64 + static_cast<uint32_t>(std::countr_zero(free_[*first]));
  }
  Set(*block, false);
  --size_;
  return block;
}

void FreeBlocks::CheckInvariants() const {
  uint32_t free = 0;
  for (uint32_t i = 0; i < free_.size(); ++i) {
    const uint64_t word = free_[i];
    free += static_cast<uint32_t>(std::popcount(word));
    PREFIXD_CHECK((some_[i / 64] >> i % 64 & 1) == (word != 0)) << "some of word " << i;
    PREFIXD_CHECK((whole_[i / 64] >> i % 64 & 1) == FirstGroup(word).has_value()) << "groups of word " << i;
  }
  PREFIXD_CHECK(free == size_) << free << " blocks are free, not " << size_;
}

}  // namespace prefixd
