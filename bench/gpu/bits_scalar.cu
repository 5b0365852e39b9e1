// `scalar`: functions whose bits must be equal on the host and on the device: Exp and the weights and random
// numbers of sampling as the kernels define them, exp2 by polynomials of degree 5 and 6 with fma by name,
// division, square root and reciprocal square root, fma with subnormals, and the conversions of stored
// elements, as instructions and as the kernels' own code. Exits with 1 if outputs differ. The instruction
// ex2.approx is only shown: no kernel uses it.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bench/gpu/probe_base.cuh"
#include "kernels/numerics.h"
#include "kernels/sampling.h"

namespace prefixd::gpu {
namespace {

__host__ __device__ inline float Fma(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}
__host__ __device__ inline uint32_t Bits(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}
__host__ __device__ inline float FloatOf(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

// numerics::Exp, which is for the host only, with the device's fma.
__device__ inline float DeviceExp(float x) {
  using namespace numerics;
  if (x < kExpMin) return 0.0f;
  if (x > kExpMax) return FloatOf(0x7F800000u);
  const float shifted = Fma(x, kLog2E, kRound);
  const float n = shifted - kRound;
  const float r = Fma(n, -kLn2Low, Fma(n, -kLn2High, x));
  float p = Fma(kExp6, r, kExp5);
  p = Fma(p, r, kExp4);
  p = Fma(p, r, kExp3);
  p = Fma(p, r, kExp2);
  p = Fma(p, r, 1.0f);
  p = Fma(p, r, 1.0f);
  return p * FloatOf((Bits(shifted) << 23) + 0x3F800000u);
}

// 2^x for -126 <= x < 128; 0 below. The polynomials, fitted to the relative error of 2^f on [-1/2, 1/2] with
// a constant term of 1, have errors of 2^-23.4 and 2^-28.9.
template <int kDegree>
__host__ __device__ inline float Exp2(float x) {
  if (!(x >= -126.0f)) return 0.0f;
  constexpr float kRound = 0x1.8p23f;
  const float shifted = x + kRound;
  const float f = x - (shifted - kRound);
  float p;
  if constexpr (kDegree == 5) {
    p = Fma(0x1.5bba0ep-10f, f, 0x1.3cea88p-7f);
    p = Fma(p, f, 0x1.c6b752p-5f);
    p = Fma(p, f, 0x1.ebf9bcp-3f);
    p = Fma(p, f, 0x1.62e42ap-1f);
  } else {
    p = Fma(0x1.41fbbap-13f, f, 0x1.5f3e54p-10f);
    p = Fma(p, f, 0x1.3b2d4cp-7f);
    p = Fma(p, f, 0x1.c6aee8p-5f);
    p = Fma(p, f, 0x1.ebfbdcp-3f);
    p = Fma(p, f, 0x1.62e430p-1f);
  }
  p = Fma(p, f, 1.0f);
  return p * FloatOf((Bits(shifted) << 23) + 0x3F800000u);
}

// Rounded once, but for cases closer than 2^-64 to a midpoint of two floats.
float HostRsqrt(float x) { return static_cast<float>(1.0L / std::sqrt(static_cast<long double>(x))); }

// To a stored type and back.
__host__ __device__ inline float ThroughBF16(float x) {
  return numerics::F32FromBF16(numerics::F32ToBF16(x));
}
__host__ __device__ inline float ThroughF16(float x) { return numerics::F32FromF16(numerics::F32ToF16(x)); }
// One number that differs when one of two does.
__host__ __device__ inline float Pair(float x, float y) { return x + 0.5f * y; }

struct Function {
  const char* name;
  float (*host)(float, float);
};
constexpr Function kFunctions[] = {
    {"exp of numerics.h", [](float x, float) { return numerics::Exp(x); }},
    {"exp2 degree 5", [](float x, float) { return Exp2<5>(x); }},
    {"exp2 degree 6", [](float x, float) { return Exp2<6>(x); }},
    {"sqrt_rn", [](float x, float) { return std::sqrt(x); }},
    {"div_rn", [](float x, float y) { return x / y; }},
    {"rcp_rn", [](float x, float) { return 1.0f / x; }},
    {"rcp_rn(sqrt_rn)", [](float x, float) { return 1.0f / std::sqrt(x); }},
    {"rsqrt_rn, correctly rounded", [](float x, float) { return HostRsqrt(x); }},
    {"fma_rn(x, y, x)", [](float x, float y) { return std::fma(x, y, x); }},
    {"x * y", [](float x, float y) { return x * y; }},
    {"f32 to bf16", [](float x, float) { return FloatOf(BF16Bits(x)); }},
    {"f32 to bf16 of numerics.h", [](float x, float) { return ThroughBF16(x); }},
    {"f32 to f16 of numerics.h", [](float x, float) { return ThroughF16(x); }},
    {"cvt.rn.bf16.f32", [](float x, float) { return ThroughBF16(x); }},
    {"cvt.rn.f16.f32", [](float x, float) { return ThroughF16(x); }},
    {"cvt.f32.f16", [](float x, float) { return numerics::F32FromF16(static_cast<uint16_t>(Bits(x))); }},
    {"cvt.rn.bf16x2.f32", [](float x, float y) { return Pair(ThroughBF16(x), ThroughBF16(y)); }},
};

__device__ float OnDevice(int function, float x, float y) {
  switch (function) {
    case 0:
      return DeviceExp(x);
    case 1:
      return Exp2<5>(x);
    case 2:
      return Exp2<6>(x);
    case 3:
      return __fsqrt_rn(x);
    case 4:
      return __fdiv_rn(x, y);
    case 5:
      return __frcp_rn(x);
    case 6:
      return __frcp_rn(__fsqrt_rn(x));
    case 7:
      return __frsqrt_rn(x);
    case 8:
      return __fmaf_rn(x, y, x);
    case 9:
      return __fmul_rn(x, y);
    case 10:
      return FloatOf(BF16Bits(x));
    case 11:
      return ThroughBF16(x);
    case 12:
      return ThroughF16(x);
    case 13:
      return __bfloat162float(__float2bfloat16_rn(x));
    case 14:
      return __half2float(__float2half_rn(x));
    case 15:
      return __half2float(__ushort_as_half(static_cast<unsigned short>(Bits(x))));
    default: {
      const float2 both = __bfloat1622float2(__floats2bfloat162_rn(x, y));
      return Pair(both.x, both.y);
    }
  }
}

constexpr int64_t kInputs = int64_t{1} << 24;

// Functions of an exponent get values from -160 to 130, the others all bit patterns.
__host__ __device__ inline float Input(int function, int64_t i, int operand) {
  const uint64_t h = Hash(2 * i + operand);
  if (function <= 2) return static_cast<float>(static_cast<int64_t>(h >> 24)) * 0x1.22p-32f - 160.0f;
  return FloatOf(static_cast<uint32_t>(h));
}

__global__ void FunctionKernel(int function, float* outputs) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  outputs[i] = OnDevice(function, Input(function, i, 0), Input(function, i, 1));
}

__global__ void SamplingKernel(uint32_t* words, double* uniforms, double* exponentials) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const uint64_t seed = Hash(i / 1024);
  const uint32_t token = static_cast<uint32_t>(Hash(i) % 200000);
  words[i] = sampling::WordAt(seed, i % 1024, token, 0, sampling::Uniform::kOfToken);
  uniforms[i] = sampling::UniformAt(seed, i % 1024, token, sampling::Uniform::kOfToken);
  exponentials[i] = sampling::ExponentialOf(uniforms[i]);
}

int64_t ProbeFunction(int function) {
  Buffer<float> device(kInputs);
  FunctionKernel<<<kInputs / 256, 256, 0, g_stream>>>(function, device.get());
  CHECK_CUDA(cudaGetLastError());
  const std::vector<float> outputs = device.Read();
  std::atomic<int64_t> differing{0}, nan_bits{0}, example{0};
  ParallelFor(kInputs, [&](int64_t i) {
    const float expected = kFunctions[function].host(Input(function, i, 0), Input(function, i, 1));
    if (Bits(expected) == Bits(outputs[i])) return;
    if (std::isnan(expected) && std::isnan(outputs[i])) {
      ++nan_bits;
      return;
    }
    ++differing;
    example = i;
  });
  Row row(kFunctions[function].name);
  row.Add("inputs", kInputs).Add("differing", differing.load()).Add("nan_with_other_bits", nan_bits.load());
  if (differing != 0) {
    row.Add("x", Input(function, example, 0))
        .Add("y", Input(function, example, 1))
        .Add("device", outputs[example]);
  }
  return differing;
}

int64_t ProbeSampling() {
  constexpr int kCount = 1 << 20;
  Buffer<uint32_t> device_words(kCount);
  Buffer<double> device_uniforms(kCount), device_exponentials(kCount);
  SamplingKernel<<<kCount / 256, 256, 0, g_stream>>>(device_words.get(), device_uniforms.get(),
                                                     device_exponentials.get());
  CHECK_CUDA(cudaGetLastError());
  const std::vector<uint32_t> words = device_words.Read();
  const std::vector<double> uniforms = device_uniforms.Read(), exponentials = device_exponentials.Read();
  int64_t word = 0, uniform = 0, exponential = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const uint64_t seed = Hash(i / 1024);
    const uint32_t token = static_cast<uint32_t>(Hash(i) % 200000);
    const double u = sampling::UniformAt(seed, i % 1024, token, sampling::Uniform::kOfToken);
    word += words[i] != sampling::WordAt(seed, i % 1024, token, 0, sampling::Uniform::kOfToken);
    uniform += uniforms[i] != u;
    exponential += exponentials[i] != sampling::ExponentialOf(u);
  }
  Row("Philox4x32-10").Add("inputs", kCount).Add("differing", word);
  Row("UniformAt").Add("inputs", kCount).Add("differing", uniform);
  Row("ExponentialOf, f64").Add("inputs", kCount).Add("differing", exponential);
  return word + uniform + exponential;
}

