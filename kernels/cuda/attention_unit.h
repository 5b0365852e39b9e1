// What the kernels of attention share: what a unit and its query rows see, the softmax of a tile, and the
// fold of spans. Device code; kernels/cuda/numerics.h, rule 6, has the arithmetic.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/cuda/row_kernels.h"
#include "kernels/cuda/types.h"

namespace prefixd::cuda {

PREFIXD_DEVICE float NegativeInfinity() { return std::bit_cast<float>(0xFF800000u); }
PREFIXD_DEVICE float Larger(float a, float b) { return a < b ? b : a; }
PREFIXD_DEVICE float ShuffleF32(float value, int mask) {
  return std::bit_cast<float>(device::ShuffleXor(std::bit_cast<uint32_t>(value), mask));
}

// The first token that a row at `position` sees.
PREFIXD_DEVICE int WindowStart(int position, int window) {
  return window == 0 || position < window ? 0 : position - window + 1;
}

// What the lanes of a warp share of a unit.
struct UnitView {
  AttentionUnit unit;
  const AttentionMember* members;  // null: none
  int kv_head, head_dim, width;    // width: of o in shared memory
  int sequence;
  int first_token, last_token;  // that any of its rows sees
  int first_position, window;   // of its first row

  PREFIXD_DEVICE bool Sees(int token) const { return token >= first_token && token <= last_token; }
  // Whether its step row number `row` does.
  PREFIXD_DEVICE bool RowSees(int row, int token) const {
    return token <= first_position + row && token >= WindowStart(first_position + row, window);
  }
  // Whether one row sees a token of [begin, end) that another row does not see.
  PREFIXD_DEVICE bool Differs(int begin, int end) const {
    return unit.rows > 1 && (end - 1 > first_position || begin < WindowStart(last_token, window));
  }
  PREFIXD_DEVICE int query_rows() const { return unit.rows * unit.heads; }
  // Of query row i: its row in the step, and its head.
  PREFIXD_DEVICE int StepRow(int i) const {
    const int row = i / unit.heads;
    return members == nullptr ? unit.first_row + row : device::LoadGlobal<int32_t>(&members[row].row);
  }
  PREFIXD_DEVICE int Head(int i) const { return unit.head + i % unit.heads; }
  PREFIXD_DEVICE int Partial(int i) const {
    return members == nullptr ? unit.partial + i
                              : device::LoadGlobal<int32_t>(&members[i / unit.heads].partial) + Head(i);
  }
};

// Where a block finds a unit, and the members of all units.
struct UnitAt {
  const AttentionUnit* unit;
  const AttentionMember* members;

  PREFIXD_DEVICE UnitAt Next(int i) const { return {unit + i, members}; }
};

// Calls run(the first unit of a team) for each team of this block. Collective over the block.
template <typename Run>
PREFIXD_DEVICE void ForTeams(const AttentionParams& p, int team, const Run& run) {
  AttentionList list{p.units, p.members, p.unit_count, 0};
  if (p.list != nullptr) list = device::LoadStruct(p.list);
  const int first = device::BlockX() * team;
  for (int unit = first; unit < list.count; unit += device::GridX() * team) {
    if (unit != first) device::SyncThreads();  // the shared memory is free
    run(UnitAt{list.units + unit, list.members});
  }
}

// Of one without rows, no token is seen. One with members sees what its first member does, which has all
// tokens of the span.
PREFIXD_DEVICE UnitView ViewOf(const AttentionParams& p, UnitAt at) {
  UnitView view{};
  view.unit = device::LoadStruct(at.unit);
  view.last_token = -1;
  if (view.unit.rows == 0) return view;
  view.kv_head = view.unit.head / (p.heads / p.kv.kv_heads);
  view.head_dim = p.kv.head_dim;
  view.width = (p.kv.head_dim + 7) / 8 * 8;
  if (view.unit.members >= 0) view.members = at.members + view.unit.members;
  const int rows = view.members == nullptr ? view.unit.rows : 1;
  const auto last = device::LoadStruct(p.places + view.StepRow((rows - 1) * view.unit.heads));
  view.sequence = last.sequence;
  view.last_token = last.position;
  view.first_position = last.position - rows + 1;
  view.window = p.window;
  view.first_token = WindowStart(view.first_position, p.window);
  return view;
}

// A team as if it were one unit, of the rows of all its units.
PREFIXD_DEVICE UnitView TeamOf(const AttentionParams& p, UnitAt first) {
  UnitView team = ViewOf(p, first);
  for (int i = 1; i < p.team; ++i) {
    const UnitView view = ViewOf(p, first.Next(i));
    if (view.unit.rows == 0) break;
    team.unit.rows += view.unit.rows;
    team.unit.spans = view.unit.first_span + view.unit.spans - team.unit.first_span;
    team.last_token = view.last_token;
  }
  return team;
}

// A query row of a unit: what it sees, and its state.
struct QueryRow {
  bool exists;
  int first, last;  // tokens that it sees
  float m, l;       // of the span
  float total_m, total_l;

