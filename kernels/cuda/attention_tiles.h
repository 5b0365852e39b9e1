// StagedTiles<H, D, kWarpgroup>: how the blocks of attention_staged.h bring tiles of K and V into shared
// memory, one of each at a time, for a team of units. A tile has the order of a plane of kTileTokens tokens.
// Device code.
//
// Where numbers are expanded (kv_types.h), K and V are copied as they are stored, and one tile of numbers is
// made of each when it is used. With kWarpgroup, for devices of compute capability 9.0, bulk copies bring
// them (warpgroup_order.h), and their two barriers follow the tiles.
#pragma once

#include "kernels/cuda/attention_unit.h"
#include "kernels/cuda/kv_types.h"
#include "kernels/cuda/qkv_kernels.h"
#include "kernels/cuda/warpgroup_order.h"

namespace prefixd::cuda {

// All functions are collective over the block.
template <typename H, int D, bool kWarpgroup>
class StagedTiles {
 public:
  static constexpr bool kExpanded = Kv<H>::kExpanded;
  static constexpr int kTileBytes = kTileTokens * D * 2;
  // Where the copies of K and of V begin, and where V is when it is used: expanded tiles share one place.
  static constexpr int kKeysAt = kExpanded ? kTileBytes : 0;
  static constexpr int kCopyBytes = kExpanded ? kTileTokens * Kv<H>::HeadBytes(D) : kTileBytes;
  static constexpr int kValuesAt = kExpanded ? 0 : kTileBytes;
  static constexpr int kBarriersAt = kKeysAt + 2 * kCopyBytes;
  static constexpr int kBytes = kBarriersAt + (kWarpgroup ? kBarrierBytes : 0);
  static_assert(!kWarpgroup || (!kExpanded && D % 64 == 0));

  // For the team from `first` on.
  PREFIXD_DEVICE StagedTiles(const AttentionParams& p, UnitAt first) : p_(p), team_(TeamOf(p, first)) {
    if constexpr (kWarpgroup) {
      if (device::ThreadIndex() == 0) {
        device::BeginCopyBarrier(BarrierAt(false));
        device::BeginCopyBarrier(BarrierAt(true));
      }
      device::SyncThreads();
    }
  }
  // After the last tile was released.
  PREFIXD_DEVICE void End() const {
    if constexpr (kWarpgroup) {
      if (device::ThreadIndex() != 0) return;
      device::EndCopyBarrier(BarrierAt(false));
      device::EndCopyBarrier(BarrierAt(true));
    }
  }

  PREFIXD_DEVICE const UnitView& team() const { return team_; }

  // Begins the copy of the K or V of a tile, if it exists. What no row of the team sees is 0 when it was
  // awaited: nobody may have written it.
  PREFIXD_DEVICE void Copy(int tile, bool values, bool exists = true) {
    if constexpr (kWarpgroup)
      CopyByBarrier(tile, values, exists);
    else if constexpr (kExpanded)
      CopyElements(tile, values, exists);
    else
      CopyNumbers(tile, values, exists);
  }
  // Waits for the older one of the two copies in flight: of K and V in turns.
  PREFIXD_DEVICE void Await(int tile, bool values) {
    if constexpr (kWarpgroup) {
      device::AwaitCopies(BarrierAt(values), parity_);
      if (values) parity_ ^= 1;
      if (tile < team_.first_token || tile + kTileTokens - 1 > team_.last_token) ZeroUnseen(tile, values);
    } else {
      device::WaitCopies<1>();
      device::SyncThreads();
      if constexpr (kExpanded) {
        Expand(tile, values);
        device::SyncThreads();
      }
    }
  }
  // All warps have read it.
  PREFIXD_DEVICE void Release() { device::SyncThreads(); }

  // Where an element of the K that was awaited is; V is kValuesAt behind it.
  PREFIXD_DEVICE static const std::byte* InTile(int token, int d) {
    return device::SharedMemory() + PlaneOffset(token, d, D, 2, kTileTokens);
  }

 private:
  static constexpr int kChunksOfToken = D % 64 == 0 ? 8 : 4;  // that lie together, 16 bytes each

  // Four registers of a lane.
  struct alignas(16) Fragment {
    uint32_t words[4];
  };

  PREFIXD_DEVICE static std::byte* CopyAt(bool values) {
    return device::SharedMemory() + kKeysAt + (values ? kCopyBytes : 0);
  }
  PREFIXD_DEVICE static std::byte* BarrierAt(bool values) {
    return device::SharedMemory() + kBarriersAt + (values ? kBarrierBytes / 2 : 0);
  }
  // Whether a row of the team sees one of the 8 tokens from `token` on.
  PREFIXD_DEVICE bool SeesGroup(int token) const {
    return token + 7 >= team_.first_token && token <= team_.last_token;
  }

