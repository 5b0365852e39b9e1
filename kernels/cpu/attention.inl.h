// Paged attention by rule 7 of kernels/numerics.h: processes the tiles of each span in order, and folds the
// results of the spans in order. Included by the source of one instruction set, after
// attention_tile.inl.h and attention_quant.inl.h.
// Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

size_t AttendScratch(const AttendJob& job) {
  const size_t rows = static_cast<size_t>(job.kv_heads) * job.positions * job.group;
  const size_t padded = PaddedDim(job.head_dim);
  return rows * (job.head_dim + kLanes + kLanes + padded + kHeader + padded) +
         kTileTokens * (job.head_dim + padded + kTileRows) + kLanes;
}

// Divides the scratch memory of a job into the arrays of its KV heads.
PREFIXD_INLINE AttendState DivideScratch(const AttendJob& job, float* scratch, int kv_head) {
  AttendState s;
  s.rows = job.positions * job.group;
  s.dim = job.head_dim;
  s.padded = PaddedDim(job.head_dim);
  s.k = scratch;
  s.v = s.k + kTileTokens * s.dim;
  s.p = s.v + kTileTokens * s.padded;
  s.rescale = s.p + kTileTokens * kTileRows;
  float* next = s.rescale + kLanes;
  const auto take = [&](int floats_of_row) {
    float* const of_head = next + static_cast<size_t>(kv_head) * s.rows * floats_of_row;
    next += static_cast<size_t>(job.kv_heads) * s.rows * floats_of_row;
    return of_head;
  };
  s.sums = take(kLanes);
  s.out = take(s.padded);
  s.total = take(kHeader + s.padded);
  s.max = take(kLanes);
  s.q = take(s.dim);
  return s;
}

void ScaleQueries(const AttendJob& job, const AttendState& s) {
  const auto query = [&job, &s](int row) {
    return job.q + RowOf(job, row) * job.q_stride + (row % job.group) * s.dim;
  };
  for (int first = 0; first < s.rows; first += kTileRows) {
    const int count = Min(kTileRows, s.rows - first);
    float* const to = s.q + first * s.dim;
    int d = 0;
    for (; count == kTileRows && d + kLanes <= s.dim; d += kLanes) {  // the usual case of many rows
      float rows[kTileRows][kLanes];
      for (int r = 0; r < kTileRows; ++r) Store(rows[r], Mul(Load(query(first + r) + d), Set(job.scale)));
      WriteColumns(rows, 0, to + d * kTileRows);
    }
    for (int r = 0; r < count; ++r) {
      for (int i = d; i < s.dim; ++i) to[i * count + r] = query(first + r)[i] * job.scale;
    }
  }
}

// Folds the result (max, sum, out) of one more span into `total`, which has the same three parts.
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
  for (int d = 0; d < head_dim; d += kLanes)
    StoreUpTo(out + d, head_dim - d, Mul(Load(total + kHeader + d), inverse));
}

// The last token that a job reads.
PREFIXD_INLINE int LastOfJob(const AttendJob& job, int rows) {
  return Min(LastToken(job, rows - 1), job.end_span * kSpanTokens - 1);
}

// Processes the rows first_row .. end_row - 1 over a tile that was widened.
void AttendWidened(const AttendJob& job, const AttendState& s, int first_row, int end_row, int tile) {
  const KvTile<DType::kF32> kv = WidenedTile(s);
  for (int first = first_row / kTileRows * kTileRows; first < end_row; first += kTileRows) {
    AttendBlock(job, s, kv, first, tile);
  }
}

// Processes the rows first_row .. end_row - 1 over one tile.
template <DType kType>
void AttendTile(const AttendJob& job, const AttendState& s, int first_row, int end_row, int tile) {
  const int begin = Max(0, FirstToken(job, first_row) - tile);
  const int end = Min(kTileTokens, LastToken(job, end_row - 1) + 1 - tile);
  if (InPlace(job, s.rows)) {
    const KvTile<kType> kv = TileInPlace<kType>(job, s.ahead, tile, end, LastOfJob(job, s.rows));
    for (int first = first_row / kTileRows * kTileRows; first < end_row; first += kTileRows) {
      AttendBlock(job, s, kv, first, tile);
    }
    return;
  }
  WidenTile<kType>(job, s, tile, begin, end);
  AttendWidened(job, s, first_row, end_row, tile);
}

// The same for KV of the type q8_0.
void AttendQuantTile(const AttendJob& job, const AttendState& s, int first_row, int end_row, int tile) {
  const int begin = Max(0, FirstToken(job, first_row) - tile);
  const int end = Min(kTileTokens, LastToken(job, end_row - 1) + 1 - tile);
  if (InPlace(job, s.rows)) {
    const QuantTile kv = QuantTileInPlace(job, s, tile, end, LastOfJob(job, s.rows));
    for (int first = first_row / kTileRows * kTileRows; first < end_row; first += kTileRows)
      AttendBlock(job, s, kv, first, tile);
    return;
  }
  WidenQuantTile(job, s, tile, begin, end, LastOfJob(job, s.rows));
  AttendWidened(job, s, first_row, end_row, tile);
}

// One KV head of a job: what the job is for it alone, but for kv_heads.
struct HeadJob {
  AttendJob job;
  AttendState s;
};

PREFIXD_INLINE void BeginSpan(const AttendState& s, int first_row, int end_row) {
  for (int row = first_row; row < end_row; ++row) {
    s.max[row] = -__builtin_inff();
    Store(s.sums + row * kLanes, Zero());
    for (int d = 0; d < s.padded; d += kLanes) Store(s.out + row * s.padded + d, Zero());
  }
}

