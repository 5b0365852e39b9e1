// Paged attention, numerics rule 7. K and V of a tile are widened once into scratch and serve all rows of the job: K as
// [head_dim][tile], lanes over tokens; V as [tile][head_dim], lanes over head_dim. "Row" means one head of one position here,
// head by head, position by position; so the tokens that a row sees grow with its number.

namespace prefixd::PREFIXD_ISA {

using cpu::AttendJob;

constexpr int kTileTokens = numerics::kAttentionTile;
constexpr int kSpanTokens = numerics::kAttentionSpan;
constexpr int kTileVectors = kTileTokens / kLanes;
constexpr int kHeader = kLanes;  // floats before the outputs of a partial result: the maximum, the sum, unused

PREFIXD_INLINE int PaddedDim(int head_dim) { return (head_dim + kPanel - 1) / kPanel * kPanel; }

// Scratch of one job, cut from one array.
struct AttendState {
  int rows;
  int dim;      // head_dim
  int padded;   // to whole panels
  float* q;     // scaled; blocks of kTileRows rows, each [dim][rows of the block]
  float* k;     // [dim][kTileTokens]
  float* v;     // [kTileTokens][padded]
  float* p;     // [kTileRows][kTileTokens] scores, then probabilities
  float* fix;   // [kTileRows] factors that bring older sums to the new maximum
  float* max;   // [rows] of the span
  float* sums;  // [rows][kLanes] of the span
  float* out;   // [rows][padded] of the span
  float* total; // [rows][kHeader + padded] folded spans
};

size_t AttendScratch(const AttendJob& job) {
  const size_t rows = static_cast<size_t>(job.positions) * job.group;
  const size_t padded = PaddedDim(job.head_dim);
  return rows * (job.head_dim + kLanes + kLanes + padded + kHeader + padded) +
         kTileTokens * (job.head_dim + padded + kTileRows) + kLanes;
}

PREFIXD_INLINE AttendState Divide(const AttendJob& job, float* scratch) {
  AttendState s;
  s.rows = job.positions * job.group;
  s.dim = job.head_dim;
  s.padded = PaddedDim(job.head_dim);
  s.k = scratch;
  s.v = s.k + kTileTokens * s.dim;
  s.p = s.v + kTileTokens * s.padded;
  s.fix = s.p + kTileTokens * kTileRows;
  s.sums = s.fix + kLanes;
  s.out = s.sums + s.rows * kLanes;
  s.total = s.out + s.rows * s.padded;
  s.max = s.total + s.rows * (kHeader + s.padded);
  s.q = s.max + s.rows * kLanes;
  return s;
}

void ScaleQueries(const AttendJob& job, const AttendState& s) {
  for (int row = 0; row < s.rows; ++row) {
    const float* q = job.q + static_cast<size_t>(row / job.group) * job.q_stride + (row % job.group) * s.dim;
    const int first = row / kTileRows * kTileRows;
    const int count = Min(kTileRows, s.rows - first);
    float* to = s.q + first * s.dim + (row - first);
    for (int d = 0; d < s.dim; ++d) to[d * count] = q[d] * job.scale;
  }
}

template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Plane(const AttendJob& job, int token, size_t offset) {
  const size_t block = job.blocks[token / job.block_tokens];
  return reinterpret_cast<const typename Element<kType>::Type*>(job.pool + block * job.block_bytes + offset);
}

// K of 16 tokens from `token` on, `count` of which exist, to k[][..]. Blocks smaller than that are put together first.
template <DType kType>
void WidenKeys(const AttendJob& job, int token, int count, float* k) {
  using Type = typename Element<kType>::Type;
  const int in_block = token % job.block_tokens;
  if (job.block_tokens >= kLanes) {
    const Type* plane = Plane<kType>(job, token, job.k_offset) + in_block;
    for (int d = 0; d < job.head_dim; ++d) {
      Store(k + d * kTileTokens, Widen<kType>(plane + static_cast<size_t>(d) * job.block_tokens));
    }
    return;
  }
  for (int d = 0; d < job.head_dim; ++d) {
    Type together[kLanes] = {};
    for (int t = 0; t < Min(count, kLanes); ++t) {
      const Type* plane = Plane<kType>(job, token + t, job.k_offset);
      together[t] = plane[static_cast<size_t>(d) * job.block_tokens + (token + t) % job.block_tokens];
    }
    Store(k + d * kTileTokens, Widen<kType>(together));
  }
}

template <DType kType>
void WidenValues(const AttendJob& job, int token, float* v) {
  using Type = typename Element<kType>::Type;
  const Type* plane = Plane<kType>(job, token, job.v_offset);
  const Type* from = plane + static_cast<size_t>(token % job.block_tokens) * job.head_dim;
  int d = 0;
  for (; d + kLanes <= job.head_dim; d += kLanes) Store(v + d, Widen<kType>(from + d));
  if (d == job.head_dim) return;
  Type rest[kLanes] = {};
  for (int i = 0; d + i < job.head_dim; ++i) rest[i] = from[d + i];
  Store(v + d, Widen<kType>(rest));
}

template <DType kType>
void WidenTile(const AttendJob& job, const AttendState& s, int tile, int count) {
  for (int t = 0; t < count; t += kLanes) WidenKeys<kType>(job, tile + t, count - t, s.k + t);
  for (int t = 0; t < count; ++t) WidenValues<kType>(job, tile + t, s.v + t * s.padded);
}

// p[r][t] of a block of rows for the first `count` tokens of the tile, and some more up to a whole panel.
template <int kRows>
void Scores(const AttendState& s, const float* q, int count) {
  for (int t = 0; t < count; t += kPanel) {
    Tile<kRows, kPanelVectors> tile;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) tile.acc[r][v] = Zero();
    }
    AddProducts<kRows, kPanelVectors, 1, kRows, DType::kF32>(tile, q, s.k + t, kTileTokens, 0, s.dim);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) Store(s.p + r * kTileTokens + t + v * kLanes, tile.acc[r][v]);
    }
  }
}

