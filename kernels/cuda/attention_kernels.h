// Attention over the KV of the pool, a warp for each unit, and the fold of partials. Device code;
// kernel_table.h states what each does, numerics.h, rule 6, the arithmetic. The kernels here serve every
// shape: they read KV from global memory, a fragment at a time. attention_staged.h has those of usual head
// sizes.
#pragma once

#include "kernels/cuda/attention_staged.h"
#include "kernels/cuda/attention_unit.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/cuda/qkv_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

// --- KV of 16 bits, or expanded to them: tensor cores ---

// Two neighbouring elements of K of a token; 0 beyond the head and beyond what the unit sees.
template <typename H>
PREFIXD_DEVICE uint32_t PairOfKeys(const AttentionParams& p, const UnitView& view, int token, int d) {
  if (!view.Sees(token) || d >= view.head_dim) return 0;
  const std::byte* const plane =
      PlaneOf<H>(p.kv, p.tables, {token, view.sequence}, view.kv_head, /*values=*/false);
  return PairInPlane<H>(p.kv, plane, token % p.kv.block_tokens, d);
}

// V of two neighbouring tokens; 0 as above.
template <typename H>
PREFIXD_DEVICE uint32_t PairOfValues(const AttentionParams& p, const UnitView& view, int token, int d) {
  uint32_t pair = 0;
  for (int i = 0; i < 2; ++i) {
    if (!view.Sees(token + i) || d >= view.head_dim) continue;
    const std::byte* const plane =
        PlaneOf<H>(p.kv, p.tables, {token + i, view.sequence}, view.kv_head, /*values=*/true);
    const uint16_t value = NumberInPlane<H>(p.kv, plane, (token + i) % p.kv.block_tokens, d);
    pair |= static_cast<uint32_t>(value) << (16 * i);
  }
  return pair;
}

// Scores of the 64 tokens from `tile` on, as the accumulators of a lane have them.
template <typename H>
PREFIXD_DEVICE void ScoreTile(const AttentionParams& p, const UnitView& view, int tile, float (&s)[8][4]) {
  using Number = typename Kv<H>::Number;
  const int pair = device::Lane() % 4 * 2, line = device::Lane() / 4;
  for (int n = 0; n < 8; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
  for (int d = 0; d < view.head_dim; d += 16) {
    uint32_t a[4];
    LoadQueries<Number>(p, view, d + pair, a);
    for (int n = 0; n < 8; ++n) {
      const int token = tile + n * 8 + line;
      const uint32_t b[2] = {PairOfKeys<H>(p, view, token, d + pair),
                             PairOfKeys<H>(p, view, token, d + pair + 8)};
      device::Mma16816<Rounded<Number>::kHalf>(s[n], a, b);
    }
  }
}

// The 16 x 8 floats of a tile of o in shared memory: where the element i of a lane lies.
PREFIXD_DEVICE float* TileOfO(float* o, const UnitView& view, int n, int i) {
  return o + At(device::Lane() / 4 + i / 2 * 8, view.width) + n * 8 + device::Lane() % 4 * 2 + i % 2;
}

// o = o * factors + P V.
template <typename H>
PREFIXD_DEVICE void AddTile(const AttentionParams& p, const UnitView& view, int tile, const float (&s)[8][4],
                            const float (&factors)[2], float* o) {
  using Number = typename Kv<H>::Number;
  uint32_t a[4][4];
  for (int k = 0; k < 4; ++k) {
    for (int i = 0; i < 4; ++i)
      a[k][i] = PairOf<Number>(s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1]);
  }
  for (int n = 0; n < view.width / 8; ++n) {
    float c[4];
    for (int i = 0; i < 4; ++i)
      c[i] = device::Mul(device::LoadShared<float>(TileOfO(o, view, n, i)), factors[i / 2]);
    for (int k = 0; k < 4; ++k) {
      const int token = tile + k * 16 + device::Lane() % 4 * 2, d = n * 8 + device::Lane() / 4;
      const uint32_t b[2] = {PairOfValues<H>(p, view, token, d), PairOfValues<H>(p, view, token + 8, d)};
      const int first = tile + k * 16;
      if (view.Differs(first, first + 16) &&
          device::Ballot(HasNonFinite<Number>(b[0]) || HasNonFinite<Number>(b[1])))
        AddSeenValues<Number>(view, first, a[k], b, c);
      else
        device::Mma16816<Rounded<Number>::kHalf>(c, a[k], b);
    }
    for (int i = 0; i < 4; ++i) device::StoreShared(TileOfO(o, view, n, i), c[i]);
  }
}

