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
// Shared memory of a block: a tile of K and one of V (attention_tiles.h), and for each unit o of the spans so
// far, and q as the lanes read it. StagedAttentionSharedBytes in launches.h is its size.
//
// With kWarpgroup, for devices of compute capability 9.0 and teams of a multiple of four units, WarpgroupMma
// multiplies, with the operands and so with the bits of the code for one warp. All warps of four multiply at
// once: those whose rows see nothing of a tile, too, whose sums nobody reads.
#pragma once

#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/attention_unit.h"
#include "kernels/cuda/warpgroup_order.h"

namespace prefixd::cuda {

template <typename H, int D, bool kWarpgroup>
class StagedUnit {
 public:
  // For the team from `first` on.
  PREFIXD_DEVICE StagedUnit(const AttentionParams& p, UnitAt first)
      : p_(p), view_(ViewOf(p, first.Next(Unit()))), tiles_(p, first) {
    for (int half = 0; half < 2; ++half) rows_[half] = RowOf(p, view_, device::Lane() / 4 + 8 * half);
    for (int k = Part(); k < D / 16; k += kParts) {
      Fragment q;
      LoadQueries<Number>(p, view_, k * 16 + device::Lane() % 4 * 2, q.words);
      device::StoreShared(QueryAt(k), q);
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n)
      for (int i = 0; i < 4; ++i) device::StoreShared(TotalAt(n, i), 0.0f);
    if constexpr (kWarpgroup) BeginSpan();  // warps multiply before their first tile
  }

  PREFIXD_DEVICE void Run() {
    const int begin = BeginOf(tiles_.team()), end = EndOf(tiles_.team());
    const int own_begin = BeginOf(view_), own_end = EndOf(view_);
    tiles_.Copy(begin, /*values=*/false);
    tiles_.Copy(begin, /*values=*/true);
    for (int tile = begin; tile < end; tile += kTileTokens) {
      const int next = tile + kTileTokens;
      const bool own = tile >= own_begin && tile < own_end;  // the same for all lanes of a warp
      if (tile == own_begin || tile % kSpanTokens == 0) BeginSpan();
      float s[kTileTokens / 8][4] = {}, factors[2] = {};
      tiles_.Await(tile, /*values=*/false);
      if (kWarpgroup || own) Score(s);
      tiles_.Release();
      if constexpr (kParts > 1) ShareScores(own, s);
      tiles_.Copy(next, /*values=*/false, next < end);
      if (own) {
        for (int half = 0; half < 2; ++half) factors[half] = SoftmaxTile(tile, half, &rows_[half], s);
      }
      tiles_.Await(tile, /*values=*/true);
      if ((kWarpgroup || own) && tiles_.team().Differs(tile, next) && HasNonFiniteValue()) {
        if (own) AddValues<true>(tile, s, factors);
      } else if (kWarpgroup || own) {
        AddValues<false>(tile, s, factors);
      }
      tiles_.Release();
      tiles_.Copy(next, /*values=*/true, next < end);
      if (own && (next >= own_end || next % kSpanTokens == 0)) EndSpan();
    }
    tiles_.End();
    Store();
  }

 private:
  using Number = typename Kv<H>::Number;
  using Tiles = StagedTiles<H, D, kWarpgroup>;
  // Of a unit; what each has of the tokens and the dims.
  static constexpr int kParts = StagedUnitWarps(D);
  static constexpr int kUnrolledSteps = kParts > 1 ? 4 : D / 16;  // all would take more registers
  static constexpr int kScored = kTileTokens / 8 / kParts, kOwnDims = D / kParts;
  static constexpr int kTotalBytes = 4 * kUnitRows * D;
  static constexpr int kUnitBytes = kTotalBytes + 2 * kUnitRows * D;
  static constexpr int kScoreBytes = 4 * kUnitRows * kTileTokens;  // of a unit
  static_assert(D % 32 == 0 && kOwnDims % 16 == 0 &&
                (kParts == 1 || kTeamUnits * kScoreBytes <= Tiles::kTileBytes) &&
                (kParts == 1 || !kWarpgroup) &&
                StagedAttentionSharedBytes(D, 3, Tiles::kExpanded ? Kv<H>::HeadBytes(D) : 0) +
                        (kWarpgroup ? kBarrierBytes : 0) ==
                    Tiles::kBytes + 3 * kUnitBytes);

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