// out[r] = out[r] * fix[r] + sum over the first `count` tokens of p[r][t] V[t].
template <int kRows>
void AddValues(const AttendState& s, const float* p, const float* fix, float* out, int count) {
  for (int d = 0; d < s.padded; d += kPanel) {
    Tile<kRows, kPanelVectors> tile;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) {
        tile.acc[r][v] = Mul(Load(out + r * s.padded + d + v * kLanes), Set(fix[r]));
      }
    }
    AddProducts<kRows, kPanelVectors, kTileTokens, 1, DType::kF32>(tile, p, s.v + d, s.padded, 0, count);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) Store(out + r * s.padded + d + v * kLanes, tile.acc[r][v]);
    }
  }
}

template <int kRows = kTileRows>
void ScoresOf(int rows, const AttendState& s, const float* q, int count) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return ScoresOf<kRows - 1>(rows, s, q, count);
  }
  Scores<kRows>(s, q, count);
}

template <int kRows = kTileRows>
void AddValuesOf(int rows, const AttendState& s, const float* p, const float* fix, float* out, int count) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return AddValuesOf<kRows - 1>(rows, s, p, fix, out, count);
  }
  AddValues<kRows>(s, p, fix, out, count);
}

// Turns `count` scores of a row into probabilities below its new maximum. Returns the factor for older sums.
PREFIXD_INLINE float Softmax(float* p, int count, float* max, float* sums) {
  const F32x16 none = Set(-__builtin_inff());
  F32x16 scores[kTileVectors];
  F32x16 largest = Set(*max);
#pragma GCC unroll 16
  for (int v = 0; v < kTileVectors; ++v) {
    const int n = count - v * kLanes;
    scores[v] = n >= kLanes ? Load(p + v * kLanes) : n > 0 ? SelectFirst(n, Load(p + v * kLanes), none) : none;
    largest = Max(largest, scores[v]);
  }
  const float new_max = MergeMax(largest);
  const F32x16 reference = Set(new_max);
  const F32x16 fix = Exp(Sub(Set(*max), reference));
  F32x16 sum = Mul(Load(sums), fix);
  for (int v = 0; v * kLanes < count; ++v) {  // lanes past the count add Exp(-inf) = +0
    const F32x16 probability = Exp(Sub(scores[v], reference));
    Store(p + v * kLanes, probability);
    sum = Add(sum, probability);
  }
  Store(sums, sum);
  *max = new_max;
  float factor[kLanes];
  Store(factor, fix);
  return factor[0];
}

// One block of rows over one tile. seen(row) = tokens of the tile that the row sees; 0 or less for the first rows, perhaps.
void AttendBlock(const AttendJob& job, const AttendState& s, int first, int tile) {
  const int rows = Min(kTileRows, s.rows - first);
  int seen[kTileRows];
  for (int r = 0; r < rows; ++r) {
    seen[r] = Min(kTileTokens, job.first_position + (first + r) / job.group + 1 - tile);
  }
  if (seen[rows - 1] <= 0) return;
  ScoresOf(rows, s, s.q + first * s.dim, seen[rows - 1]);
  for (int r = 0; r < rows; ++r) {
    if (seen[r] <= 0) continue;
    s.fix[r] = Softmax(s.p + r * kTileTokens, seen[r], &s.max[first + r], s.sums + (first + r) * kLanes);
  }
  for (int r = 0; r < rows;) {  // rows that see the same tokens go together
    int same = 1;
    while (r + same < rows && seen[r + same] == seen[r]) ++same;
    if (seen[r] > 0) {
      AddValuesOf(same, s, s.p + r * kTileTokens, s.fix + r, s.out + (first + r) * s.padded, seen[r]);
    }
    r += same;
  }
}