// Each lane has the rows g and g + 8 of o: what it stores nobody else reads before a SyncWarp.
template <typename H>
PREFIXD_DEVICE void AttendHalf(const AttentionParams& p, const UnitView& view) {
  if (view.unit.rows == 0) return;
  auto* const o = reinterpret_cast<float*>(device::SharedMemory());
  float* const total = o + At(kUnitRows, view.width);
  QueryRow rows[2] = {RowOf(p, view, device::Lane() / 4), RowOf(p, view, device::Lane() / 4 + 8)};
  const auto fill = [&](float* of) {
    for (int n = 0; n < view.width / 8; ++n)
      for (int i = 0; i < 4; ++i) device::StoreShared(TileOfO(of, view, n, i), 0.0f);
  };
  fill(total);
  for (int span = view.unit.first_span; span < view.unit.first_span + view.unit.spans; ++span) {
    fill(o);
    for (QueryRow& row : rows) {
      row.m = NegativeInfinity();
      row.l = 0;
    }
    const int begin = span * kSpanTokens;
    for (int tile = begin; tile < begin + kSpanTokens && tile <= view.last_token; tile += kTileTokens) {
      if (tile + kTileTokens <= view.first_token) continue;
      float s[8][4];
      ScoreTile<H>(p, view, tile, s);
      const float factors[2] = {SoftmaxTile(tile, 0, &rows[0], s), SoftmaxTile(tile, 1, &rows[1], s)};
      AddTile<H>(p, view, tile, s, factors, o);
    }
    const FoldFactors f[2] = {FactorsOf(rows[0].total_m, rows[0].m, rows[0].l),
                              FactorsOf(rows[1].total_m, rows[1].m, rows[1].l)};
    for (int n = 0; n < view.width / 8; ++n) {
      for (int i = 0; i < 4; ++i) {
        float* const at = TileOfO(total, view, n, i);
        const float value = device::LoadShared<float>(TileOfO(o, view, n, i));
        device::StoreShared(at, FoldInto(f[i / 2], device::LoadShared<float>(at), value));
      }
    }
    for (int half = 0; half < 2; ++half) {
      rows[half].total_l = FoldInto(f[half], rows[half].total_l, rows[half].l);
      if (!f[half].skip) rows[half].total_m = Larger(rows[half].total_m, rows[half].m);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const int row = device::Lane() / 4 + i / 2 * 8;
    if (row >= view.query_rows()) continue;
    float* const partial = PartialOf(p, view, row);
    if (device::Lane() % 4 == 0 && i % 2 == 0) {
      device::StoreGlobal(partial, rows[i / 2].total_m);
      device::StoreGlobal(partial + 1, rows[i / 2].total_l);
    }
    for (int n = 0; n < view.width / 8; ++n) {
      const int d = n * 8 + device::Lane() % 4 * 2 + i % 2;
      if (d < view.head_dim)
        device::StoreGlobal(partial + 2 + d, device::LoadShared<float>(TileOfO(total, view, n, i)));
    }
  }
}

template <typename H>
PREFIXD_DEVICE void AttentionHalf(const AttentionParams& p) {
  ForTeams(p, 1, [&](UnitAt unit) { AttendHalf<H>(p, ViewOf(p, unit)); });
}

// --- KV of 32 bits: fma, one query row after the other ---

PREFIXD_DEVICE const float* PlaneRow(const AttentionParams& p, const UnitView& view, int token, bool values) {
  const std::byte* const plane = PlaneOf<float>(p.kv, p.tables, {token, view.sequence}, view.kv_head, values);
  return reinterpret_cast<const float*>(
      plane + PlaneOffset(token % p.kv.block_tokens, 0, view.head_dim, 4, p.kv.block_tokens));
}

// The sum of 64 probabilities in shared memory by rule 6. Collective over the warp.
PREFIXD_DEVICE float SumOfTile(const float* probabilities) {
  float sum = 0;
  if (device::Lane() < 4) {
    for (int t = 0; t < kTileTokens; ++t) {
      if (t % 8 / 2 == device::Lane()) sum = device::Add(sum, device::LoadShared<float>(probabilities + t));
    }
  }
  sum = device::Add(sum, ShuffleF32(sum, 2));
  sum = device::Add(sum, ShuffleF32(sum, 1));
  return std::bit_cast<float>(device::Shuffle(std::bit_cast<uint32_t>(sum), 0));
}

// One tile of one row, with o and the probabilities in shared memory. Collective over the warp.
PREFIXD_DEVICE void AttendTileF32(const AttentionParams& p, const UnitView& view, const float* q, int tile,
                                  QueryRow* row, float* probabilities, float* o) {
  float scores[2], largest = row->m;
  for (int i = 0; i < 2; ++i) {
    const int token = tile + device::Lane() + 32 * i;
    scores[i] = NegativeInfinity();
    if (!row->Sees(token)) continue;
    const float* const k = PlaneRow(p, view, token, /*values=*/false);
    scores[i] = 0;
    for (int d = 0; d < view.head_dim; ++d)
      scores[i] = device::Fma(LoadF32(q + d), LoadF32(k + d), scores[i]);
    largest = Larger(largest, scores[i]);
  }
  for (int mask = 16; mask > 0; mask /= 2) largest = Larger(largest, ShuffleF32(largest, mask));
  if (largest == NegativeInfinity()) return;
  for (int i = 0; i < 2; ++i) {
    const float value = scores[i] == NegativeInfinity() ? 0.0f : Exp(device::Add(scores[i], -largest));
    device::StoreShared(probabilities + device::Lane() + 32 * i, value);
  }
  device::SyncWarp();
  const float factor = row->m == NegativeInfinity() ? 0.0f : Exp(device::Add(row->m, -largest));
  row->l = device::Add(device::Mul(row->l, factor), SumOfTile(probabilities));
  row->m = largest;
  for (int d = device::Lane(); d < view.head_dim; d += device::kWarp) {
    float value = device::Mul(device::LoadShared<float>(o + d), factor);
    for (int t = 0; t < kTileTokens; ++t) {
      if (!row->Sees(tile + t)) continue;
      const float* const v = PlaneRow(p, view, tile + t, /*values=*/true);
      value = device::Fma(device::LoadShared<float>(probabilities + t), LoadF32(v + d), value);
    }
    device::StoreShared(o + d, value);
  }
  device::SyncWarp();
}

PREFIXD_DEVICE void AttendF32(const AttentionParams& p, const UnitView& view) {
  auto* const o = reinterpret_cast<float*>(device::SharedMemory());
  float* const total = o + At(kUnitRows, view.width);
  float* const probabilities = total + At(kUnitRows, view.width);
  for (int i = 0; i < view.query_rows(); ++i) {
    QueryRow row = RowOf(p, view, i);
    const size_t head = At(view.StepRow(i), p.heads) + static_cast<size_t>(view.Head(i));
    const float* const q = static_cast<const float*>(p.q) + head * static_cast<size_t>(view.head_dim);
    for (int d = device::Lane(); d < view.head_dim; d += device::kWarp) device::StoreShared(total + d, 0.0f);
    for (int span = view.unit.first_span; span < view.unit.first_span + view.unit.spans; ++span) {
      for (int d = device::Lane(); d < view.head_dim; d += device::kWarp) device::StoreShared(o + d, 0.0f);
      row.m = NegativeInfinity();
      row.l = 0;
      const int begin = span * kSpanTokens;
      for (int tile = begin; tile < begin + kSpanTokens && tile <= row.last; tile += kTileTokens)
        AttendTileF32(p, view, q, tile, &row, probabilities, o);
      const FoldFactors f = FactorsOf(row.total_m, row.m, row.l);
      for (int d = device::Lane(); d < view.head_dim; d += device::kWarp) {
        const float value = device::LoadShared<float>(o + d);
        device::StoreShared(total + d, FoldInto(f, device::LoadShared<float>(total + d), value));
      }
      row.total_l = FoldInto(f, row.total_l, row.l);
      if (!f.skip) row.total_m = Larger(row.total_m, row.m);
    }
    float* const partial = PartialOf(p, view, i);
    if (device::Lane() == 0) {
      device::StoreGlobal(partial, row.total_m);
      device::StoreGlobal(partial + 1, row.total_l);
    }
    for (int d = device::Lane(); d < view.head_dim; d += device::kWarp)
      device::StoreGlobal(partial + 2 + d, device::LoadShared<float>(total + d));
  }
}

PREFIXD_DEVICE void AttentionF32(const AttentionParams& p) {
  ForTeams(p, 1, [&](UnitAt unit) { AttendF32(p, ViewOf(p, unit)); });
}

// --- The fold ---

// What one dim of a head has of a partial. An absent one changes no total.
struct PartialDim {
  float m = NegativeInfinity(), l = 0, o = 0;
};

// The fold of dim d of head number `index` of all rows. Partials are loaded some at a time, so that a long
// context does not wait for each of them.
PREFIXD_DEVICE float FoldOf(const FoldParams& p, int index, int d) {
  constexpr int kAtOnce = 8;
  const auto place = device::LoadStruct(p.places + index);
  const auto partial = [&](int i) { return p.partials + At(place.first + i * place.stride, p.head_dim + 2); };
  PartialDim total;
  for (int first = 0; first < place.count; first += kAtOnce) {
    PartialDim spans[kAtOnce];
    PREFIXD_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      if (first + j >= place.count) continue;
      const float* const from = partial(first + j);
      spans[j] = {LoadF32(from), LoadF32(from + 1), LoadF32(from + 2 + d)};
    }
    PREFIXD_UNROLL
    for (const PartialDim& span : spans) {
      const FoldFactors f = FactorsOf(total.m, span.m, span.l);
      total.l = FoldInto(f, total.l, span.l);
      total.o = FoldInto(f, total.o, span.o);
      if (!f.skip) total.m = Larger(total.m, span.m);
    }
  }
  return place.count == 0 ? 0.0f : device::Mul(total.o, device::Div(1.0f, total.l));
}

template <typename T>
PREFIXD_DEVICE void Fold(const FoldParams& p) {
  const int index = WarpRow() / FoldPieces(p.head_dim);
  if (index >= p.rows * p.heads) return;
  const int d = WarpRow() % FoldPieces(p.head_dim) * device::kWarp + device::Lane();
  if (d >= p.head_dim) return;
  device::StoreGlobal(static_cast<T*>(p.out) + At(index, p.head_dim) + d,
                      Rounded<T>::From(FoldOf(p, index, d)));
}

// A block may have dims of two heads.
PREFIXD_DEVICE void FoldQuantized(const FoldParams& p) {
  const int width = p.heads * p.head_dim, blocks = width / kQuantBlock;
  const int row = WarpRow() / blocks, column = WarpRow() % blocks * kQuantBlock + device::Lane();
  if (row >= p.rows) return;
  const float value = FoldOf(p, row * p.heads + column / p.head_dim, column % p.head_dim);
  ActivationRow<Quantized>(p.out, row, width).Store(column, value);
}

}  // namespace prefixd::cuda
