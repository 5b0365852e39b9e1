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

// The planes that a KV head of a job reads ahead, of the vectors of the next tile. The KV heads of the job
// together read all of it in the order of memory: block by block, the K planes of all heads before the V
// planes.
struct PlanesAhead {
  int vector[2 * kTileVectors];     // of the next tile
  size_t offset[2 * kTileVectors];  // of the plane in its block
};

// One KV head of a job: what it reads ahead, and its scratch arrays. The arrays of all heads are in one
// allocation. The heads share k, v, p and rescale.
struct AttendState {
  PlanesAhead ahead = {};  // set if ReadsTogether
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
  // Parts of the tile that follows, to prefetch them: those that `keys` and `values` are of this tile, or, if
  // ReadsTogether, those of PlanesAhead. Not set in a widened tile.
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

// Whether the KV heads of a job read the next tile ahead together.
PREFIXD_INLINE bool ReadsTogether(const AttendJob& job) {
  return job.kv_heads > 1 && job.block_tokens == kLanes;
}

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

// Entry `index` of the block table.
PREFIXD_INLINE const std::byte* BlockAt(const AttendJob& job, int index) {
  const KvPlace& kv = job.kv;
  const size_t id = job.blocks[index];
  if (id >= kv.rest_first) return kv.rest + (id - kv.rest_first) * kv.block_bytes;
  return kv.begin + (id >> kv.group_shift) * kv.group_bytes + (id & kv.group_mask) * kv.block_bytes;
}

// The block that holds a token.
PREFIXD_INLINE const std::byte* BlockOf(const AttendJob& job, int token) {
  return BlockAt(job, token / job.block_tokens);
}

template <DType kType>
PREFIXD_INLINE const typename Element<kType>::Type* Plane(const AttendJob& job, int token, size_t offset) {
  return reinterpret_cast<const typename Element<kType>::Type*>(BlockOf(job, token) + offset);
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

// Where the vectors of a tile lie: in which block, and at which of its tokens each begins.
struct TileBlocks {
  const std::byte* block[kTileVectors];
  int in_block[kTileVectors];
};

// Finds the vectors of the tile at `tile` that begin before the token `end`. The others are set to the vector
// at `in_first` of the block `first`: kernels may read it there, but use nothing of it.
PREFIXD_INLINE TileBlocks FindBlocks(const AttendJob& job, int tile, int end, const std::byte* first,
                                     int in_first) {
  TileBlocks found;
  const std::byte* block = first;
  int index = tile / job.block_tokens, in_block = tile % job.block_tokens;
  for (int v = 0; v < kTileVectors; ++v) {
    const bool exists = tile + v * kLanes < end;
    if (exists && (v == 0 || in_block == 0)) block = BlockAt(job, index++);
    found.block[v] = exists ? block : first;
    found.in_block[v] = exists ? in_block : in_first;
    in_block += kLanes;
    if (in_block == job.block_tokens) in_block = 0;
  }
  return found;
}

// Sets the pointers to the K of the vectors of a tile, and to their V, run by run.
template <DType kType, typename Type = typename Element<kType>::Type>
PREFIXD_INLINE void SetTile(const AttendJob& job, const TileBlocks& at, int value_run,
                            const Type* (&keys)[kTileVectors], const Type* (&values)[kTileVectors]) {
  for (int v = 0; v < kTileVectors; ++v) {
    keys[v] = reinterpret_cast<const Type*>(at.block[v] + job.k_offset) + at.in_block[v];
    const int begins = v * value_run / kLanes % kTileVectors;  // past the last run: any vector
    values[v] = reinterpret_cast<const Type*>(at.block[begins] + job.v_offset) +
                static_cast<size_t>(at.in_block[begins]) * job.head_dim;
  }
}

// Sets what a KV head reads ahead. Requires blocks of kLanes tokens. `job` has all KV heads, and kv_head is
// one of them.
PREFIXD_INLINE void SetPlanesAhead(const AttendJob& job, int kv_head, PlanesAhead& ahead) {
  const int planes = 2 * job.kv_heads, first = 2 * kTileVectors * kv_head;
  int vector = first / planes, plane = first % planes;
  for (int i = 0; i < 2 * kTileVectors; ++i) {
    const bool of_k = plane < job.kv_heads;
    ahead.vector[i] = vector;
    ahead.offset[i] = (of_k ? job.k_offset : job.v_offset) +
                      static_cast<size_t>(of_k ? plane : plane - job.kv_heads) * job.plane_bytes;
    if (++plane == planes) plane = 0, ++vector;
  }
}

// Returns pointers to the first `count` tokens of the tile in their blocks. `last` is the last token that the
// job reads; what would follow it points to the tile itself.
template <DType kType>
PREFIXD_INLINE KvTile<kType> TileInPlace(const AttendJob& job, const PlanesAhead& ahead, int tile, int count,
                                         int last) {
  using Type = typename Element<kType>::Type;
  const std::byte* const first = BlockOf(job, tile);
  const int in_first = tile % job.block_tokens;
  const TileBlocks here = FindBlocks(job, tile, tile + count, first, in_first);
  const TileBlocks next = FindBlocks(job, tile + kTileTokens, last + 1, first, in_first);
  KvTile<kType> kv;
  kv.key_step = job.block_tokens;
  kv.value_run = Min(job.block_tokens, kTileTokens);
  kv.value_step = job.head_dim;
  SetTile<kType>(job, here, kv.value_run, kv.keys, kv.values);
  if (!ReadsTogether(job)) {
    SetTile<kType>(job, next, kv.value_run, kv.next_keys, kv.next_values);
    return kv;
  }
  const auto plane = [&](int i) {
    return reinterpret_cast<const Type*>(next.block[ahead.vector[i]] + ahead.offset[i]);
  };
  for (int v = 0; v < kTileVectors; ++v) kv.next_keys[v] = plane(v);
  for (int v = 0; v < kTileVectors; ++v) kv.next_values[v] = plane(kTileVectors + v);
  return kv;
}

}  // namespace prefixd::PREFIXD_ISA
