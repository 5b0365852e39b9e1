// The reference for matrix products on the device: one accumulator per output, k16 steps of mma.sync in
// ascending order, no split of K. Slow and plain. Launch from the host, on any stream.
//
// With lane l, g = l / 4 and t = l % 4, the fragments of mma.m16n8k16 hold
//   A, register r: row g + 8 (r % 2), columns 2t + 8 (r / 2) and the next;
//   B, register r: column g, rows 2t + 8 r and the next;
//   C and D, value i: row g + 8 (i / 2), column 2t + i % 2.
#pragma once

#include "bench/gpu/probe_base.cuh"

namespace prefixd::gpu {

template <bool kF16>
__device__ inline void Mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kF16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

__device__ inline uint32_t Pair(const uint16_t* two) { return *reinterpret_cast<const uint32_t*>(two); }

// y[m][n] = sum over k of w[n][k] x[m][k], in bf16 with f32 accumulation. A warp computes 16 columns n of 64
// rows m. Requires n and k to be multiples of 16.
__global__ void ChainGemmKernel(const uint16_t* w, const uint16_t* x, float* y, int rows, int n, int k) {
  constexpr int kTiles = 8;
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const int column = blockIdx.x * 16, row = blockIdx.y * 8 * kTiles;
  float d[kTiles][4] = {};
  for (int step = 0; step < k; step += 16) {
    uint32_t a[4];
    for (int r = 0; r < 4; ++r) {
      a[r] = Pair(w + static_cast<int64_t>(column + g + 8 * (r % 2)) * k + step + 2 * t + 8 * (r / 2));
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int m = row + 8 * tile + g;
      uint32_t b[2] = {0, 0};
      for (int r = 0; r < 2 && m < rows; ++r) {
        b[r] = Pair(x + static_cast<int64_t>(m) * k + step + 2 * t + 8 * r);
      }
      Mma16816<false>(d[tile], a, b);
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    for (int i = 0; i < 4; ++i) {
      const int m = row + 8 * tile + 2 * t + i % 2;
      if (m < rows) y[static_cast<int64_t>(m) * n + column + g + 8 * (i / 2)] = d[tile][i];
    }
  }
}

inline void ChainGemm(const uint16_t* w, const uint16_t* x, float* y, int rows, int n, int k) {
  ChainGemmKernel<<<dim3(n / 16, (rows + 63) / 64), 32, 0, g_stream>>>(w, x, y, rows, n, k);
  CHECK_CUDA(cudaGetLastError());
}

enum class Data { kRandom, kCancelling, kIntegers };

// values[r][c] of a matrix of bf16. kRandom: near a normal distribution of deviation `scale`. kCancelling:
// exponents spread over 16 binary orders, and the second half of each row is the first with the sign of
// `mirror`; a product of matrices with opposite signs cancels to the rounding errors. kIntegers: -4 .. 4, so
// that every order of summation is exact.
__global__ void FillKernel(uint16_t* values, int64_t rows, int64_t columns, Data data, float scale,
                           float mirror, uint64_t seed) {
  const int64_t total = rows * columns, stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += stride) {
    const int64_t column = i % columns, half = columns / 2;
    const bool second = data == Data::kCancelling && column >= half;
    const uint64_t h = Hash(seed ^ Hash(second ? i - half : i));
    float value = 0;  // sum of four uniform numbers
    for (int part = 0; part < 4; ++part) value += static_cast<int>((h >> (16 * part)) & 0xFFFF) - 32768;
    value *= scale / 37837.0f;
    if (data == Data::kCancelling) value *= exp2f(static_cast<int>(Hash(h) % 16) - 8) * (second ? mirror : 1);
    if (data == Data::kIntegers) value = static_cast<int>(h % 9) - 4;
    values[i] = BF16Bits(value);
  }
}

inline void Fill(uint16_t* values, int64_t rows, int64_t columns, Data data, float scale, float mirror,
                 uint64_t seed) {
  FillKernel<<<1024, 256, 0, g_stream>>>(values, rows, columns, data, scale, mirror, seed);
  CHECK_CUDA(cudaGetLastError());
}

// Adds to *count the number of the `size` outputs whose bits differ. With `bf16` the other side is bf16, and
// the reference is rounded to nearest even.
__global__ void CountDifferingKernel(const float* reference, const void* other, bool bf16, int64_t size,
                                     unsigned long long* count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  unsigned long long differing = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    differing += bf16 ? BF16Bits(reference[i]) != static_cast<const uint16_t*>(other)[i]
                      : __float_as_uint(reference[i]) != static_cast<const uint32_t*>(other)[i];
  }
  if (differing != 0) atomicAdd(count, differing);
}

inline int64_t CountDiffering(const float* reference, const void* other, bool bf16, int64_t size) {
  static Buffer<unsigned long long> count(1);
  CHECK_CUDA(cudaMemsetAsync(count.get(), 0, count.bytes(), g_stream));
  CountDifferingKernel<<<512, 256, 0, g_stream>>>(reference, other, bf16, size, count.get());
  CHECK_CUDA(cudaGetLastError());
  return static_cast<int64_t>(count.Read()[0]);
}

// The matrices of a layer of the preset llama-8b.
struct Shape {
  const char* name;
  int n, k;
};
inline constexpr Shape kShapes[] = {
    {"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gate_up", 28672, 4096}, {"down", 4096, 14336}};

}  // namespace prefixd::gpu
