// The results of the CUDA kernels in plain host code, as kernels/cuda/numerics.h states them, from which the
// kernels may not differ in a bit. Pure functions; any thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "bench/gpu/mma_model.h"
#include "kernels/activation.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/host_memory.h"
#include "kernels/kv_layout.h"
#include "kernels/numerics.h"

namespace prefixd::cuda_test {

inline constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The element of a type that is nearest, as bits and as f32.
inline uint16_t BitsOf(float value, DType type) {
  return type == DType::kBF16 ? numerics::F32ToBF16(value) : numerics::F32ToF16(value);
}
inline float Rounded(float value, DType type) {
  if (type == DType::kF32) return value;
  const uint16_t bits = BitsOf(value, type);
  return type == DType::kBF16 ? numerics::F32FromBF16(bits) : numerics::F32FromF16(bits);
}

// The type of the numbers that attention reads of KV.
inline DType NumberType(KvType kv) { return kv.has_dtype() ? kv.dtype() : DType::kF16; }

// K or V of one token and head.
struct StoredHead {
  std::vector<std::byte> elements, scales;  // as bytes
  std::vector<float> numbers;               // as attention reads them
};
inline StoredHead Stored(std::span<const float> head, KvType kv) {
  StoredHead stored;
  if (kv == KvType::kFp8) {
    for (const float value : head) {
      const uint8_t element = numerics::F32ToE4M3(value);
      stored.elements.push_back(static_cast<std::byte>(element));
      stored.numbers.push_back(numerics::F32FromE4M3(element));
    }
    return stored;
  }
  if (!kv.quantized()) {
    stored.elements.resize(head.size() * kv.element_bytes());
    for (size_t d = 0; d < head.size(); ++d) {
      StoreElement(stored.elements.data(), kv.dtype(), d, head[d]);
      stored.numbers.push_back(LoadElement(stored.elements.data(), kv.dtype(), d));
    }
    return stored;
  }
  stored.scales.resize(head.size() / kQuantBlock * 2);
  for (size_t b = 0; b < head.size() / kQuantBlock; ++b) {
    int8_t integers[kQuantBlock];
    const float scale = numerics::QuantizeBlock(&head[b * kQuantBlock], kQuantBlock, integers);
    StoreElement(stored.scales.data(), DType::kF16, b, scale);
    for (const int8_t integer : integers) {
      stored.elements.push_back(static_cast<std::byte>(integer));
      const float number = LoadElement(stored.scales.data(), DType::kF16, b) * integer;
      stored.numbers.push_back(Rounded(number, DType::kF16));
    }
  }
  return stored;
}

// Puts it where token `token` of the block has it, in a plane of the order of kv_order.h.
inline void PutInPlane(const StoredHead& head, const KvLayout& kv, int token, std::byte* plane) {
  const size_t bytes = kv.type.element_bytes();
  for (int d = 0; d < kv.head_dim; ++d) {
    std::memcpy(plane + cuda::PlaneOffset(token, d, kv.head_dim, static_cast<int>(bytes), kv.block_tokens),
                &head.elements[static_cast<size_t>(d) * bytes], bytes);
  }
  for (int b = 0; b < kv.type.Scales(kv.head_dim); ++b)
    std::memcpy(plane + cuda::ScaleOffset(token, b, kv.head_dim, kv.block_tokens),
                &head.scales[static_cast<size_t>(b) * 2], 2);
}

// Rule 1: the product of two rows, whose elements have the type already.
inline float Product(std::span<const float> x, std::span<const float> w, DType type, float sum = 0) {
  if (type == DType::kF32) {
    for (size_t k = 0; k < x.size(); ++k) sum = std::fma(x[k], w[k], sum);
    return sum;
  }
  std::vector<uint16_t> a, b;
  for (size_t k = 0; k < x.size(); ++k) {
    a.push_back(BitsOf(x[k], type));
    b.push_back(BitsOf(w[k], type));
  }
  const auto input = type == DType::kBF16 ? gpu::InputType::kBF16 : gpu::InputType::kF16;
  return gpu::MmaDot(a.data(), b.data(), static_cast<int>(a.size()), sum, input);
}

// Rule 2, of the terms that `add` adds to a partial sum.
inline float RowSum(size_t terms, const std::function<float(size_t, float)>& add) {
  std::array<float, 32> s{};
  for (size_t i = 0; i < terms; ++i) s[i % 32] = add(i, s[i % 32]);
  for (size_t half = 16; half > 0; half /= 2) {
    const auto before = s;
    for (size_t l = 0; l < 32; ++l) s[l] = before[l] + before[l ^ half];
  }
  return s[0];
}

// Rule 3, before it is rounded.
inline std::vector<float> Normed(std::span<const float> x, std::span<const float> weight, float eps) {
  const float sum = RowSum(x.size(), [&](size_t i, float s) { return std::fma(x[i], x[i], s); });
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(x.size()) + eps);
  std::vector<float> out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = (x[i] * scale) * weight[i];
  return out;
}

