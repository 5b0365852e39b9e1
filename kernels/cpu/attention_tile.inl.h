// Attention over one tile of tokens: scores, softmax and weighted sums. Included by the source of one
// instruction set, after attention_kv.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The order of the lanes while a tile sums: that of Split, or their own.
template <DType kType>
constexpr bool kSplits = (kType == DType::kBF16) && kSplitsBF16;

// Writes the sums of a tile to rows that are `stride` floats apart.
template <bool kSplit = false, int kRows, int kVectors>
PREFIXD_INLINE void StoreRows(const Tile<kRows, kVectors>& tile, float* to, int stride) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      Store(to + r * stride + v * kLanes, kSplit ? Join(tile.acc[r][v]) : tile.acc[r][v]);
  }
}

// Starts the sums of a tile with such rows, each times its factor.
template <bool kSplit = false, int kRows, int kVectors>
PREFIXD_INLINE void LoadScaled(Tile<kRows, kVectors>& tile, const float* from, int stride,
                               const float* factors) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const F32x16 sums = Load(from + r * stride + v * kLanes);
      tile.acc[r][v] = Mul(kSplit ? Split(sums) : sums, Set(factors[r]));
    }
  }
}

// A tile of few rows has more vectors, as long as it has at most kSums of sums. Otherwise its sums, each a
// chain of fma, would be too few to hide the latency of one.
template <int kRows, int kSums, int kVectors>
constexpr int MostVectors() {
  if constexpr (kVectors > kPanelVectors && kRows * kVectors > kSums) {
    return MostVectors<kRows, kSums, kVectors / 2>();
  }
  return kVectors;
}
// Of a KvTile, and of a QuantTile, whose scales take registers as well.
template <int kRows, typename Kv>
constexpr int kMostVectors = MostVectors<kRows, kAttentionSums, kTileVectors>();

// Computes the scores p[r][t] of a block of rows for the tokens of kVectors vectors, from t on.
template <int kVectors, int kRows, DType kType>
PREFIXD_INLINE void ScoresAt(int t, const AttendState& s, const KvTile<kType>& kv, const float* q) {
  const typename Element<kType>::Type* keys[kVectors];
  for (int v = 0; v < kVectors; ++v) keys[v] = kv.keys[t / kLanes + v];
  Tile<kRows, kVectors> tile;
  Clear(tile);
  constexpr int kNext = kReadsAhead<kType> ? kVectors : 0;
  AddProducts<1, 1, kRows, kType, kNext, kSplits<kType>>(tile, q, keys, kv.key_step, s.dim,
                                                         kv.next_keys + t / kLanes, kv.key_step);
  StoreRows<kSplits<kType>>(tile, s.p + t, kTileTokens);
}

// Computes out[r] = out[r] * rescale[r] + sum of p[r][t] V[t] over the tokens begin .. end - 1, for the
// kVectors vectors that start at dimension d.
template <int kVectors, int kRows, DType kType>
PREFIXD_INLINE void AddValuesAt(int d, const AttendState& s, const KvTile<kType>& kv, const float* p,
                                const float* rescale, float* out, int begin, int end) {
  Tile<kRows, kVectors> tile;
  LoadScaled<kSplits<kType>>(tile, out + d, s.padded, rescale);
  for (int t = begin; t < end;) {
    const int in_run = t % kv.value_run;
    const int terms = Min(kv.value_run - in_run, end - t);
    const auto* values = kv.values[t / kv.value_run] + in_run * kv.value_step + d;
    // These vectors are a part of every token. They prefetch as large a part of the next runs, line by line.
    using Type = typename Element<kType>::Type;
    constexpr int kLine = 64 / sizeof(Type), kLines = (kVectors * kLanes + kLine - 1) / kLine;
    constexpr int kNext = kReadsAhead<kType> ? kLines : 0;
    const Type* next[kLines];
    const int ahead = d * kTileTokens + t * kVectors * kLanes, run = kv.value_run * s.dim;
    const int in_next = Min(ahead % run, run - terms * kVectors * kLanes);
    for (int i = 0; i < kNext; ++i) next[i] = kv.next_values[ahead / run] + in_next + i * kLine;
    AddProducts<kVectors, kTileTokens, 1, kType, kNext, kSplits<kType>>(tile, p + t, {values}, kv.value_step,
                                                                        terms, next, kVectors * kLanes);
    t += terms;
  }
  StoreRows<kSplits<kType>>(tile, out + d, s.padded);
}