  // What the unit has of shared memory.
  PREFIXD_DEVICE static std::byte* OwnMemory() {
    return device::SharedMemory() + Tiles::kBytes + Unit() * kUnitBytes;
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
    PREFIXD_UNROLL
    for (int n = 0; n < kScored; ++n)
      for (int i = 0; i < 4; ++i) s[n][i] = 0;
    if constexpr (kWarpgroup)
      ScoreByWarpgroup(s);
    else
      ScoreByWarp(s);
  }
  PREFIXD_DEVICE void ScoreByWarp(float (&s)[kTileTokens / 8][4]) const {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    PREFIXD_UNROLL_STEPS
    for (int k = 0; k < D / 16; ++k) {
      const auto q = device::LoadShared<Fragment>(QueryAt(k));
      PREFIXD_UNROLL
      for (int n = 0; n < kScored; n += 2) {
        const int token = (Part() * kScored + n) * 8;
        uint32_t b[4];
        device::LoadMatrix4(b, Tiles::InTile(token + matrix / 2 * 8 + line, k * 16 + matrix % 2 * 8));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        device::Mma16816<Rounded<Number>::kHalf>(s[n], q.words, low);
        device::Mma16816<Rounded<Number>::kHalf>(s[n + 1], q.words, high);
      }
    }
  }

  PREFIXD_DEVICE void ScoreByWarpgroup(float (&s)[kTileTokens / 8][4]) const {
    const uint32_t keys = device::SharedAddress(Tiles::InTile(0, 0));
    uint32_t q[D / 16][4];
    PREFIXD_UNROLL
    for (int k = 0; k < D / 16; ++k) {
      const auto words = device::LoadShared<Fragment>(QueryAt(k));
      for (int i = 0; i < 4; ++i) q[k][i] = words.words[i];
    }
    device::BeginWarpgroupMma(s, q);
    PREFIXD_UNROLL
    for (int k = 0; k < D / 16; ++k)
      device::WarpgroupMma<Rounded<Number>::kHalf, false>(s, q[k], KeysDescriptor(keys, k, D));
    device::EndWarpgroupMma(s, q);
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
    for (int i = device::Lane(); i < Tiles::kTileBytes / 4; i += device::kWarp)
      found = HasNonFinite<Number>(
                  device::LoadShared<uint32_t>(device::SharedMemory() + Tiles::kValuesAt + i * 4)) ||
              found;
    return device::Ballot(found) != 0;
  }

  // o = o * factors + P V; kBySeen: for each row with what it sees only.
  template <bool kBySeen>
  PREFIXD_DEVICE void AddValues(int tile, const float (&s)[kTileTokens / 8][4], const float (&factors)[2]) {
    PREFIXD_UNROLL
    for (int n = 0; n < kOwnDims / 8; ++n)
      for (int i = 0; i < 4; ++i) o_[n][i] = device::Mul(o_[n][i], factors[i / 2]);
    if constexpr (kWarpgroup && !kBySeen)
      AddByWarpgroup(s);
    else
      AddByWarp<kBySeen>(tile, s);
  }
  template <bool kBySeen>
  PREFIXD_DEVICE void AddByWarp(int tile, const float (&s)[kTileTokens / 8][4]) {
    const int matrix = device::Lane() / 8, line = device::Lane() % 8;
    PREFIXD_UNROLL
    for (int k = 0; k < kTileTokens / 16; ++k) {
      uint32_t a[4];
      ProbabilitiesOf(s, k, a);
      PREFIXD_UNROLL
      for (int n = 0; n < kOwnDims / 8; n += 2) {
        uint32_t b[4];
        device::LoadMatrix4Transposed(
            b, Tiles::InTile(k * 16 + matrix % 2 * 8 + line, FirstDim() + n * 8 + matrix / 2 * 8) +
                   Tiles::kValuesAt);
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

  // The P of a lane for 16 tokens of a tile.
  PREFIXD_DEVICE static void ProbabilitiesOf(const float (&s)[kTileTokens / 8][4], int k, uint32_t (&a)[4]) {
    PREFIXD_UNROLL
    for (int i = 0; i < 4; ++i)
      a[i] = PairOf<Number>(s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1]);
  }
  PREFIXD_DEVICE void AddByWarpgroup(const float (&s)[kTileTokens / 8][4]) {
    const uint32_t values = device::SharedAddress(Tiles::InTile(0, 0) + Tiles::kValuesAt);
    uint32_t p[kTileTokens / 16][4];
    PREFIXD_UNROLL
    for (int k = 0; k < kTileTokens / 16; ++k) ProbabilitiesOf(s, k, p[k]);
    device::BeginWarpgroupMma(o_, p);
    PREFIXD_UNROLL
    for (int k = 0; k < kTileTokens / 16; ++k)
      device::WarpgroupMma<Rounded<Number>::kHalf, true>(o_, p[k], ValuesDescriptor(values, k, D));
    device::EndWarpgroupMma(o_, p);
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
  const UnitView view_;
  Tiles tiles_;
  QueryRow rows_[2];          // g and g + 8 of the lane
  float o_[kOwnDims / 8][4];  // of the span, from FirstDim() on
};

template <typename H, int D, bool kWarpgroup = false>
PREFIXD_DEVICE void Attention(const AttentionParams& p) {
  ForTeams(p, p.team, [&](UnitAt first) { StagedUnit<H, D, kWarpgroup>(p, first).Run(); });
}

}  // namespace prefixd::cuda
