// HotList: which blocks a fleet uses most, as a value that lies beside their records in a store. Each daemon
// merges into it what its own requests took from the cache; a new daemon reads it to know what to load. It
// has keys and numbers alone, neither tokens nor texts. docs/FORMAT.md has its bytes.
//
// A block has a heat: how often requests took it, each use counting half as much after each kHalfLife. Of
// several daemons the greater heat counts. So merging twice changes nothing, and what is lost because two
// daemons wrote at once comes back with the next merge.
//
// Plain value; one thread at a time. Decode accepts any bytes.
//
// Invariants
//   1. It has at most kMostBlocks blocks, each once, those of greatest heat first; of equal heat, the blocks
//      that begin a sequence first. Heats are above 0 and at most 2^24.
//   2. Where every daemon counts a block at least as often as those that follow it, no block comes before one
//      that it follows, and none is left out before those that follow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"

namespace prefixd {

struct HotBlock {
  BlockKey key;
  float heat = 0;
  uint32_t depth = 0;  // blocks before it in its sequence, as who counted it says
  friend bool operator==(const HotBlock&, const HotBlock&) = default;
};

class HotList {
 public:
  static constexpr size_t kMostBlocks = 16384;
  static constexpr double kHalfLife = 6 * 3600;  // seconds
  static constexpr size_t kHeadBytes = 40, kBlockBytes = 24, kChecksumBytes = 8;
  static constexpr size_t kMostBytes = kHeadBytes + kMostBlocks * kBlockBytes + kChecksumBytes;

  HotList() = default;
  // Any blocks; those that break the invariants are left out.
  explicit HotList(std::vector<HotBlock> blocks);

  // kCorrupt: the bytes are none of a hot list of this version and model, or damaged. `written` is when it
  // was encoded, in seconds since 1970.
  static Result<HotList> Decode(std::string_view bytes, const BlockKey& fingerprint, uint64_t* written);
  std::string Encode(const BlockKey& fingerprint, uint64_t now) const;

  // So much time has passed: heats fall, and blocks that were not used for long are left out.
  void Fade(double seconds);
  // The greater heat of each block.
  void Merge(const HotList& other);
  // Adds so many uses to the heat of each block. In any order.
  void Add(std::vector<HotBlock> uses);

  std::span<const HotBlock> blocks() const { return blocks_; }

 private:
  std::vector<HotBlock> blocks_;
};

}  // namespace prefixd
