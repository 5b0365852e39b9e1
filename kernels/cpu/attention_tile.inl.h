// What attention does with one tile of keys: where K and V are found, scores, softmax, weighted sums. "Row"
// means one head of one position, head by head, position by position; so the tokens that a row sees grow with
// its number.

namespace prefixd::PREFIXD_ISA {

using cpu::AttendJob;

constexpr int kTileTokens = numerics::kAttentionTile;
constexpr int kSpanTokens = numerics::kAttentionSpan;
constexpr int kTileVectors = kTileTokens / kLanes;
constexpr int kHeader = kLanes;  // floats before the outputs of a partial result: maximum, sum, unused

PREFIXD_INLINE int PaddedDim(int head_dim) { return (head_dim + kPanel - 1) / kPanel * kPanel; }

// Scratch of one job, cut from one array.
struct AttendState {
  int rows;
  int dim;       // head_dim
  int padded;    // to whole panels
  float* q;      // scaled; blocks of kTileRows rows, each [dim][rows of the block]
  float* k;      // [dim][kTileTokens]
  float* v;      // [kTileTokens][padded]
  float* p;      // [kTileRows][kTileTokens] scores, then probabilities
  float* fix;    // [kTileRows] factors that bring older sums to the new maximum
  float* max;    // [rows] of the span
  float* sums;   // [rows][kLanes] of the span
  float* out;    // [rows][padded] of the span
  float* total;  // [rows][kHeader + padded] folded spans
};

// K and V of one tile. Either as they lie in the blocks, for jobs of few rows, or widened to f32 in scratch,
// for those whose many rows share the work; and where the blocks do not offer whole vectors.
template <DType kType>
struct KvTile {
  using Type = typename Element<kType>::Type;
  const Type* keys[kTileVectors];  // 16 tokens each; dimension d lies key_step elements further on
  size_t key_step;
  const Type* values[kTileVectors];  // value_run tokens each, value_step elements apart
  int value_run;
  size_t value_step;
};

PREFIXD_INLINE bool InPlace(const AttendJob& job, int rows) {
  return rows <= kTileRows && job.block_tokens >= kLanes && job.head_dim % kPanel == 0;
}

template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Plane(const AttendJob& job, int token, size_t offset) {
  const size_t block = job.blocks[token / job.block_tokens];
  return reinterpret_cast<const typename Element<kType>::Type*>(job.pool + block * job.block_bytes + offset);
}

// K of 16 tokens from `token` on, `count` of which exist, to k[][..]. Blocks smaller than that are put
// together first.
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

// Widens the first `count` tokens of the tile into scratch.
template <DType kType>
void WidenTile(const AttendJob& job, const AttendState& s, int tile, int count) {
  for (int t = 0; t < count; t += kLanes) WidenKeys<kType>(job, tile + t, count - t, s.k + t);
  for (int t = 0; t < count; ++t) WidenValues<kType>(job, tile + t, s.v + t * s.padded);
}

PREFIXD_INLINE KvTile<DType::kF32> WidenedTile(const AttendState& s) {
  KvTile<DType::kF32> kv = {};
  for (int v = 0; v < kTileVectors; ++v) kv.keys[v] = s.k + v * kLanes;
  kv.key_step = kTileTokens;
  kv.values[0] = s.v;
  kv.value_run = kTileTokens;
  kv.value_step = s.padded;
  return kv;
}

// The first `count` tokens of the tile where they lie. Vectors past them repeat the last block: read, but not
// used.
template <DType kType>
PREFIXD_INLINE KvTile<kType> TileInPlace(const AttendJob& job, int tile, int count) {
  KvTile<kType> kv = {};
  for (int v = 0; v < kTileVectors; ++v) {
    const int token = tile + (v * kLanes < count ? v * kLanes : 0);
    kv.keys[v] = Plane<kType>(job, token, job.k_offset) + token % job.block_tokens;
  }
  kv.key_step = job.block_tokens;
  kv.value_run = Min(job.block_tokens, kTileTokens);
  kv.value_step = job.head_dim;
  for (int run = 0; run * kv.value_run < count; ++run) {
    const int token = tile + run * kv.value_run;
    kv.values[run] =
        Plane<kType>(job, token, job.v_offset) + static_cast<size_t>(token % job.block_tokens) * job.head_dim;
  }
  return kv;
}

// p[r][t] of a block of rows for the first `count` tokens of the tile, and some more up to a whole panel.
template <int kRows, DType kType>
void Scores(const AttendState& s, const KvTile<kType>& kv, const float* q, int count) {
  for (int t = 0; t < count; t += kPanel) {
    const typename Element<kType>::Type* keys[kPanelVectors];
    for (int v = 0; v < kPanelVectors; ++v) keys[v] = kv.keys[t / kLanes + v];
    Tile<kRows, kPanelVectors> tile;
    Clear(tile);
    AddProducts<1, 1, kRows, kType>(tile, q, keys, kv.key_step, s.dim);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) Store(s.p + r * kTileTokens + t + v * kLanes, tile.acc[r][v]);
    }
  }
}

