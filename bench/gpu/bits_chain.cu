// `wgmma`: compares wgmma, m64nNk16 in bf16, with a chain of mma.sync over the same K, and the chain with
// mma_model.h, bit for bit. Operands in shared memory have no swizzle: core matrices of 8 rows by 16 bytes.
// Needs sm_90a. Exits with 1 if outputs differ.
#include "bench/gpu/mma_chain.cuh"
#include "bench/gpu/mma_model.h"

namespace prefixd::gpu {
namespace {

constexpr int kRows = 64;  // of A and D

// A predicate that is true, so that the product is added to d.
#define ACCUMULATE "{.reg .pred p; setp.ne.b32 p, 1, 0; "
#define R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define R16(i) R4(i), R4(i + 4), R4(i + 8), R4(i + 12)
#define N4 "%0,%1,%2,%3"
#define N32                                                                                            \
  N4 ",%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28," \
     "%29,%30,%31"
#define N64                                                                                               \
  N32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55," \
      "%56,%57,%58,%59,%60,%61,%62,%63"

// d += A B, with A [64][16] and B [kN][16] in shared memory.
template <int kN>
__device__ void Wgmma(float (&d)[kN / 2], uint64_t a, uint64_t b) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  if constexpr (kN == 8) {
    asm volatile(ACCUMULATE "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {" N4
                            "}, %4, %5, p, 1, 1, 0, 0;}"
                 : R4(0)
                 : "l"(a), "l"(b));
  } else if constexpr (kN == 64) {
    asm volatile(ACCUMULATE "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" N32
                            "}, %32, %33, p, 1, 1, 0, 0;}"
                 : R16(0), R16(16)
                 : "l"(a), "l"(b));
  } else {
    static_assert(kN == 128);
    asm volatile(ACCUMULATE "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" N64
                            "}, %64, %65, p, 1, 1, 0, 0;}"
                 : R16(0), R16(16), R16(32), R16(48)
                 : "l"(a), "l"(b));
  }
#endif
}

// The same with N = 64 and A in registers, in the layout of mma's A.
[[maybe_unused]] __device__ void WgmmaRegisters(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile(ACCUMULATE "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" N32
                          "}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;}"
               : R16(0), R16(16)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#endif
}

[[maybe_unused]] __device__ uint64_t Descriptor(const void* shared, int leading_bytes, int stride_bytes) {
  const uint64_t address = __cvta_generic_to_shared(shared);
  return (address & 0x3FFFF) >> 4 | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32;
}

// Copies k16 columns of `rows` rows to shared memory: 8 by 8 element matrices, two per 8 rows.
[[maybe_unused]] __device__ void LoadTile(uint16_t* shared, const uint16_t* global, int rows, int k) {
  for (int i = threadIdx.x; i < rows * 16; i += blockDim.x) {
    const int row = i / 16, column = i % 16;
    shared[(row / 8 * 2 + column / 8) * 64 + row % 8 * 8 + column % 8] =
        global[static_cast<int64_t>(row) * k + column];
  }
}

// y[m][n] of the 64 rows of A (blockIdx.x) and kN rows of B (blockIdx.y). One warpgroup.
template <int kN, bool kRegisters>
__global__ void __launch_bounds__(128) WgmmaKernel(const uint16_t* a, const uint16_t* b, float* y, int n,
                                                   int k, int leading_bytes, int stride_bytes) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ alignas(128) uint16_t shared_a[kRows * 16];
  __shared__ alignas(128) uint16_t shared_b[kN * 16];
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  a += static_cast<int64_t>(blockIdx.x) * kRows * k;
  b += static_cast<int64_t>(blockIdx.y) * kN * k;
  float d[kN / 2] = {};
  for (int step = 0; step < k; step += 16) {
    __syncthreads();
    LoadTile(shared_a, a + step, kRows, k);
    LoadTile(shared_b, b + step, kN, k);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    [[maybe_unused]] uint32_t fragment[4];
    if constexpr (kRegisters) {
      for (int r = 0; r < 4; ++r) {
        fragment[r] =
            Pair(a + static_cast<int64_t>(16 * warp + g + 8 * (r % 2)) * k + step + 2 * t + 8 * (r / 2));
      }
    }
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    const uint64_t descriptor_b = Descriptor(shared_b, leading_bytes, stride_bytes);
    if constexpr (kRegisters) {
      WgmmaRegisters(d, fragment, descriptor_b);
    } else {
      Wgmma<kN>(d, Descriptor(shared_a, leading_bytes, stride_bytes), descriptor_b);
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  for (int i = 0; i < kN / 2; ++i) {
    const int row = blockIdx.x * kRows + 16 * warp + g + 8 * (i / 2 % 2);
    y[static_cast<int64_t>(row) * n + blockIdx.y * kN + 8 * (i / 4) + 2 * t + i % 2] = d[i];
  }
#endif
}

using Launch = void (*)(const uint16_t*, const uint16_t*, float*, int, int, int, int, int);

template <int kN, bool kRegisters>
void LaunchWgmma(const uint16_t* a, const uint16_t* b, float* y, int m, int n, int k, int leading_bytes,
                 int stride_bytes) {
  WgmmaKernel<kN, kRegisters>
      <<<dim3(m / kRows, n / kN), 128, 0, g_stream>>>(a, b, y, n, k, leading_bytes, stride_bytes);
  CHECK_CUDA(cudaGetLastError());
}

struct Variant {
  const char* name;
  Launch launch;
};
constexpr Variant kVariants[] = {{"m64n8", LaunchWgmma<8, false>},
                                 {"m64n64", LaunchWgmma<64, false>},
                                 {"m64n64 A in registers", LaunchWgmma<64, true>},
                                 {"m64n128", LaunchWgmma<128, false>}};

struct Problem {
  Problem(int rows, int columns, int depth, Data data)
      : m(rows),
        n(columns),
        k(depth),
        a(static_cast<size_t>(m) * k),
        b(static_cast<size_t>(n) * k),
        chain(static_cast<size_t>(m) * n),
        y(static_cast<size_t>(m) * n) {
    Fill(a.get(), m, k, data, 1.0f, 1.0f, 1);
    Fill(b.get(), n, k, data, 1.0f, -1.0f, 2);
    ChainGemm(b.get(), a.get(), chain.get(), m, n, k);
  }
  int64_t outputs() const { return static_cast<int64_t>(m) * n; }
  int64_t Differing(const Variant& variant, int leading_bytes, int stride_bytes) {
    CHECK_CUDA(cudaMemsetAsync(y.get(), 0xA5, y.bytes(), g_stream));
    variant.launch(a.get(), b.get(), y.get(), m, n, k, leading_bytes, stride_bytes);
    return CountDiffering(chain.get(), y.get(), false, outputs());
  }
  int m, n, k;
  Buffer<uint16_t> a, b;
  Buffer<float> chain, y;
};

// Compares a corner of 32 by 32 outputs of the chain with the model.
int64_t ModelDiffering(const Problem& problem) {
  const std::vector<uint16_t> a = problem.a.Read(), b = problem.b.Read();
  const std::vector<float> chain = problem.chain.Read();
  std::atomic<int64_t> differing{0};
  ParallelFor(32 * 32, [&](int64_t i) {
    const int64_t row = i / 32, column = i % 32;
    const float expected =
        MmaDot(&a[row * problem.k], &b[column * problem.k], problem.k, 0, InputType::kBF16);
    differing += std::memcmp(&expected, &chain[row * problem.n + column], sizeof(float)) != 0;
  });
  return differing;
}

void ProbeWgmma() {
  if (g_device_major != 9) {
    Row("skipped").Add("why", "wgmma needs compute capability 9.0");
    return;
  }
  int leading_bytes = 128, stride_bytes = 256;
  Problem integers(256, 256, 256, Data::kIntegers);  // exact in any order: differences show a wrong layout
  if (integers.Differing(kVariants[1], leading_bytes, stride_bytes) != 0)
    std::swap(leading_bytes, stride_bytes);
  int64_t all = 0;
  for (const Variant& variant : kVariants) {
    const int64_t differing = integers.Differing(variant, leading_bytes, stride_bytes);
    Row(variant.name).Add("data", "integers").Add("differing", differing).Add("leading_bytes", leading_bytes);
    if (differing != 0) Fail("wgmma does not multiply small integers: the layout is wrong, not the rounding");
  }
  for (const int k : {16, 64, 128, 256, 4096, 14336}) {
    for (const Data data : {Data::kRandom, Data::kCancelling}) {
      Problem problem(256, 1024, k, data);
      const char* name = data == Data::kRandom ? "random" : "cancelling";
      const int64_t model = ModelDiffering(problem);
      all += model;
      Row("chain against the model")
          .Add("k", k)
          .Add("data", name)
          .Add("outputs", 1024)
          .Add("differing", model);
      for (const Variant& variant : kVariants) {
        const int64_t differing = problem.Differing(variant, leading_bytes, stride_bytes);
        all += differing;
        Row(variant.name)
            .Add("k", k)
            .Add("data", name)
            .Add("outputs", problem.outputs())
            .Add("differing", differing);
      }
    }
  }
  Row("verdict").Add("differing_outputs", all).Add("wgmma_equals_chain_and_model", all == 0 ? "yes" : "no");
  if (all != 0) Fail("wgmma, the chain of mma.sync and the model differ");
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  return prefixd::gpu::RunPart(argc, argv, {{"wgmma", prefixd::gpu::ProbeWgmma}});
}
