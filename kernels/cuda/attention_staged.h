// Attention<H, D>: attention over 16-bit KV whose planes have the swizzled order of kv_order.h, for the head
// sizes that have an instance. A block copies the K and the V of a tile into shared memory, straight, while
// it computes with the V and the K before. A unit of the team has a warp, which holds o in registers; a warp
// whose rows see nothing of a tile leaves it out. Device code; numerics.h, rule 6, has the arithmetic, and
// AttentionHalf in attention_kernels.h the same one with plain loads.
//
// Heads of more than 128 dims have more of o than a warp has registers for. Their units have two warps, its
// parts: each multiplies q by half of the tokens of a tile, they exchange the scores, and both go on with all
// of them, each with its half of the dims of V and o. No sum is cut, so the bits are those of one warp.
//
// Shared memory of a block: the K of a tile, its V, each in the order of a plane of kTileTokens tokens, and
// for each unit o of the spans so far, and q as the lanes read it. Where numbers are expanded (kv_types.h), K
// and V are copied as they are stored, and one tile of numbers is made of each when it is used; all that
// follows is the code for 16 bits. StagedAttentionSharedBytes in launches.h is its size.
#pragma once

#include "kernels/cuda/attention_unit.h"
#include "kernels/cuda/kv_types.h"
#include "kernels/cuda/qkv_kernels.h"

namespace prefixd::cuda {

template <typename H, int D>
class StagedUnit {
 public:
  // For the team from `first` on.
  PREFIXD_DEVICE StagedUnit(const AttentionParams& p, UnitAt first)
      : p_(p), team_(TeamOf(p, first)), view_(ViewOf(p, first.Next(Unit()))) {
    for (int half = 0; half < 2; ++half) rows_[half] = RowOf(p, view_, device::Lane() / 4 + 8 * half);
    for (int k = Part(); k < D / 16; k += kParts) {
      Fragment q;
      LoadQueries<Number>(p, view_, k * 16 + device::Lane() % 4 * 2, q.words);
      device::StoreShared(QueryAt(k), q);
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n)
      for (int i = 0; i < 4; ++i) device::StoreShared(TotalAt(n, i), 0.0f);
  }

  PREFIXD_DEVICE void Run() {
    const int begin = BeginOf(team_), end = EndOf(team_);
    const int own_begin = BeginOf(view_), own_end = EndOf(view_);
    CopyTile(begin, /*values=*/false);
    CopyTile(begin, /*values=*/true);
    for (int tile = begin; tile < end; tile += kTileTokens) {
      const int next = tile + kTileTokens;
      const bool own = tile >= own_begin && tile < own_end;  // the same for all lanes of a warp
      if (tile == own_begin || tile % kSpanTokens == 0) BeginSpan();
      float s[kTileTokens / 8][4] = {}, factors[2] = {};
      AwaitTile(tile, /*values=*/false);
      if (own) Score(s);
      ReleaseTile();
      if constexpr (kParts > 1) ShareScores(own, s);
      CopyTile(next, /*values=*/false, next < end);
      if (own) {
        for (int half = 0; half < 2; ++half) factors[half] = SoftmaxTile(tile, half, &rows_[half], s);
      }
      AwaitTile(tile, /*values=*/true);
      if (own && team_.Differs(tile, next) && HasNonFiniteValue())
        AddValues<true>(tile, s, factors);
      else if (own)
        AddValues<false>(tile, s, factors);
      ReleaseTile();
      CopyTile(next, /*values=*/true, next < end);
      if (own && (next >= own_end || next % kSpanTokens == 0)) EndSpan();
    }
    Store();
  }

 private:
  using Number = typename Kv<H>::Number;
  static constexpr bool kExpanded = Kv<H>::kExpanded;
  // Of a unit; what each has of the tokens and the dims.
  static constexpr int kParts = StagedUnitWarps(D);
  static constexpr int kUnrolledSteps = kParts > 1 ? 4 : D / 16;  // all would take more registers
  static constexpr int kScored = kTileTokens / 8 / kParts, kOwnDims = D / kParts;
  static constexpr int kTileBytes = kTileTokens * D * 2;
  // Where the copies of K and of V begin, and where V is when it is used: expanded tiles share one place.
  static constexpr int kKeysAt = kExpanded ? kTileBytes : 0;
  static constexpr int kCopyBytes = kExpanded ? kTileTokens * Kv<H>::HeadBytes(D) : kTileBytes;
  static constexpr int kValuesAt = kExpanded ? 0 : kTileBytes;
  static constexpr int kOperandBytes = kKeysAt + 2 * kCopyBytes;
  static constexpr int kTotalBytes = 4 * kUnitRows * D;
  static constexpr int kUnitBytes = kTotalBytes + 2 * kUnitRows * D;
  static constexpr int kScoreBytes = 4 * kUnitRows * kTileTokens;  // of a unit
  static_assert(D % 32 == 0 && kOwnDims % 16 == 0 &&
                (kParts == 1 || kTeamUnits * kScoreBytes <= kTileBytes) &&
                StagedAttentionSharedBytes(D, 3, kExpanded ? Kv<H>::HeadBytes(D) : 0) ==
                    kOperandBytes + 3 * kUnitBytes);
  static constexpr int kChunksOfToken = D % 64 == 0 ? 8 : 4;  // that lie together, 16 bytes each

