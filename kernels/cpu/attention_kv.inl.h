// K and V of one tile of tokens, for attention: where they lie in the blocks, what is read ahead of them, and
// copies that are widened to f32. A "row" is one head of one position. Rows are ordered by position, then by
// head, so the first and the last token that a row sees never decrease from one row to the next. Pure
// functions; any thread.

namespace prefixd::PREFIXD_ISA {

using cpu::AttendJob;

constexpr int kTileTokens = numerics::kAttentionTile;
constexpr int kSpanTokens = numerics::kAttentionSpan;
constexpr int kTileVectors = kTileTokens / kLanes;
constexpr int kScaleDims = 32;   // kQuantBlock: dimensions that share a scale of q8_0
constexpr int kHeader = kLanes;  // floats before the outputs of a partial result: maximum, sum, unused

PREFIXD_INLINE int PaddedDim(int head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }

// The scratch arrays of one KV head of a job. Those of all heads are in one allocation; k, v, p and rescale
// are the same ones.
struct AttendState {
  int kv_head;  // of those of the job
  int rows;
  int dim;         // head_dim
  int padded;      // head_dim, rounded up to whole vectors
  float* q;        // scaled queries; blocks of kTileRows rows, each [dim][rows of the block]
  float* k;        // [dim][kTileTokens]
  float* v;        // [kTileTokens][padded]
  float* p;        // [kTileRows][kTileTokens] scores, then probabilities
  float* rescale;  // [kTileRows] factors that rescale earlier sums to the new maximum
  float* max;      // [rows] largest scores in the current span
  float* sums;     // [rows][kLanes] partial sums of the current span
  float* out;      // [rows][padded] outputs of the current span
  float* total;    // [rows][kHeader + padded] the folded spans
};

// K and V of one tile. A job of few rows reads them in place, from the blocks. A job of many rows first
// widens them to f32 in scratch, so that its rows share that work. A job also widens them when the blocks do
// not hold whole vectors.
template <DType kType>
struct KvTile {
  using Type = typename Element<kType>::Type;
  const Type* keys[kTileVectors];    // dimension 0 of 16 tokens each
  size_t key_step;                   // elements between dimensions
  const Type* values[kTileVectors];  // value_run tokens each
  int value_run;
  size_t value_step;  // elements between tokens
  // Parts of the tile that follows, to prefetch them: the same ones, or such that those of all KV heads are
  // read in the order of memory. Not set in a widened tile.
  const Type* next_keys[kTileVectors];
  const Type* next_values[kTileVectors];
};

// A job that reads in place prefetches the next tile while it computes: the planes of a head are short and
// lie far apart, so the CPU's own prefetchers miss most of them. Not for f32, because widened tiles are f32
// as well.
template <DType kType>
constexpr bool kReadsAhead = kType != DType::kF32;

// Up to so many rows, reading in place is faster: the blocks of rows after the first find the tile in the
// caches, and widen it again in less time than it takes to store a widened copy and load it.
constexpr int kInPlaceRows = 72;

PREFIXD_INLINE bool InPlace(const AttendJob& job, int rows) {
  return rows <= kInPlaceRows && job.block_tokens >= kLanes && job.head_dim % kLanes == 0;
}

// The row of the step that a row of the job belongs to.
PREFIXD_INLINE size_t RowOf(const AttendJob& job, int row) {
  return static_cast<size_t>(job.rows[row / job.group]);
}
PREFIXD_INLINE int LastToken(const AttendJob& job, int row) { return job.first_position + row / job.group; }
// The first token of the window of a row: numerics::WindowStart.
PREFIXD_INLINE int FirstToken(const AttendJob& job, int row) {
  const int last = LastToken(job, row);
  return job.window == 0 || last < job.window ? 0 : last - job.window + 1;
}

template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Plane(const AttendJob& job, int token, size_t offset) {
  const size_t block = job.blocks[token / job.block_tokens];
  return reinterpret_cast<const typename Element<kType>::Type*>(job.pool + block * job.block_bytes + offset);
}

template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Keys(const AttendJob& job, int token) {
  return Plane<kType>(job, token, job.k_offset) + token % job.block_tokens;
}
template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Values(const AttendJob& job, int token) {
  return Plane<kType>(job, token, job.v_offset) +
         static_cast<size_t>(token % job.block_tokens) * job.head_dim;
}

// Widens K of 16 tokens, from `token` on, to k[d * kTileTokens + i]. `count` of the tokens exist. With blocks
// of fewer than 16 tokens it gathers the tokens from several blocks.
template <DType kType>
void WidenKeys(const AttendJob& job, int token, int count, float* k) {
  using Type = typename Element<kType>::Type;
  if (job.block_tokens >= kLanes) {
    const Type* from = Keys<kType>(job, token);
    for (int d = 0; d < job.head_dim; ++d) {
      Store(k + d * kTileTokens, Widen<kType>(from + static_cast<size_t>(d) * job.block_tokens));
    }
    return;
  }
  for (int d = 0; d < job.head_dim; ++d) {
    Type together[kLanes] = {};
    for (int t = 0; t < Min(count, kLanes); ++t) {
      together[t] = Keys<kType>(job, token + t)[static_cast<size_t>(d) * job.block_tokens];
    }
    Store(k + d * kTileTokens, Widen<kType>(together));
  }
}

// Widens V of one token to v[0 .. padded - 1].
template <DType kType>
void WidenValues(const AttendJob& job, int token, float* v) {
  using Type = typename Element<kType>::Type;
  const Type* from = Values<kType>(job, token);
  int d = 0;
  for (; d + kLanes <= job.head_dim; d += kLanes) Store(v + d, Widen<kType>(from + d));
  if (d == job.head_dim) return;
  Type rest[kLanes] = {};
  for (int i = 0; d + i < job.head_dim; ++i) rest[i] = from[d + i];
  Store(v + d, Widen<kType>(rest));
}

// Widens the tokens begin .. end - 1 of the tile into scratch. K starts at the panel that holds `begin`.
template <DType kType>
void WidenTile(const AttendJob& job, const AttendState& s, int tile, int begin, int end) {
  const int first = begin / kPanel * kPanel;
  for (int t = first; t < end; t += kLanes) WidenKeys<kType>(job, tile + t, end - t, s.k + t);
  for (int t = begin; t < end; ++t) WidenValues<kType>(job, tile + t, s.v + t * s.padded);
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

// Sets next_keys and next_values to parts of the next tile such that the KV heads of the job together get all
// of it in the order of memory: block by block, the K planes of all heads before the V planes. Requires
// blocks of kLanes tokens. What would follow `last` is in the tile itself.
template <DType kType>
PREFIXD_INLINE void SetPlanesAhead(const AttendJob& job, int kv_head, int tile, int last, KvTile<kType>& kv) {
  const int planes = 2 * job.kv_heads;
  const int first = 2 * kTileVectors * kv_head;  // of the planes of the tile
  int token = tile + kTileTokens + first / planes * kLanes, plane = first % planes;
  const size_t of_head = static_cast<size_t>(kv_head) * job.plane_bytes;
  const auto next_plane = [&] {
    const size_t kind = plane < job.kv_heads ? job.k_offset : job.v_offset;
    const size_t head = static_cast<size_t>(plane < job.kv_heads ? plane : plane - job.kv_heads);
    const auto* ahead =
        Plane<kType>(job, token <= last ? token : tile, kind - of_head + head * job.plane_bytes);
    if (++plane == planes) plane = 0, token += kLanes;
    return ahead;
  };
  for (int v = 0; v < kTileVectors; ++v) kv.next_keys[v] = next_plane();
  for (int v = 0; v < kTileVectors; ++v) kv.next_values[v] = next_plane();
}

// Returns pointers to the first `count` tokens of the tile in their blocks. Vectors past them point to the
// first tokens again; they are read but not used. `last` is the last token that the job reads; what would
// follow it points to the tile itself.
template <DType kType>
PREFIXD_INLINE KvTile<kType> TileInPlace(const AttendJob& job, int kv_head, int tile, int count, int last) {
  const auto next = [last](int token) { return token + kTileTokens <= last ? token + kTileTokens : token; };
  KvTile<kType> kv = {};
  for (int v = 0; v < kTileVectors; ++v) {
    const int token = tile + (v * kLanes < count ? v * kLanes : 0);
    kv.keys[v] = Keys<kType>(job, token);
    kv.next_keys[v] = Keys<kType>(job, next(token));
  }
  kv.key_step = job.block_tokens;
  kv.value_run = Min(job.block_tokens, kTileTokens);
  kv.value_step = job.head_dim;
  for (int run = 0; run * kv.value_run < kTileTokens; ++run) {
    const int token = tile + (run * kv.value_run < count ? run * kv.value_run : 0);
    kv.values[run] = Values<kType>(job, token);
    kv.next_values[run] = Values<kType>(job, next(token));
  }
  if (job.kv_heads > 1 && job.block_tokens == kLanes) SetPlanesAhead(job, kv_head, tile, last, kv);
  return kv;
}

}  // namespace prefixd::PREFIXD_ISA
