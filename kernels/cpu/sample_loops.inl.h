// The loops of a draw that visit every token of the vocabulary, for the instruction set of the file that
// includes this one. The compiler vectorises those in plain code. Their results are those of
// kernels/sampling.h, bit for bit, for every width: no operation is fused or reordered. Pure functions; any
// thread.

namespace prefixd::PREFIXD_ISA {

constexpr int kSampleLanes = 16;

void LargestLogits(const float* logits, size_t n, float* largest) {
  for (size_t first = 0; first < n; first += kSampleBlock, ++largest) {
    size_t i = first;
    const size_t end = first + kSampleBlock < n ? first + kSampleBlock : n;
    F32x16 lanes = Set(-__builtin_inff());
    for (; i + kSampleLanes <= end; i += kSampleLanes) lanes = Max(Load(logits + i), lanes);
    float most = MergeMax(lanes);
    for (; i < end; ++i) most = logits[i] > most ? logits[i] : most;
    *largest = most;
  }
}

// sampling::WeightOf of (logit - largest) / temperature.
template <bool kDivides>
void SetWeightsOf(const float* logits, size_t n, float largest, float temperature, float* weights) {
  for (size_t i = 0; i < n; ++i) {
    const float above = logits[i] - largest;
    const float from = kDivides ? above / temperature : above;
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

// A division by 1 changes nothing and takes time.
void SetWeights(const float* logits, size_t n, float largest, float temperature, float* weights) {
  if (temperature == 1.0f) {
    SetWeightsOf<false>(logits, n, largest, temperature, weights);
  } else {
    SetWeightsOf<true>(logits, n, largest, temperature, weights);
  }
}

// The words are those of sampling::Philox, of eight blocks at once.
void HalvedWords(uint64_t seed, uint32_t position, uint32_t first, uint32_t of, int32_t* words) {
  const U32x8 multiplier0 = SetU32(0xD2511F53u), multiplier1 = SetU32(0xCD9E8D57u);
  for (uint32_t j = 0; j < kSampleBlock; j += 32) {
    U32x8 c0 = CountFrom((first + j) / 4), c1 = SetU32(position), c2 = SetU32(of), c3 = SetU32(0);
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const U32x8 product0 = WideProduct(c0, multiplier0), product1 = WideProduct(c2, multiplier1);
      c0 = Xor(UpperHalves(product1), Xor(c1, SetU32(key0)));
      c1 = product1;
      c2 = Xor(UpperHalves(product0), Xor(c3, SetU32(key1)));
      c3 = product0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    StoreHalved(words + j, c0, c1, c2, c3);
  }
}

// Of sampling::FixedPoint of the weights.
uint64_t SumWeights(const float* weights, size_t n) {
  uint64_t sum = 0;
  for (size_t first = 0; first < n; first += kSampleBlock) {
    const size_t end = first + kSampleBlock < n ? first + kSampleBlock : n;
    // Twenty bits each, so that the sums of a block are integers of 32 bits. The differences are exact.
    int32_t upper = 0, lower = 0;
    for (size_t i = first; i < end; ++i) {
      const float scaled = weights[i] * 0x1.0p+20f;
      const int32_t whole = static_cast<int32_t>(scaled);
      upper += whole;
      lower += static_cast<int32_t>((scaled - static_cast<float>(whole)) * 0x1.0p+20f);
    }
    sum += (static_cast<uint64_t>(static_cast<uint32_t>(upper)) << 20) + static_cast<uint32_t>(lower);
  }
  return sum;
}

}  // namespace prefixd::PREFIXD_ISA
