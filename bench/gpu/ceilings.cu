// `memory`: bandwidth of device memory and of L2 for copies and for reads. `gemm`: rate of cuBLASLt in bf16
// at 8192^3 and at llama-8b's shapes. These are the ceilings that other figures are divided by.
#include "bench/gpu/blaslt.cuh"
#include "bench/gpu/mma_chain.cuh"

namespace prefixd::gpu {
namespace {

constexpr int kUnroll = 8;  // 16-byte loads that a thread has in flight
constexpr int kThreads = 512;

// Each thread copies kUnroll elements, a block's width apart. Requires a grid that covers `count` exactly or
// more.
__global__ void CopyKernel(const uint4* __restrict__ from, uint4* __restrict__ to, int64_t count) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x;
  uint4 values[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (begin + i * kThreads < count) values[i] = __ldcs(from + begin + i * kThreads);
  }
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    if (begin + i * kThreads < count) __stcs(to + begin + i * kThreads, values[i]);
  }
}

// Folds everything to one word per thread, and stores it if it is `unlikely`, so that no load is left out.
__global__ void ReadKernel(const uint4* __restrict__ from, int64_t count, uint32_t unlikely, uint32_t* sink) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x;
  uint4 values[kUnroll];
  uint32_t fold = 0;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const bool inside = begin + i * kThreads < count;
    values[i] = inside ? __ldg(from + begin + i * kThreads) : make_uint4(0, 0, 0, 0);
  }
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) fold ^= values[i].x ^ values[i].y ^ values[i].z ^ values[i].w;
  if (fold == unlikely) *sink = fold;
}

// Reads everything `rounds` times, from L2 where it fits.
__global__ void ReadL2Kernel(const uint4* from, int64_t count, int rounds, uint32_t* sink) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  uint32_t fold = 0;
  for (int round = 0; round < rounds; ++round) {
#pragma unroll 8
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
      uint4 value;
      asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                   : "l"(from + i));
      fold += value.x ^ value.y ^ value.z ^ value.w;
    }
  }
  if (fold == 0x9E3779B9u) *sink = fold;
}

int Grid(int64_t count) { return static_cast<int>((count + kThreads * kUnroll - 1) / (kThreads * kUnroll)); }

// Reads `bytes` per launch, at another place of the buffer each time.
void ReadRow(const char* name, const Buffer<uint16_t>& buffer, int64_t bytes) {
  Buffer<uint32_t> sink(1);
  const int64_t count = bytes / 16, places = static_cast<int64_t>(buffer.bytes()) / bytes;
  const double us = MicrosecondsPerCall(9, bytes > (int64_t{1} << 30) ? 4 : 40, [&](int i) {
    const uint4* from = reinterpret_cast<const uint4*>(buffer.get()) + i % places * count;
    ReadKernel<<<Grid(count), kThreads, 0, g_stream>>>(from, count, 0x9E3779B9u, sink.get());
  });
  Row(name).Add("bytes", bytes).Add("us", us).Add("GB_per_s", bytes * 1e-3 / us);
}