// K and V of one tile of the type q8_0, in their blocks; the fields are those of KvTile. The next tile is
// prefetched to L1: arithmetic bounds these, and reading it from L2 was slower.
struct QuantTile {
  const int8_t* keys[kTileVectors];
  const uint16_t* key_scales[kTileVectors];  // of the first dimensions; key_step apart
  size_t key_step;
  const int8_t* values[kTileVectors];
  const float* value_scales;  // [kTileTokens][dim / kScaleDims], widened
  int value_run;
  const int8_t* next_keys[kTileVectors];
  const int8_t* next_values[kTileVectors];
};

template <int kRows>
constexpr int kMostVectors<kRows, QuantTile> = MostVectors<kRows, kQuantAttentionSums, 2 * kPanelVectors>();

template <int kVectors, int kRows>
PREFIXD_INLINE void ScoresAt(int t, const AttendState& s, const QuantTile& kv, const float* q) {
  Tile<kRows, kVectors> tile;
  Clear(tile);
  const float* x = q;
  size_t at = 0;
  for (int b = 0; b < s.dim / kScaleDims; ++b) {
    F32x16 scales[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      scales[v] = FromF16(kv.key_scales[t / kLanes + v] + static_cast<size_t>(b) * kv.key_step);
    for (int i = 0; i < kScaleDims; ++i, at += kv.key_step, x += kRows) {
      F32x16 keys[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        Prefetch(kv.next_keys[t / kLanes + v] + at);
        keys[v] = Mul(FromI8(kv.keys[t / kLanes + v] + at), scales[v]);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const F32x16 value = Set(x[r]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Fma(value, keys[v], tile.acc[r][v]);
      }
    }
  }
  StoreRows(tile, s.p + t, kTileTokens);
}

template <int kVectors, int kRows>
PREFIXD_INLINE void AddValuesAt(int d, const AttendState& s, const QuantTile& kv, const float* p,
                                const float* rescale, float* out, int begin, int end) {
  Tile<kRows, kVectors> tile;
  LoadScaled(tile, out + d, s.padded, rescale);
  const auto dims = static_cast<size_t>(s.dim);
  for (int t = begin; t < end;) {
    const int run = t / kv.value_run;
    const int run_end = Min((run + 1) * kv.value_run, end);
    const size_t in_run = static_cast<size_t>(t % kv.value_run);
    const int8_t* values = kv.values[run] + in_run * dims + d;
    const int8_t* next = kv.next_values[run] + in_run * dims + d;
    const float* scales = kv.value_scales + (static_cast<size_t>(t) * dims + d) / kScaleDims;
    for (; t < run_end; ++t, values += dims, next += dims, scales += dims / kScaleDims) {
      Prefetch(next);
      F32x16 weights[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        weights[v] = Mul(FromI8(values + v * kLanes), Set(scales[v * kLanes / kScaleDims]));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const F32x16 probability = Set(p[r * kTileTokens + t]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) tile.acc[r][v] = Fma(probability, weights[v], tile.acc[r][v]);
      }
    }
  }
  StoreRows(tile, out + d, s.padded);
}

// Computes the scores of a block of rows for the tokens begin .. end - 1 of the tile, extended to whole
// panels.
template <int kRows, typename Kv>
void Scores(const AttendState& s, const Kv& kv, const float* q, int begin, int end) {
  constexpr int kMost = kMostVectors<kRows, Kv> * kLanes;
  int t = begin / kPanel * kPanel;
  for (; t + kMost - kPanel < end; t += kMost) ScoresAt<kMostVectors<kRows, Kv>, kRows>(t, s, kv, q);
  if constexpr (kMost > kPanel) {
    for (; t < end; t += kPanel) ScoresAt<kPanelVectors, kRows>(t, s, kv, q);
  }
}

// Processes as many vectors of outputs at once as it may, and the rest in single ones.
template <int kRows, typename Kv>
void AddValues(const AttendState& s, const Kv& kv, const float* p, const float* rescale, float* out,
               int begin, int end) {
  constexpr int kMost = kMostVectors<kRows, Kv> * kLanes;
  int d = 0;
  for (; d + kMost <= s.padded; d += kMost)
    AddValuesAt<kMostVectors<kRows, Kv>, kRows>(d, s, kv, p, rescale, out, begin, end);
  for (; d + kPanel <= s.padded; d += kPanel)
    AddValuesAt<kPanelVectors, kRows>(d, s, kv, p, rescale, out, begin, end);
  if constexpr (kPanelVectors > 1) {
    for (; d < s.padded; d += kLanes) AddValuesAt<1, kRows>(d, s, kv, p, rescale, out, begin, end);
  }
}

// ScoresForRows and AddValuesForRows select the instance for the number of rows.
template <typename Kv, int kRows = kTileRows>
void ScoresForRows(int rows, const AttendState& s, const Kv& kv, const float* q, int begin, int end) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return ScoresForRows<Kv, kRows - 1>(rows, s, kv, q, begin, end);
  }
  Scores<kRows>(s, kv, q, begin, end);
}