  PREFIXD_DEVICE bool Sees(int token) const { return exists && token >= first && token <= last; }
};

PREFIXD_DEVICE QueryRow RowOf(const AttentionParams& p, const UnitView& view, int i) {
  QueryRow row{i < view.query_rows(), 0, -1, 0, 0, NegativeInfinity(), 0};
  if (!row.exists) return row;
  row.last = device::LoadStruct(p.places + view.StepRow(i)).position;
  row.first = WindowStart(row.last, p.window);
  return row;
}

// The factors of a fold; the first span that a row sees replaces the total.
struct FoldFactors {
  bool skip, first;
  float a, b;
};
PREFIXD_DEVICE FoldFactors FactorsOf(float total_m, float m, float l) {
  if (l == 0) return {true, false, 0, 0};
  const float larger = Larger(total_m, m);
  if (total_m == NegativeInfinity()) return {false, true, 0, 1};
  return {false, false, Exp(device::Add(total_m, -larger)), Exp(device::Add(m, -larger))};
}
PREFIXD_DEVICE float FoldInto(const FoldFactors& f, float total, float value) {
  if (f.skip) return total;
  return f.first ? value : device::Fma(value, f.b, device::Mul(total, f.a));
}

PREFIXD_DEVICE float* PartialOf(const AttentionParams& p, const UnitView& view, int i) {
  return p.partials + At(view.Partial(i), view.head_dim + 2);
}

// --- Fragments of the tensor cores, for KV of 16 bits ---

// The q of a lane: rows g and g + 8, columns d .. d + 1 and d + 8 .. d + 9.
template <typename H>
PREFIXD_DEVICE void LoadQueries(const AttentionParams& p, const UnitView& view, int d, uint32_t (&a)[4]) {
  for (int i = 0; i < 4; ++i) {
    const int row = device::Lane() / 4 + i % 2 * 8, at = d + i / 2 * 8;
    a[i] = 0;
    if (row >= view.query_rows() || at >= view.head_dim) continue;
    const size_t head = At(view.StepRow(row), p.heads) + static_cast<size_t>(view.Head(row));
    a[i] = device::LoadGlobal<uint32_t>(static_cast<const H*>(p.q) +
                                        head * static_cast<size_t>(view.head_dim) + at);
  }
}

// Makes probabilities of the scores of row `half` (g or g + 8) of a lane, and updates m and l. Collective
// over the warp. Returns the factor of o; 1 when nothing changes.
PREFIXD_DEVICE float SoftmaxTile(int tile, int half, QueryRow* row, float (&s)[8][4]) {
  float largest = row->m;
  PREFIXD_UNROLL
  for (int n = 0; n < 8; ++n) {
    for (int i = 0; i < 2; ++i) {
      float& score = s[n][2 * half + i];
      if (!row->Sees(tile + n * 8 + device::Lane() % 4 * 2 + i)) score = NegativeInfinity();
      largest = Larger(largest, score);
    }
  }
  largest = Larger(largest, ShuffleF32(largest, 1));
  largest = Larger(largest, ShuffleF32(largest, 2));
  const bool none = largest == NegativeInfinity();
  float sum = 0;
  PREFIXD_UNROLL
  for (int n = 0; n < 8; ++n) {
    for (int i = 0; i < 2; ++i) {
      float& score = s[n][2 * half + i];
      score = score == NegativeInfinity() ? 0.0f : Exp(device::Add(score, -largest));
      sum = device::Add(sum, score);
    }
  }
  sum = device::Add(sum, ShuffleF32(sum, 2));
  sum = device::Add(sum, ShuffleF32(sum, 1));
  if (none) return 1.0f;
  const float factor = row->m == NegativeInfinity() ? 0.0f : Exp(device::Add(row->m, -largest));
  row->l = device::Add(device::Mul(row->l, factor), sum);
  row->m = largest;
  return factor;
}

template <typename H>
PREFIXD_DEVICE uint32_t PairOf(float low, float high) {
  return static_cast<uint32_t>(Rounded<H>::From(low).bits) |
         static_cast<uint32_t>(Rounded<H>::From(high).bits) << 16;
}

// Whether one of a pair of elements is an infinity or a NaN.
template <typename H>
PREFIXD_DEVICE bool HasNonFinite(uint32_t pair) {
  constexpr uint32_t kExponent = Rounded<H>::kHalf == device::HalfType::kBF16 ? 0x7F80 : 0x7C00;
  return (pair & kExponent) == kExponent || (pair >> 16 & kExponent) == kExponent;
}

// c += P V of the 16 tokens from `token` on, for each row with the V of what it sees only: the P of other
// tokens is 0, but 0 times an infinity is NaN. a, b and c are fragments of P, V and o.
template <typename H>
PREFIXD_DEVICE void AddSeenValues(const UnitView& view, int token, const uint32_t (&a)[4],
                                  const uint32_t (&b)[2], float (&c)[4]) {
  for (int row = 0; row < view.unit.rows; ++row) {
    uint32_t seen[2];
    for (int i = 0; i < 2; ++i) {
      const int at = token + device::Lane() % 4 * 2 + 8 * i;
      seen[i] = (view.RowSees(row, at) ? b[i] & 0x0000FFFFu : 0u) |
                (view.RowSees(row, at + 1) ? b[i] & 0xFFFF0000u : 0u);
    }
    float sums[4] = {c[0], c[1], c[2], c[3]};
    device::Mma16816<Rounded<H>::kHalf>(sums, a, seen);
    for (int i = 0; i < 4; ++i)
      if ((device::Lane() / 4 + i / 2 * 8) / view.unit.heads == row) c[i] = sums[i];
  }
}

}  // namespace prefixd::cuda