// out[r] = out[r] * fix[r] + sum over the first `count` tokens of p[r][t] V[t].
template <int kRows, DType kType>
void AddValues(const AttendState& s, const KvTile<kType>& kv, const float* p, const float* fix, float* out,
               int count) {
  for (int d = 0; d < s.padded; d += kPanel) {
    Tile<kRows, kPanelVectors> tile;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) {
        tile.acc[r][v] = Mul(Load(out + r * s.padded + d + v * kLanes), Set(fix[r]));
      }
    }
    for (int t = 0; t < count; t += kv.value_run) {
      const typename Element<kType>::Type* values[1] = {kv.values[t / kv.value_run] + d};
      AddProducts<kPanelVectors, kTileTokens, 1, kType>(tile, p + t, values, kv.value_step,
                                                        Min(kv.value_run, count - t));
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) Store(out + r * s.padded + d + v * kLanes, tile.acc[r][v]);
    }
  }
}

template <DType kType, int kRows = kTileRows>
void ScoresOf(int rows, const AttendState& s, const KvTile<kType>& kv, const float* q, int count) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return ScoresOf<kType, kRows - 1>(rows, s, kv, q, count);
  }
  Scores<kRows>(s, kv, q, count);
}

template <DType kType, int kRows = kTileRows>
void AddValuesOf(int rows, const AttendState& s, const KvTile<kType>& kv, const float* p, const float* fix,
                 float* out, int count) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return AddValuesOf<kType, kRows - 1>(rows, s, kv, p, fix, out, count);
  }
  AddValues<kRows>(s, kv, p, fix, out, count);
}

// Turns `count` scores of a row into probabilities below its new maximum. Returns the factor for older sums.
PREFIXD_INLINE float Softmax(float* p, int count, float* max, float* sums) {
  const F32x16 none = Set(-__builtin_inff());
  F32x16 scores[kTileVectors];
  F32x16 largest = Set(*max);
#pragma GCC unroll 16
  for (int v = 0; v < kTileVectors; ++v) {
    const int n = count - v * kLanes;
    scores[v] = n >= kLanes ? Load(p + v * kLanes)
                : n > 0     ? SelectFirst(n, Load(p + v * kLanes), none)
                            : none;
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

// One block of rows over one tile. seen(row) = tokens of the tile that the row sees; 0 or less for the first
// rows, perhaps.
template <DType kType>
void AttendBlock(const AttendJob& job, const AttendState& s, const KvTile<kType>& kv, int first, int tile) {
  const int rows = Min(kTileRows, s.rows - first);
  int seen[kTileRows];
  for (int r = 0; r < rows; ++r) {
    seen[r] = Min(kTileTokens, job.first_position + (first + r) / job.group + 1 - tile);
  }
  if (seen[rows - 1] <= 0) return;
  ScoresOf<kType>(rows, s, kv, s.q + first * s.dim, seen[rows - 1]);
  for (int r = 0; r < rows; ++r) {
    if (seen[r] <= 0) continue;
    s.fix[r] = Softmax(s.p + r * kTileTokens, seen[r], &s.max[first + r], s.sums + (first + r) * kLanes);
  }
  for (int r = 0; r < rows;) {  // rows that see the same tokens go together
    int same = 1;
    while (r + same < rows && seen[r + same] == seen[r]) ++same;
    if (seen[r] > 0) {
      AddValuesOf<kType>(same, s, kv, s.p + r * kTileTokens, s.fix + r, s.out + (first + r) * s.padded,
                         seen[r]);
    }
    r += same;
  }
}

}  // namespace prefixd::PREFIXD_ISA