PREFIXD_INLINE void AttendTileOf(const AttendJob& job, const AttendState& s, int first_row, int end_row,
                                 int tile) {
  switch (job.type) {
    case KvType::kF32:
      return AttendTile<DType::kF32>(job, s, first_row, end_row, tile);
    case KvType::kF16:
      return AttendTile<DType::kF16>(job, s, first_row, end_row, tile);
    case KvType::kBF16:
      return AttendTile<DType::kBF16>(job, s, first_row, end_row, tile);
    case KvType::kQ8_0:
      return AttendQuantTile(job, s, first_row, end_row, tile);
    case KvType::kFp8:  // the backend makes no pool of it
      return;
  }
}

// Folds the results of a span into the totals of the rows.
PREFIXD_INLINE void EndSpan(const AttendJob& job, const AttendState& s, int first_row, int end_row,
                            int span) {
  for (int row = first_row; row < end_row; ++row) {
    float* total = s.total + static_cast<size_t>(row) * (kHeader + s.padded);
    const float sum = MergeSum(Load(s.sums + row * kLanes));
    const float* out = s.out + static_cast<size_t>(row) * s.padded;
    if (job.continues || span > Max(job.first_span, FirstToken(job, row) / kSpanTokens)) {
      FoldInto(total, s.max[row], sum, out, s.padded);
      continue;
    }
    total[0] = s.max[row];
    total[1] = sum;
    for (int d = 0; d < s.padded; d += kLanes) Store(total + kHeader + d, Load(out + d));
  }
}

// Processes one span of all KV heads, tile by tile. The rows first_row .. end_row - 1 of each head see at
// least one of its tokens.
void AttendSpan(const HeadJob* heads, int span) {
  const AttendJob& job = heads[0].job;
  const int begin = span * kSpanTokens;
  const int first_row = Max(0, begin - job.first_position) * job.group;
  int end_row = heads[0].s.rows;
  while (end_row > first_row && FirstToken(job, end_row - 1) >= begin + kSpanTokens) --end_row;
  if (first_row == end_row) return;
  for (int h = 0; h < job.kv_heads; ++h) BeginSpan(heads[h].s, first_row, end_row);
  const int last = Min(begin + kSpanTokens - 1, LastToken(job, end_row - 1));
  const int first = Max(begin, FirstToken(job, first_row));
  for (int tile = first / kTileTokens * kTileTokens; tile <= last; tile += kTileTokens) {
    for (int h = 0; h < job.kv_heads; ++h) AttendTileOf(heads[h].job, heads[h].s, first_row, end_row, tile);
  }
  for (int h = 0; h < job.kv_heads; ++h) EndSpan(heads[h].job, heads[h].s, first_row, end_row, span);
}

void CopyPartial(const float* from, int padded, float* to) {
  for (int d = 0; d < kHeader + padded; d += kLanes) Store(to + d, Load(from + d));
}

// The place in AttendJob::total of a row of the job.
PREFIXD_INLINE float* TotalOf(const AttendJob& job, int row, int partial_floats) {
  return job.total + RowOf(job, row) * job.total_stride + row % job.group * partial_floats;
}

PREFIXD_INLINE void BeginHead(const AttendJob& job, float* scratch, int kv_head, HeadJob* head) {
  head->s = DivideScratch(job, scratch, kv_head);
  if (ReadsTogether(job)) SetPlanesAhead(job, kv_head, head->s.ahead);
  head->job = job;
  const int first = kv_head * job.group, partial_floats = kHeader + head->s.padded;
  head->job.q += first * job.head_dim;
  head->job.k_offset += static_cast<size_t>(kv_head) * job.plane_bytes;
  head->job.v_offset += static_cast<size_t>(kv_head) * job.plane_bytes;
  if (job.out != nullptr) head->job.out += first * job.head_dim;
  head->job.total += first * partial_floats;
  ScaleQueries(head->job, head->s);
  for (int row = 0; job.continues && row < head->s.rows; ++row)
    CopyPartial(TotalOf(head->job, row, partial_floats), head->s.padded,
                head->s.total + row * partial_floats);
}

PREFIXD_INLINE void EndHead(const AttendJob& job, const AttendState& s) {
  const int partial_floats = kHeader + s.padded;
  for (int row = 0; row < s.rows; ++row) {
    const float* total = s.total + row * partial_floats;
    const int head = row % job.group;
    // A position that sees no token of the job's spans gets an unspecified partial result here. The caller
    // does not use it.
    if (job.out != nullptr) {
      Normalise(total, s.dim, job.out + RowOf(job, row) * job.out_stride + head * s.dim);
    } else if (job.partial != nullptr) {
      CopyPartial(total, s.padded,
                  job.partial + row / job.group * job.partial_stride + head * partial_floats);
    } else {
      CopyPartial(total, s.padded, TotalOf(job, row, partial_floats));
    }
  }
}

void Attend(const AttendJob& job, float* scratch) {
  HeadJob heads[cpu::kMostKvHeads];
  for (int h = 0; h < job.kv_heads; ++h) BeginHead(job, scratch, h, &heads[h]);
  for (int span = job.first_span; span < job.end_span; ++span) AttendSpan(heads, span);
  for (int h = 0; h < job.kv_heads; ++h) EndHead(heads[h].job, heads[h].s);
}

size_t PartialFloats(int head_dim) { return kHeader + PaddedDim(head_dim); }

void Fold(float* total, const float* partials, int count, size_t stride, int head_dim, float* out) {
  for (int i = 0; i < count; ++i) {
    const float* span = partials + i * stride;
    FoldInto(total, span[0], span[1], span + kHeader, PaddedDim(head_dim));
  }
  if (out != nullptr) Normalise(total, head_dim, out);
}

}  // namespace prefixd::PREFIXD_ISA