template <typename Kv, int kRows = kTileRows>
void AddValuesForRows(int rows, const AttendState& s, const Kv& kv, const float* p, const float* rescale,
                      float* out, int begin, int end) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return AddValuesForRows<Kv, kRows - 1>(rows, s, kv, p, rescale, out, begin, end);
  }
  AddValues<kRows>(s, kv, p, rescale, out, begin, end);
}

// Returns the 16 scores from `token` on, with -inf for tokens outside begin .. end - 1.
PREFIXD_INLINE F32x16 ScoresAmong(const float* p, int token, int begin, int end) {
  const F32x16 none = Set(-__builtin_inff());
  if (token + kLanes <= begin || token >= end) return none;
  F32x16 scores = Load(p + token);
  if (token + kLanes > end) scores = SelectFirst(end - token, scores, none);
  if (token < begin) scores = SelectFirst(begin - token, none, scores);
  return scores;
}

// Returns the maximum of `max` and the scores begin .. end - 1 of a row.
PREFIXD_INLINE float LargestScore(const float* p, int begin, int end, float max) {
  F32x16 largest = Set(max);
#pragma GCC unroll 16
  for (int v = 0; v < kTileVectors; ++v) largest = Max(largest, ScoresAmong(p, v * kLanes, begin, end));
  return MergeMax(largest);
}

// Replaces the scores begin .. end - 1 of a row by their probabilities relative to its new maximum, and
// updates *max and sums. Returns the factor that rescales earlier sums.
PREFIXD_INLINE float Softmax(float* p, int begin, int end, float new_max, float* max, float* sums) {
  const F32x16 reference = Set(new_max);
  const F32x16 rescale = Exp(Sub(Set(*max), reference));
  F32x16 sum = Mul(Load(sums), rescale);
  for (int v = begin / kLanes; v * kLanes < end; ++v) {  // lanes outside begin .. end - 1 add Exp(-inf) = +0
    const F32x16 probability = Exp(Sub(ScoresAmong(p, v * kLanes, begin, end), reference));
    Store(p + v * kLanes, probability);
    sum = Add(sum, probability);
  }
  Store(sums, sum);
  *max = new_max;
  float factor[kLanes];
  Store(factor, rescale);
  return factor[0];
}

// Processes one block of rows over one tile. The first rows may lie before the tile, and the windows of the
// last rows may begin after it.
template <typename Kv>
void AttendBlock(const AttendJob& job, const AttendState& s, const Kv& kv, int first, int tile) {
  const int rows = Min(kTileRows, s.rows - first);
  int begin[kTileRows], end[kTileRows];  // the tokens of the tile that each row sees
  for (int r = 0; r < rows; ++r) {
    begin[r] = Max(0, FirstToken(job, first + r) - tile);
    end[r] = Min(kTileTokens, LastToken(job, first + r) + 1 - tile);
  }
  int first_seeing = 0, end_seeing = rows;
  while (first_seeing < rows && end[first_seeing] <= 0) ++first_seeing;
  while (end_seeing > first_seeing && begin[end_seeing - 1] >= kTileTokens) --end_seeing;
  if (first_seeing == end_seeing) return;
  ScoresForRows(rows, s, kv, s.q + first * s.dim, begin[first_seeing], end[end_seeing - 1]);
  float largest[kTileRows];  // all of them first: no row waits for the exponentials of the one before
  for (int r = first_seeing; r < end_seeing; ++r)
    largest[r] = LargestScore(s.p + r * kTileTokens, begin[r], end[r], s.max[first + r]);
  for (int r = first_seeing; r < end_seeing; ++r) {
    s.rescale[r] = Softmax(s.p + r * kTileTokens, begin[r], end[r], largest[r], &s.max[first + r],
                           s.sums + (first + r) * kLanes);
  }
  for (int r = first_seeing; r < end_seeing;) {  // rows that see the same tokens are processed together
    int same = 1;
    while (r + same < end_seeing && begin[r + same] == begin[r] && end[r + same] == end[r]) ++same;
    AddValuesForRows(same, s, kv, s.p + r * kTileTokens, s.rescale + r, s.out + (first + r) * s.padded,
                     begin[r], end[r]);
    r += same;
  }
}

}  // namespace prefixd::PREFIXD_ISA