inline float Activated(Activation activation, float x) {
  return activation == Activation::kSilu       ? numerics::Silu(x)
         : activation == Activation::kGeluTanh ? numerics::GeluTanh(x)
                                               : numerics::Relu(x);
}

// Rule 5: rotates the pairs (i, i + D / 2). table: cosines, then sines.
inline void Rotate(std::span<float> x, std::span<const float> table) {
  const size_t half = x.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half], cosine = table[i], sine = table[half + i];
    x[i] = std::fma(a, cosine, -(b * sine));
    x[i + half] = std::fma(b, cosine, a * sine);
  }
}

// Rule 6, of one query row, before it is rounded. k and v: a row for each token of the sequence; type: of
// them.
inline std::vector<float> Attended(std::span<const float> q, int position, int window, DType type,
                                   const std::vector<std::vector<float>>& k,
                                   const std::vector<std::vector<float>>& v) {
  constexpr int kTile = 64, kSpan = 256;
  struct State {
    float m = kLowest, l = 0;
    std::vector<float> o;
  };
  const int first = numerics::WindowStart(position, window);
  const size_t dim = q.size();
  State total;
  for (int span = first / kSpan; span * kSpan <= position; ++span) {
    State s{.o = std::vector<float>(dim, 0.0f)};
    for (int tile = span * kSpan; tile < (span + 1) * kSpan && tile <= position; tile += kTile) {
      const auto sees = [&](int t) { return t >= first && t <= position; };
      if (tile + kTile <= first) continue;
      std::array<float, kTile> p;
      float m = s.m;
      for (int t = 0; t < kTile; ++t) {
        p[t] = sees(tile + t) ? Product(q, k[static_cast<size_t>(tile + t)], type) : kLowest;
        m = std::max(m, p[t]);
      }
      if (m == kLowest) continue;
      const float factor = s.m == kLowest ? 0.0f : numerics::Exp(s.m - m);
      std::array<float, 4> sums{};
      for (int t = 0; t < kTile; ++t) {
        p[t] = p[t] == kLowest ? 0.0f : numerics::Exp(p[t] - m);
        sums[t % 8 / 2] += p[t];
      }
      s.l = s.l * factor + ((sums[0] + sums[2]) + (sums[1] + sums[3]));
      for (size_t d = 0; d < dim; ++d) {
        std::vector<float> weights, values;
        for (int t = 0; t < kTile; ++t) {
          if (type == DType::kF32 && !sees(tile + t)) continue;
          weights.push_back(Rounded(p[t], type));
          values.push_back(sees(tile + t) ? v[static_cast<size_t>(tile + t)][d] : 0.0f);
        }
        s.o[d] = Product(weights, values, type, s.o[d] * factor);
      }
      s.m = m;
    }
    if (s.l == 0) continue;
    if (total.m == kLowest) {
      total = s;
      continue;
    }
    const float m = std::max(total.m, s.m);
    const float a = numerics::Exp(total.m - m), b = numerics::Exp(s.m - m);
    total.l = std::fma(s.l, b, total.l * a);
    for (size_t d = 0; d < dim; ++d) total.o[d] = std::fma(s.o[d], b, total.o[d] * a);
    total.m = m;
  }
  std::vector<float> out(dim);
  for (size_t d = 0; d < dim; ++d) out[d] = total.o[d] * (1.0f / total.l);
  return out;
}

}  // namespace prefixd::cuda_test
