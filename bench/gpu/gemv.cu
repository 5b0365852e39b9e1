// `gemv`: a prototype of the decode product: bf16 weights, 1 to 8 rows of x, by mma.sync with the weights as
// A. A warp computes 16 outputs over the whole of K, in ascending k16 steps, so its bits must be those of
// the chain (mma_chain.cuh). Weights go through a ring of cp.async stages in shared memory. There is a row
// per shape and setting with the bandwidth of the weights. Several copies of the weights take turns, so that
// L2 holds none of them.
#include "bench/gpu/mma_chain.cuh"

namespace prefixd::gpu {
namespace {

constexpr int kDepth = 256;          // k per stage
constexpr int kStride = kDepth + 8;  // in elements; the pad keeps ldmatrix free of bank conflicts
constexpr int kMaxRows = 8;
constexpr int kStageElements = (16 + kMaxRows) * kStride;

__device__ inline void CopyAsync(uint16_t* shared, const uint16_t* global) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}

// Starts the copy of kDepth columns of 16 rows of w and of `rows` rows of x, by one warp.
__device__ inline void LoadStage(uint16_t* stage, const uint16_t* w, const uint16_t* x, int rows, int k) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int row = 0; row < 16; ++row)
    CopyAsync(stage + row * kStride + lane * 8, w + int64_t{row} * k + lane * 8);
  for (int row = 0; row < rows; ++row) {
    CopyAsync(stage + (16 + row) * kStride + lane * 8, x + int64_t{row} * k + lane * 8);
  }
}

// One tile of 16 outputs per warp; requires k to be a multiple of kDepth and n of 16 times the warps.
template <int kStages>
__global__ void GemvKernel(const uint16_t* __restrict__ w, const uint16_t* __restrict__ x, float* y, int rows,
                           int n, int k) {
  extern __shared__ __align__(128) uint16_t shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint16_t* ring = shared + warp * kStages * kStageElements;
  const int column = (blockIdx.x * (blockDim.x / 32) + warp) * 16, steps = k / kDepth;
  w += static_cast<int64_t>(column) * k;
  for (int i = lane; i < kStages * kStageElements; i += 32) ring[i] = 0;  // rows of x that are absent
  __syncwarp();
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps)
      LoadStage(ring + stage * kStageElements, w + stage * kDepth, x + stage * kDepth, rows, k);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  float d[4] = {};
  for (int step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncwarp();
    const int next = step + kStages - 1;
    if (next < steps) {
      LoadStage(ring + next % kStages * kStageElements, w + next * kDepth, x + next * kDepth, rows, k);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    const uint16_t* stage = ring + step % kStages * kStageElements;
    // ldmatrix: lanes 0-15 give rows 0-15 of the first 8 columns, lanes 16-31 of the next 8.
    const uint16_t* address = stage + lane % 16 * kStride + lane / 16 * 8;
    const uint16_t* row_x = stage + (16 + g) * kStride + 2 * t;
#pragma unroll
    for (int i = 0; i < kDepth; i += 16) {
      uint32_t a[4];
      const uint32_t b[2] = {Pair(row_x + i), Pair(row_x + i + 8)};
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                   : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(address + i))));
      Mma16816<false>(d, a, b);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const int row = 2 * t + i % 2;
    if (row < rows) y[static_cast<int64_t>(row) * n + column + g + 8 * (i / 2)] = d[i];
  }
}

struct Weights {
  explicit Weights(const Shape& of)
      : shape(of),
        copies(static_cast<int>(std::max<int64_t>(4, (int64_t{600} << 20) / bytes()))),
        w(static_cast<size_t>(copies) * of.n * of.k),
        x(static_cast<size_t>(kMaxRows) * of.k),
        chain(static_cast<size_t>(kMaxRows) * of.n),
        y(static_cast<size_t>(kMaxRows) * of.n) {
    Fill(w.get(), static_cast<int64_t>(copies) * of.n, of.k, Data::kRandom, 1.0f, 1.0f, 7);
    Fill(x.get(), kMaxRows, of.k, Data::kRandom, 1.0f, 1.0f, 8);
    ChainGemm(w.get(), x.get(), chain.get(), kMaxRows, of.n, of.k);
  }
  int64_t bytes() const { return int64_t{2} * shape.n * shape.k; }
  const uint16_t* copy(int i) const { return w.get() + static_cast<int64_t>(i % copies) * shape.n * shape.k; }
  Shape shape;
  int copies;
  Buffer<uint16_t> w, x;
  Buffer<float> chain, y;
};

template <int kStages>
int64_t GemvRow(const Weights& weights, int warps, int rows) {
  const auto kernel = GemvKernel<kStages>;
  const Shape& shape = weights.shape;
  const int shared_bytes = warps * kStages * kStageElements * static_cast<int>(sizeof(uint16_t));
  int limit = 0, resident = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  if (shared_bytes > limit) return 0;
  CHECK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  CHECK_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, warps * 32, shared_bytes));
  const auto launch = [&](int copy) {
    kernel<<<shape.n / 16 / warps, warps * 32, shared_bytes, g_stream>>>(
        weights.copy(copy), weights.x.get(), weights.y.get(), rows, shape.n, shape.k);
  };
  CHECK_CUDA(cudaMemsetAsync(weights.y.get(), 0xA5, weights.y.bytes(), g_stream));
  launch(0);
  CHECK_CUDA(cudaGetLastError());
  const int64_t differing =
      CountDiffering(weights.chain.get(), weights.y.get(), false, static_cast<int64_t>(rows) * shape.n);
  const double us = MicrosecondsPerCall(9, 40, launch);
  Row(shape.name)
      .Add("rows", rows)
      .Add("warps", warps)
      .Add("stages", kStages)
      .Add("blocks_per_sm", resident)
      .Add("us", us)
      .Add("GB_per_s", weights.bytes() * 1e-3 / us)
      .Add("differing", differing);
  return differing;
}

void Gemv() {
  int64_t differing = 0;
  for (const Shape& shape : kShapes) {
    const Weights weights(shape);
    for (const int warps : {1, 2, 4}) {
      differing += GemvRow<3>(weights, warps, 1);
      differing += GemvRow<4>(weights, warps, 1);
      differing += GemvRow<6>(weights, warps, 1);
    }
    differing += GemvRow<4>(weights, 1, 8);
  }
  Row("verdict").Add("differing_outputs", differing);
  if (differing != 0) Fail("the product differs from the chain");
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) { return prefixd::gpu::RunPart(argc, argv, {{"gemv", prefixd::gpu::Gemv}}); }