// total = (max, sum, out) of folded spans: takes in one more.
void FoldInto(float* total, float max, float sum, const float* out, int padded) {
  const float new_max = max > total[0] ? max : total[0];
  const F32x16 a = Exp(Sub(Set(total[0]), Set(new_max)));
  const F32x16 b = Exp(Sub(Set(max), Set(new_max)));
  float folded[kLanes];
  Store(folded, Fma(Set(sum), b, Mul(Set(total[1]), a)));
  total[0] = new_max;
  total[1] = folded[0];
  for (int d = 0; d < padded; d += kLanes) {
    Store(total + kHeader + d, Fma(Load(out + d), b, Mul(Load(total + kHeader + d), a)));
  }
}

void Normalise(const float* total, int head_dim, float* out) {
  const F32x16 inverse = Div(Set(1.0f), Set(total[1]));
  for (int d = 0; d < head_dim; d += kLanes) StoreUpTo(out + d, head_dim - d, Mul(Load(total + kHeader + d), inverse));
}

void AttendSpan(const AttendJob& job, const AttendState& s, int span) {
  const int begin = span * kSpanTokens;
  const int last = job.first_position + job.positions - 1;
  const int first_row = Max(0, begin - job.first_position) * job.group;
  for (int row = first_row; row < s.rows; ++row) {
    s.max[row] = -__builtin_inff();
    Store(s.sums + row * kLanes, Zero());
    for (int d = 0; d < s.padded; d += kLanes) Store(s.out + row * s.padded + d, Zero());
  }
  for (int tile = begin; tile <= last && tile < begin + kSpanTokens; tile += kTileTokens) {
    const int count = Min(kTileTokens, last + 1 - tile);
    switch (job.dtype) {
      case DType::kF32: WidenTile<DType::kF32>(job, s, tile, count); break;
      case DType::kF16: WidenTile<DType::kF16>(job, s, tile, count); break;
      case DType::kBF16: WidenTile<DType::kBF16>(job, s, tile, count); break;
    }
    for (int first = first_row / kTileRows * kTileRows; first < s.rows; first += kTileRows) AttendBlock(job, s, first, tile);
  }
  for (int row = first_row; row < s.rows; ++row) {
    float* total = s.total + static_cast<size_t>(row) * (kHeader + s.padded);
    const float sum = MergeSum(Load(s.sums + row * kLanes));
    const float* out = s.out + static_cast<size_t>(row) * s.padded;
    if (span > job.first_span) {
      FoldInto(total, s.max[row], sum, out, s.padded);
      continue;
    }
    total[0] = s.max[row];
    total[1] = sum;
    for (int d = 0; d < s.padded; d += kLanes) Store(total + kHeader + d, Load(out + d));
  }
}

void Attend(const AttendJob& job, float* scratch) {
  const AttendState s = Divide(job, scratch);
  ScaleQueries(job, s);
  for (int span = job.first_span; span < job.end_span; ++span) AttendSpan(job, s, span);
  for (int row = 0; row < s.rows; ++row) {
    const float* total = s.total + static_cast<size_t>(row) * (kHeader + s.padded);
    const size_t position = row / job.group;
    const size_t head = row % job.group;
    if (job.partial == nullptr) {
      Normalise(total, s.dim, job.out + position * job.out_stride + head * s.dim);
    } else if (job.first_span * kSpanTokens <= job.first_position + static_cast<int>(position)) {
      float* to = job.partial + position * job.partial_stride + head * (kHeader + s.padded);
      for (int d = 0; d < kHeader + s.padded; d += kLanes) Store(to + d, Load(total + d));
    }
  }
}

size_t PartialFloats(int head_dim) { return kHeader + PaddedDim(head_dim); }

void Fold(float* partials, int spans, size_t span_stride, int head_dim, float* out) {
  for (int i = 1; i < spans; ++i) {
    const float* span = partials + i * span_stride;
    FoldInto(partials, span[0], span[1], span + kHeader, PaddedDim(head_dim));
  }
  Normalise(partials, head_dim, out);
}

}  // namespace prefixd::PREFIXD_ISA