void Memory() {
  constexpr int64_t kBytes = int64_t{4} << 30, kHalf = kBytes / 2;
  Buffer<uint16_t> buffer(kBytes / 2);
  Fill(buffer.get(), kBytes / 2 / 4096, 4096, Data::kRandom, 1.0f, 1.0f, 3);
  char* bytes = reinterpret_cast<char*>(buffer.get());
  const int64_t count = kHalf / 16;
  const double kernel = MicrosecondsPerCall(9, 4, [&](int) {
    CopyKernel<<<Grid(count), kThreads, 0, g_stream>>>(reinterpret_cast<const uint4*>(bytes),
                                                       reinterpret_cast<uint4*>(bytes + kHalf), count);
  });
  Row("copy by a kernel, read + written")
      .Add("bytes", kBytes)
      .Add("us", kernel)
      .Add("GB_per_s", kBytes * 1e-3 / kernel);
  const double runtime = MicrosecondsPerCall(9, 4, [&](int) {
    CHECK_CUDA(cudaMemcpyAsync(bytes + kHalf, bytes, kHalf, cudaMemcpyDeviceToDevice, g_stream));
  });
  Row("copy by cudaMemcpyAsync")
      .Add("bytes", kBytes)
      .Add("us", runtime)
      .Add("GB_per_s", kBytes * 1e-3 / runtime);
  const double set =
      MicrosecondsPerCall(9, 4, [&](int) { CHECK_CUDA(cudaMemsetAsync(bytes + kHalf, 0, kHalf, g_stream)); });
  Row("cudaMemsetAsync").Add("bytes", kHalf).Add("us", set).Add("GB_per_s", kHalf * 1e-3 / set);
  ReadRow("read", buffer, kHalf);
  for (const Shape& shape : kShapes) {
    const std::string name = std::string("read, size of ") + shape.name;
    ReadRow(name.c_str(), buffer, int64_t{2} * shape.n * shape.k);
  }
  Buffer<uint16_t> small(size_t{8} << 20);  // 16 MiB: stays in L2
  Fill(small.get(), 2048, 4096, Data::kRandom, 1.0f, 1.0f, 4);
  Buffer<uint32_t> sink(1);
  constexpr int kRounds = 64;
  const int64_t read = static_cast<int64_t>(small.bytes()) * kRounds;
  const double us = MicrosecondsPerCall(9, 4, [&](int) {
    ReadL2Kernel<<<g_sm_count * 4, 512, 0, g_stream>>>(reinterpret_cast<const uint4*>(small.get()),
                                                       static_cast<int64_t>(small.bytes()) / 16, kRounds,
                                                       sink.get());
  });
  Row("read 16 MiB from L2, 64 times").Add("bytes", read).Add("us", us).Add("GB_per_s", read * 1e-3 / us);
}

// The fastest of the heuristic's algorithms. `copies` of the weights take turns, so that L2 holds none.
void GemmRow(const std::string& name, int m, int n, int k) {
  constexpr size_t kWorkspace = size_t{32} << 20;
  const int copies = static_cast<int>(std::clamp<int64_t>((int64_t{400} << 20) / (int64_t{2} * n * k), 1, 8));
  Buffer<uint16_t> w(static_cast<size_t>(copies) * n * k), x(static_cast<size_t>(m) * k);
  Buffer<uint16_t> y(static_cast<size_t>(m) * n);
  Buffer<char> workspace(kWorkspace);
  Fill(w.get(), static_cast<int64_t>(copies) * n, k, Data::kRandom, 1.0f, 1.0f, 5);
  Fill(x.get(), m, k, Data::kRandom, 1.0f, 1.0f, 6);
  const Matmul matmul(m, n, k, true);
  double best = 1e30;
  std::string best_name = "none";
  const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  for (const Algo& algo : matmul.Algos(kWorkspace, schemes, 8)) {
    bool accepted = true;
    const double us = MicrosecondsPerCall(5, 4, [&](int i) {
      const uint16_t* weights = w.get() + static_cast<int64_t>(i % copies) * n * k;
      accepted = matmul.Run(weights, x.get(), y.get(), algo, workspace.get(), kWorkspace) && accepted;
    });
    if (accepted && us < best) best = us, best_name = NameOf(algo).Text();
  }
  if (best_name == "none") Fail("cuBLASLt accepts no algorithm for " + name);
  const double operations = 2.0 * m * n * k;
  Row(name)
      .Add("m", m)
      .Add("n", n)
      .Add("k", k)
      .Add("us", best)
      .Add("TFLOP_per_s", operations * 1e-6 / best)
      .Add("weights_GB_per_s", 2e-3 * n * k / best)
      .Add("algo", best_name);
}

void Gemm() {
  LoadBlasLt();
  GemmRow("8192^3", 8192, 8192, 8192);
  for (const Shape& shape : kShapes) {
    for (const int m : {1, 16, 64, 256, 512, 2048, 8192}) GemmRow(shape.name, m, shape.n, shape.k);
  }
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  using namespace prefixd::gpu;
  return RunPart(argc, argv, {{"memory", Memory}, {"gemm", Gemm}});
}
