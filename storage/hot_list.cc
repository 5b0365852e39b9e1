#include "storage/hot_list.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

constexpr std::string_view kMagic = "PFXHEAT1";
constexpr float kLeastHeat = 1.0f / 64;  // a day and a half after a single use
// Up to here a float counts one by one. So whatever somebody writes, it is forgotten within days.
constexpr float kMostHeat = 1 << 24;

bool IsHotter(const HotBlock& a, const HotBlock& b) {
  return std::tie(b.heat, a.depth, a.key) < std::tie(a.heat, b.depth, b.key);
}

// Joins the entries of each key with `join`, and puts them in order.
template <typename Join>
std::vector<HotBlock> Ordered(std::vector<HotBlock> blocks, const Join& join) {
  std::erase_if(blocks, [](const HotBlock& block) { return !std::isfinite(block.heat) || block.heat <= 0; });
  std::ranges::sort(blocks, [](const HotBlock& a, const HotBlock& b) {
    return std::tie(a.key, b.heat, a.depth) < std::tie(b.key, a.heat, b.depth);
  });
  size_t kept = 0;
  for (const HotBlock& block : blocks) {
    if (kept > 0 && blocks[kept - 1].key == block.key) {
      blocks[kept - 1].heat = join(blocks[kept - 1].heat, block.heat);
    } else {
      blocks[kept++] = block;
    }
  }
  blocks.resize(kept);
  for (HotBlock& block : blocks) block.heat = std::min(block.heat, kMostHeat);
  std::ranges::sort(blocks, IsHotter);
  if (blocks.size() > HotList::kMostBlocks) blocks.resize(HotList::kMostBlocks);
  return blocks;
}

float Greater(float a, float b) { return std::max(a, b); }

}  // namespace

HotList::HotList(std::vector<HotBlock> blocks) : blocks_(Ordered(std::move(blocks), Greater)) {}

Result<HotList> HotList::Decode(std::string_view bytes, const BlockKey& fingerprint, uint64_t* written) {
  const auto damaged = [](std::string_view what) {
    return Corrupt("the hot list of the store " + std::string(what));
  };
  if (bytes.size() < kHeadBytes + kChecksumBytes || bytes.size() > kMostBytes || !bytes.starts_with(kMagic))
    return damaged("is none of this version");
  const std::string_view content = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (GetLittle<uint64_t>(content.end()) != Checksum(std::as_bytes(std::span(content))))
    return damaged("is damaged");
  const char* const at = bytes.data();
  const BlockKey model{.low = GetLittle<uint64_t>(at + 8), .high = GetLittle<uint64_t>(at + 16)};
  if (model != fingerprint) return damaged("is of another model");
  const uint64_t count = GetLittle<uint64_t>(at + 32);
  if (count > kMostBlocks || content.size() != kHeadBytes + count * kBlockBytes)
    return damaged("has another length than it says");
  *written = GetLittle<uint64_t>(at + 24);
  std::vector<HotBlock> blocks(count);
  for (size_t i = 0; i < count; ++i) {
    const char* const block = at + kHeadBytes + i * kBlockBytes;
    blocks[i] = {.key = {.low = GetLittle<uint64_t>(block), .high = GetLittle<uint64_t>(block + 8)},
                 .heat = GetLittle<float>(block + 16),
                 .depth = GetLittle<uint32_t>(block + 20)};
  }
  return HotList(std::move(blocks));
}

std::string HotList::Encode(const BlockKey& fingerprint, uint64_t now) const {
  std::string bytes(kMagic);
  bytes.reserve(kHeadBytes + blocks_.size() * kBlockBytes + kChecksumBytes);
  PutLittle(&bytes, fingerprint.low);
  PutLittle(&bytes, fingerprint.high);
  PutLittle(&bytes, now);
  PutLittle(&bytes, static_cast<uint64_t>(blocks_.size()));
  for (const HotBlock& block : blocks_) {
    PutLittle(&bytes, block.key.low);
    PutLittle(&bytes, block.key.high);
    PutLittle(&bytes, block.heat);
    PutLittle(&bytes, block.depth);
  }
  PutLittle(&bytes, Checksum(std::as_bytes(std::span(bytes))));
  return bytes;
}

void HotList::Fade(double seconds) {
  if (seconds <= 0) return;
  const auto share = static_cast<float>(std::exp2(-seconds / kHalfLife));
  for (HotBlock& block : blocks_) block.heat *= share;  // their order stays
  std::erase_if(blocks_, [](const HotBlock& block) { return block.heat < kLeastHeat; });
}

void HotList::Merge(const HotList& other) {
  blocks_.insert(blocks_.end(), other.blocks_.begin(), other.blocks_.end());
  blocks_ = Ordered(std::move(blocks_), Greater);
}

void HotList::Add(std::vector<HotBlock> uses) {
  blocks_.insert(blocks_.end(), uses.begin(), uses.end());
  blocks_ = Ordered(std::move(blocks_), [](float a, float b) { return a + b; });
}

}  // namespace prefixd
