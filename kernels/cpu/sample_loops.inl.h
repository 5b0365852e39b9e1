// The loops of a draw that visit every token of the vocabulary, in plain code: the compiler vectorises them
// for the instruction set of the file that includes this one. Their results are those of kernels/sampling.h,
// bit for bit, for every width: no operation is fused or reordered. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

constexpr int kSampleLanes = 16;

void LargestLogits(const float* logits, size_t n, float* largest) {
  for (size_t first = 0; first < n; first += kSampleBlock, ++largest) {
    float lanes[kSampleLanes];
    for (float& lane : lanes) lane = -__builtin_inff();
    size_t i = first;
    const size_t end = first + kSampleBlock < n ? first + kSampleBlock : n;
    for (; i + kSampleLanes <= end; i += kSampleLanes) {
      for (int j = 0; j < kSampleLanes; ++j) {
        const float logit = logits[i + static_cast<size_t>(j)];
        lanes[j] = logit > lanes[j] ? logit : lanes[j];  // false for NaN
      }
    }
    float most = -__builtin_inff();
    for (; i < end; ++i) most = logits[i] > most ? logits[i] : most;
    for (const float lane : lanes) most = lane > most ? lane : most;
    *largest = most;
  }
}

// sampling::WeightOf of (logit - largest) / temperature.
void SetWeights(const float* logits, size_t n, float largest, float temperature, float* weights) {
  for (size_t i = 0; i < n; ++i) {
    const float from = (logits[i] - largest) / temperature;
    const float bounded = from >= -87.0f ? from : -87.0f;
    const float x = bounded <= 0.0f ? bounded : 0.0f;
    const float shifted = x * 1.44269504088896341f + 12582912.0f;
    const float n_float = shifted - 12582912.0f;
    const float r = (x - n_float * 0.693359375f) - n_float * -2.12194440e-4f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t exponent = static_cast<int32_t>(n_float) + 127;
    const float result = p * __builtin_bit_cast(float, exponent << 23);
    weights[i] = from == x ? result : 0.0f;
  }
}

// The words are those of sampling::Philox, halved so that they convert to f32 as signed integers.
bool AnyCanWin(uint64_t seed, uint32_t position, uint32_t first, const float* weights, float bound,
               int32_t* words) {
  for (uint32_t j = 0; j < kSampleBlock / 4; ++j) {
    uint32_t c0 = first / 4 + j, c1 = position, c2 = 0, c3 = 0;
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * c0;
      const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
      c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
      c1 = static_cast<uint32_t>(product1);
      c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
      c3 = static_cast<uint32_t>(product0);
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    words[4 * j] = static_cast<int32_t>(c0 >> 1);
    words[4 * j + 1] = static_cast<int32_t>(c1 >> 1);
    words[4 * j + 2] = static_cast<int32_t>(c2 >> 1);
    words[4 * j + 3] = static_cast<int32_t>(c3 >> 1);
  }
  uint32_t any = 0;
  for (int j = 0; j < kSampleBlock; ++j)
    any |= static_cast<float>(words[j]) * 0x1.0p-31f <= weights[j] * bound ? 1u : 0u;
  return any != 0;
}

// Of sampling::FixedPoint of the weights.
uint64_t SumWeights(const float* weights, size_t n) {
  int64_t sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<int64_t>(weights[i] * 0x1.0p+40f);
  return static_cast<uint64_t>(sum);
}

}  // namespace prefixd::PREFIXD_ISA