__global__ void Ex2Kernel(float* outputs) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  asm("ex2.approx.f32 %0, %1;" : "=f"(outputs[i]) : "f"(Input(1, i, 0)));
}

// Against 2^x in f64, where that is a normal f32. In units of the last place of the result.
void ShowEx2() {
  Buffer<float> device(kInputs);
  Ex2Kernel<<<kInputs / 256, 256, 0, g_stream>>>(device.get());
  CHECK_CUDA(cudaGetLastError());
  const std::vector<float> outputs = device.Read();
  int64_t compared = 0, rounded = 0;
  double worst = 0;
  for (int64_t i = 0; i < kInputs; ++i) {
    const double x = Input(1, i, 0), exact = std::exp2(x);
    if (x < -126 || x >= 128) continue;
    ++compared;
    rounded += outputs[i] == static_cast<float>(exact);
    worst = std::max(worst, std::abs(outputs[i] - exact) / std::ldexp(1.0, std::ilogb(exact) - 23));
  }
  Row("ex2.approx").Add("inputs", compared).Add("correctly_rounded", rounded).Add("worst_ulp", worst);
}

void ProbeScalar() {
  ShowEx2();
  int64_t differing = 0;
  for (int function = 0; function < static_cast<int>(std::size(kFunctions)); ++function) {
    differing += ProbeFunction(function);
  }
  differing += ProbeSampling();
  Row("verdict").Add("differing_outputs", differing).Add("device_equals_host", differing == 0 ? "yes" : "no");
  if (differing != 0) Fail("the device's bits differ from the host's");
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  return prefixd::gpu::RunPart(argc, argv, {{"scalar", prefixd::gpu::ProbeScalar}});
}