  // As one group of copies; an empty one when it does not exist.
  PREFIXD_DEVICE void CopyNumbers(int tile, bool values, bool exists) {
    for (int group = device::Warp(); exists && group < kTileTokens / 8;
         group += device::BlockThreads() / device::kWarp) {
      std::byte* to = CopyAt(values) + group * (kTileBytes / 8);
      const int token = tile + group * 8;
      const std::byte* from = p_.kv.base;
      if (SeesGroup(token)) {
        const int in_block = token % p_.kv.block_tokens;
        from = PlaneOf<H>(p_.kv, p_.tables, {token, team_.sequence}, team_.kv_head, values) +
               PlaneOffset(in_block, 0, D, 2, p_.kv.block_tokens);
      }
      PREFIXD_UNROLL
      for (int i = 0; i < D / 32; ++i, to += device::kWarp * 16) {
        const int chunk = i * device::kWarp + device::Lane();  // some of a token, then those of the next
        const bool seen = team_.Sees(token + chunk / kChunksOfToken % 8);
        device::CopyAsync16(to + device::Lane() * 16, from + (seen ? chunk * 16 : 0), seen);
      }
    }
    device::CommitCopies();
  }
  // The same of elements that are expanded, and of their scales; of 8 tokens at a time.
  PREFIXD_DEVICE void CopyElements(int tile, bool values, bool exists) {
    constexpr int kElements = D / 2, kScales = (Kv<H>::HeadBytes(D) - D) / 2;  // chunks of 16 bytes
    for (int group = device::Warp(); exists && group < kTileTokens / 8;
         group += device::BlockThreads() / device::kWarp) {
      const int token = tile + group * 8;
      const bool seen = SeesGroup(token);
      const std::byte* plane = p_.kv.base;
      if (seen) plane = PlaneOf<H>(p_.kv, p_.tables, {token, team_.sequence}, team_.kv_head, values);
      const int in_block = seen ? token % p_.kv.block_tokens : 0,
                block_tokens = seen ? p_.kv.block_tokens : 0;
      const auto copy = [&](int chunk, const std::byte* from, std::byte* to) {
        device::CopyAsync16(to + chunk * 16, seen ? from + chunk * 16 : from, seen);
      };
      PREFIXD_UNROLL
      for (int i = 0; i < kElements; i += device::kWarp) {
        if (kElements % device::kWarp == 0 || i + device::Lane() < kElements)
          copy(i + device::Lane(), plane + PlaneOffset(in_block, 0, D, 1, block_tokens),
               CopyAt(values) + group * 8 * D);
      }
      if (device::Lane() < kScales)
        copy(device::Lane(), plane + ScaleOffset(in_block, 0, D, block_tokens),
             CopyAt(values) + ScaleOffset(group * 8, 0, D, kTileTokens));
    }
    device::CommitCopies();
  }

  // The same by bulk copies, of one warp. Where somebody sees a token of a group, all 8 are copied.
  PREFIXD_DEVICE void CopyByBarrier(int tile, bool values, bool exists) const {
    if (!exists || device::Warp() != 0) return;
    const TokenRange copied = CopiedTokens(tile, kTileTokens, team_.first_token, team_.last_token);
    if (device::Lane() == 0) device::ExpectCopies(BarrierAt(values), copied.count() * 2 * D);
    device::SyncWarp();
    if (device::Lane() >= kTileTokens / 8) return;
    const TokenRange own = CopyOf(tile, device::Lane(), copied, p_.kv.block_tokens);
    if (own.count() == 0) return;
    const std::byte* const plane =
        PlaneOf<H>(p_.kv, p_.tables, {own.first, team_.sequence}, team_.kv_head, values);
    device::CopyBulk(CopyAt(values) + PlaneOffset(own.first - tile, 0, D, 2, kTileTokens),
                     plane + PlaneOffset(own.first % p_.kv.block_tokens, 0, D, 2, p_.kv.block_tokens),
                     own.count() * 2 * D, BarrierAt(values));
  }
  // Makes 0 of what no row of the team sees.
  PREFIXD_DEVICE void ZeroUnseen(int tile, bool values) const {
    for (int i = device::ThreadIndex(); i < kTileTokens * D / 8; i += device::BlockThreads()) {
      const int token = i / (D / 8), d = i % (D / 8) * 8;
      if (!team_.Sees(tile + token))
        device::StoreShared(CopyAt(values) + PlaneOffset(token, d, D, 2, kTileTokens), Fragment{});
    }
    device::PublishShared();
    device::SyncThreads();
  }

  // Makes the tile of what was copied, 8 numbers at a time; what no row of the team sees is 0.
  PREFIXD_DEVICE void Expand(int tile, bool values) const {
    const std::byte* const copy = CopyAt(values);
    for (int i = device::ThreadIndex(); i < kTileTokens * D / 8; i += device::BlockThreads()) {
      const int token = i / (D / 8), d = i % (D / 8) * 8;
      Fragment numbers = {};
      if (team_.Sees(tile + token)) {
        const auto elements = device::LoadShared<uint64_t>(copy + PlaneOffset(token, d, D, 1, kTileTokens));
        uint32_t scale = 0;
        if constexpr (kHasScales<H>)
          scale = device::LoadShared<uint16_t>(copy + ScaleOffset(token, d / kQuantBlock, D, kTileTokens));
        for (int j = 0; j < 4; ++j) {
          const uint32_t pair = static_cast<uint32_t>(elements >> (16 * j)) & 0xFFFFu;
          numbers.words[j] = Kv<H>::Expand(pair, scale * 0x10001u);
        }
      }
      device::StoreShared(device::SharedMemory() + PlaneOffset(token, d, D, 2, kTileTokens), numbers);
    }
  }

  const AttentionParams& p_;
  const UnitView team_;
  int parity_ = 0;  // of the phase of the barriers
};

}  // namespace prefixd::cuda