  // Four registers of a lane.
  struct alignas(16) Fragment {
    uint32_t words[4];
  };

  // The unit of the team that a warp has, and which part of it.
  PREFIXD_DEVICE static int Unit() { return device::Warp() / kParts; }
  PREFIXD_DEVICE static int Part() { return device::Warp() % kParts; }
  PREFIXD_DEVICE static int FirstDim() { return Part() * kOwnDims; }

  // The tiles of a unit or a team, from the first to before the last.
  PREFIXD_DEVICE static int BeginOf(const UnitView& view) {
    const int first_span = view.unit.first_span * kSpanTokens;
    const int first_tile = view.first_token / kTileTokens * kTileTokens;
    return first_span < first_tile ? first_tile : first_span;
  }
  PREFIXD_DEVICE static int EndOf(const UnitView& view) {
    const int end = (view.unit.first_span + view.unit.spans) * kSpanTokens;
    return end <= view.last_token ? end : view.last_token + 1;
  }

  // Whether a row of the team sees one of the 8 tokens from `token` on.
  PREFIXD_DEVICE bool SeesGroup(int token) const {
    return token + 7 >= team_.first_token && token <= team_.last_token;
  }

  // Begins the copy of the K or V of a tile, as one group of copies; an empty one when it does not exist.
  // What no row of the team sees is 0: nobody may have written it.
  PREFIXD_DEVICE void CopyTile(int tile, bool values, bool exists = true) {
    if constexpr (kExpanded) return CopyElements(tile, values, exists);
    for (int group = device::Warp(); exists && group < kTileTokens / 8; group += p_.team * kParts) {
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
    for (int group = device::Warp(); exists && group < kTileTokens / 8; group += p_.team * kParts) {
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

  // Waits for the older one of the two copies in flight.
  PREFIXD_DEVICE void AwaitTile(int tile, bool values) {
    device::WaitCopies<1>();
    device::SyncThreads();
    if constexpr (kExpanded) {
      Expand(tile, values);
      device::SyncThreads();
    }
  }
  // All warps have read it.
  PREFIXD_DEVICE void ReleaseTile() { device::SyncThreads(); }

  PREFIXD_DEVICE static std::byte* CopyAt(bool values) {
    return device::SharedMemory() + kKeysAt + (values ? kCopyBytes : 0);
  }
  PREFIXD_DEVICE static const std::byte* InTile(int token, int d) {
    return device::SharedMemory() + PlaneOffset(token, d, D, 2, kTileTokens);
  }
  // What the unit has of shared memory.
  PREFIXD_DEVICE static std::byte* OwnMemory() {
    return device::SharedMemory() + kOperandBytes + Unit() * kUnitBytes;
  }
  // Of the spans so far; each lane has words of its own.
  PREFIXD_DEVICE static float* TotalAt(int n, int i) {
    return reinterpret_cast<float*>(OwnMemory()) + ((FirstDim() / 8 + n) * 4 + i) * device::kWarp +
           device::Lane();
  }

  // A of the products with 16 dimensions of K; each lane has words of its own, for all parts of the unit.
  PREFIXD_DEVICE static std::byte* QueryAt(int k) {
    return OwnMemory() + kTotalBytes + (k * device::kWarp + device::Lane()) * 16;
  }

  PREFIXD_DEVICE void BeginSpan() {
    for (QueryRow& row : rows_) {
      row.m = NegativeInfinity();
      row.l = 0;
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n)
      for (int i = 0; i < 4; ++i) o_[n][i] = 0;
  }

  // The scores of the tokens of this part, which are the first ones of s.
  PREFIXD_DEVICE void Score(float (&s)[kTileTokens / 8][4]) {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    PREFIXD_UNROLL
    for (int n = 0; n < kScored; ++n)
      for (int i = 0; i < 4; ++i) s[n][i] = 0;
    PREFIXD_UNROLL_STEPS
    for (int k = 0; k < D / 16; ++k) {
      const auto q = device::LoadShared<Fragment>(QueryAt(k));
      PREFIXD_UNROLL
      for (int n = 0; n < kScored; n += 2) {
        const int token = (Part() * kScored + n) * 8;
        uint32_t b[4];
        device::LoadMatrix4(b, InTile(token + matrix / 2 * 8 + line, k * 16 + matrix % 2 * 8));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        device::Mma16816<Rounded<Number>::kHalf>(s[n], q.words, low);
        device::Mma16816<Rounded<Number>::kHalf>(s[n + 1], q.words, high);
      }
    }
  }

  // Makes s the scores of all parts. They go through the place of K, which all warps have read. Collective
  // over the block.
  PREFIXD_DEVICE static void ShareScores(bool own, float (&s)[kTileTokens / 8][4]) {
    const auto at = [](int n, int i) {
      return reinterpret_cast<float*>(device::SharedMemory() + Unit() * kScoreBytes) +
             (n * 4 + i) * device::kWarp + device::Lane();
    };
    if (own) {
      PREFIXD_UNROLL
      for (int n = 0; n < kScored; ++n)
        for (int i = 0; i < 4; ++i) device::StoreShared(at(Part() * kScored + n, i), s[n][i]);
    }
    device::SyncThreads();
    if (own) {
      PREFIXD_UNROLL
      for (int n = 0; n < kTileTokens / 8; ++n)
        for (int i = 0; i < 4; ++i) s[n][i] = device::LoadShared<float>(at(n, i));
    }
    device::SyncThreads();
  }

  // Whether V of the tile has an infinity or a NaN. Collective over the warp.
  PREFIXD_DEVICE static bool HasNonFiniteValue() {
    bool found = false;
    for (int i = device::Lane(); i < kTileBytes / 4; i += device::kWarp)
      found =
          HasNonFinite<Number>(device::LoadShared<uint32_t>(device::SharedMemory() + kValuesAt + i * 4)) ||
          found;
    return device::Ballot(found) != 0;
  }

  // o = o * factors + P V; kBySeen: for each row with what it sees only.
  template <bool kBySeen>
  PREFIXD_DEVICE void AddValues(int tile, const float (&s)[kTileTokens / 8][4], const float (&factors)[2]) {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n)
      for (int i = 0; i < 4; ++i) o_[n][i] = device::Mul(o_[n][i], factors[i / 2]);
    PREFIXD_UNROLL
    for (int k = 0; k < kTileTokens / 16; ++k) {
      const uint32_t a[4] = {
          PairOf<Number>(s[2 * k][0], s[2 * k][1]), PairOf<Number>(s[2 * k][2], s[2 * k][3]),
          PairOf<Number>(s[2 * k + 1][0], s[2 * k + 1][1]), PairOf<Number>(s[2 * k + 1][2], s[2 * k + 1][3])};
      PREFIXD_UNROLL
      for (int n = 0; n < kOwnDims / 8; n += 2) {
        uint32_t b[4];
        device::LoadMatrix4Transposed(
            b, InTile(k * 16 + matrix % 2 * 8 + line, FirstDim() + n * 8 + matrix / 2 * 8) + kValuesAt);
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        if constexpr (kBySeen) {
          AddSeenValues<Number>(view_, tile + k * 16, a, low, o_[n]);
          AddSeenValues<Number>(view_, tile + k * 16, a, high, o_[n + 1]);
        } else {
          device::Mma16816<Rounded<Number>::kHalf>(o_[n], a, low);
          device::Mma16816<Rounded<Number>::kHalf>(o_[n + 1], a, high);
        }
      }
    }
  }

  PREFIXD_DEVICE void EndSpan() {
    FoldFactors f[2];
    for (int half = 0; half < 2; ++half) {
      QueryRow& row = rows_[half];
      f[half] = FactorsOf(row.total_m, row.m, row.l);
      row.total_l = FoldInto(f[half], row.total_l, row.l);
      if (!f[half].skip) row.total_m = Larger(row.total_m, row.m);
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n) {
      for (int i = 0; i < 4; ++i) {
        float* const at = TotalAt(n, i);
        device::StoreShared(at, FoldInto(f[i / 2], device::LoadShared<float>(at), o_[n][i]));
      }
    }
  }

  PREFIXD_DEVICE void Store() {
    for (int half = 0; half < 2; ++half) {
      const int row = device::Lane() / 4 + 8 * half;
      if (row >= view_.query_rows()) continue;
      float* const partial = PartialOf(p_, view_, row);
      if (Part() == 0 && device::Lane() % 4 == 0) {
        device::StoreGlobal(partial, rows_[half].total_m);
        device::StoreGlobal(partial + 1, rows_[half].total_l);
      }
      for (int n = 0; n < kOwnDims / 8; ++n) {
        float* const to = partial + 2 + FirstDim() + n * 8 + device::Lane() % 4 * 2;
        for (int i = 0; i < 2; ++i)
          device::StoreGlobal(to + i, device::LoadShared<float>(TotalAt(n, 2 * half + i)));
      }
    }
  }

  const AttentionParams& p_;
  const UnitView team_, view_;
  QueryRow rows_[2];          // g and g + 8 of the lane
  float o_[kOwnDims / 8][4];  // of the span, from FirstDim() on
};

template <typename H, int D>
PREFIXD_DEVICE void Attention(const AttentionParams& p) {
  ForTeams(p, p.team, [&](UnitAt first) { StagedUnit<H, D>(p, first).Run(); });
}

}  // namespace prefixd::cuda
