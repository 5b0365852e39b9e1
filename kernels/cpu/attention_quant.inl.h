// Attention over KV of the type q8_0 (kernels/numerics.h, rule 10): a job of few rows reads a tile in place,
// one of many rows first widens it to f32 in scratch. Included by the source of one instruction set, after
// attention_tile.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// K or V of one KV head in a block.
struct QuantPlane {
  const int8_t* integers;
  const uint16_t* scales;
};

PREFIXD_INLINE QuantPlane QuantPlaneOf(const AttendJob& job, int token, size_t offset) {
  const std::byte* plane = BlockOf(job, token) + offset;
  const size_t elements = static_cast<size_t>(job.head_dim) * static_cast<size_t>(job.block_tokens);
  return {reinterpret_cast<const int8_t*>(plane), reinterpret_cast<const uint16_t*>(plane + elements)};
}

// Widens K of 16 tokens, which lie in one block, to k[d * kTileTokens + i], and prefetches those of another
// block, `next`.
void WidenQuantKeys(const AttendJob& job, int token, int next, float* k) {
  const auto step = static_cast<size_t>(job.block_tokens);
  const QuantPlane plane = QuantPlaneOf(job, token, job.k_offset);
  const int8_t* from = plane.integers + token % job.block_tokens;
  const int8_t* ahead = QuantPlaneOf(job, next, job.k_offset).integers + next % job.block_tokens;
  const uint16_t* scales = plane.scales + token % job.block_tokens;
  for (int d = 0; d < job.head_dim; d += kScaleDims, scales += step) {
    const F32x16 scale = FromF16(scales);
    for (int i = 0; i < kScaleDims; ++i, from += step, ahead += step, k += kTileTokens) {
      Prefetch(ahead);
      Store(k, Mul(FromI8(from), scale));
    }
  }
}

// The same for blocks of fewer than 16 tokens: gathers `count` tokens from several blocks.
void GatherQuantKeys(const AttendJob& job, int token, int count, float* k) {
  const auto step = static_cast<size_t>(job.block_tokens);
  for (int d = 0; d < job.head_dim; ++d, k += kTileTokens) {
    int8_t integers[kLanes] = {};
    uint16_t scales[kLanes] = {};
    for (int t = 0; t < Min(count, kLanes); ++t) {
      const QuantPlane plane = QuantPlaneOf(job, token + t, job.k_offset);
      const int in_block = (token + t) % job.block_tokens;
      integers[t] = plane.integers[static_cast<size_t>(d) * step + static_cast<size_t>(in_block)];
      scales[t] = plane.scales[static_cast<size_t>(d / kScaleDims) * step + static_cast<size_t>(in_block)];
    }
    Store(k, Mul(FromI8(integers), FromF16(scales)));
  }
}

// Widens V of one token to v[0 .. head_dim - 1], which are whole vectors, and prefetches that of `next`.
void WidenQuantValues(const AttendJob& job, int token, int next, float* v) {
  const QuantPlane plane = QuantPlaneOf(job, token, job.v_offset);
  const auto in_block = static_cast<size_t>(token % job.block_tokens);
  const auto dims = static_cast<size_t>(job.head_dim);
  const int8_t* from = plane.integers + in_block * dims;
  const int8_t* ahead =
      QuantPlaneOf(job, next, job.v_offset).integers + static_cast<size_t>(next % job.block_tokens) * dims;
  const uint16_t* scales = plane.scales + in_block * (dims / kScaleDims);
  for (int d = 0; d < job.head_dim; d += kScaleDims, ++scales) {
    const F32x16 scale = SetF16(scales);
    Prefetch(ahead + d);
    Store(v + d, Mul(FromI8(from + d), scale));
    Store(v + d + kLanes, Mul(FromI8(from + d + kLanes), scale));
  }
}

// Widens the tokens begin .. end - 1 of the tile, as WidenTile does. `last` is the last token that the job
// reads.
void WidenQuantTile(const AttendJob& job, const AttendState& s, int tile, int begin, int end, int last) {
  const auto next = [last](int token) { return token + kTileTokens <= last ? token + kTileTokens : token; };
  for (int t = begin / kPanel * kPanel; t < end; t += kLanes) {
    if (job.block_tokens >= kLanes)
      WidenQuantKeys(job, tile + t, next(tile + t), s.k + t);
    else
      GatherQuantKeys(job, tile + t, end - t, s.k + t);
  }
  for (int t = begin; t < end; ++t) WidenQuantValues(job, tile + t, next(tile + t), s.v + t * s.padded);
}

// Returns pointers to the first `count` tokens of the tile in their blocks, as TileInPlace does, and widens
// the scales of V into the scratch of widened values, which is free then.
QuantTile QuantTileInPlace(const AttendJob& job, const AttendState& s, int tile, int count, int last) {
  const auto next = [last](int token) { return token + kTileTokens <= last ? token + kTileTokens : token; };
  const auto dims = static_cast<size_t>(job.head_dim);
  QuantTile kv = {};
  for (int v = 0; v < kTileVectors; ++v) {
    const int token = tile + (v * kLanes < count ? v * kLanes : 0), ahead = next(token);
    const QuantPlane plane = QuantPlaneOf(job, token, job.k_offset);
    kv.keys[v] = plane.integers + token % job.block_tokens;
    kv.key_scales[v] = plane.scales + token % job.block_tokens;
    kv.next_keys[v] = QuantPlaneOf(job, ahead, job.k_offset).integers + ahead % job.block_tokens;
  }
  kv.key_step = static_cast<size_t>(job.block_tokens);
  kv.value_run = Min(job.block_tokens, kTileTokens);
  kv.value_scales = s.v;
  const size_t scales_of_run = static_cast<size_t>(kv.value_run) * (dims / kScaleDims);
  for (int run = 0; run * kv.value_run < count; ++run) {
    const int token = tile + run * kv.value_run, ahead = next(token);
    const QuantPlane plane = QuantPlaneOf(job, token, job.v_offset);
    const auto in_block = static_cast<size_t>(token % job.block_tokens);
    kv.values[run] = plane.integers + in_block * dims;
    kv.next_values[run] = QuantPlaneOf(job, ahead, job.v_offset).integers +
                          static_cast<size_t>(ahead % job.block_tokens) * dims;
    const uint16_t* scales = plane.scales + in_block * (dims / kScaleDims);
    for (size_t i = 0; i < scales_of_run; i += kLanes)
      Store(s.v + static_cast<size_t>(run) * scales_of_run + i, FromF16(scales + i));
  }
  return kv;
}

}  // namespace prefixd::PREFIXD_ISA
