// The operations for AVX-512 with BF16: those of AVX-512, but products of bf16 weights by numerics rule 8 are
// those of the instruction VDPBF16PS. Compiled with the flags for it. ops.h says which functions this file
// may call. Each header below uses those before it.
#define PREFIXD_ISA avx512bf16
// clang-format off
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/compressed_panel.h"
#include "kernels/cpu/tile.inl.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/compressed.inl.h"
#include "kernels/cpu/gemm_panels.inl.h"
// clang-format on

namespace prefixd::avx512bf16 {

struct BF16Pairs {
  __m512i v;
};
PREFIXD_INLINE BF16Pairs LoadPairs(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
PREFIXD_INLINE BF16Pairs SetPair(const float* p) { return {_mm512_castps_si512(_mm512_set1_ps(*p))}; }
// In assembler: clang 16 crashes when it optimises a loop with the intrinsic.
PREFIXD_INLINE F32x16 AddDots(F32x16 sum, BF16Pairs a, BF16Pairs b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.v) : "v"(a.v), "v"(b.v));
  return sum;
}

}  // namespace prefixd::avx512bf16

#include "kernels/cpu/gemm_dots.inl.h"

namespace prefixd::avx512bf16 {

void Gemm(const GemmJob& job, int first_panel, int end_panel, int first_block, int end_block) {
  if (job.chain == Chain::kPairs) return GemmOfDots(job, first_panel, end_panel, first_block, end_block);
  cpu::Avx512Ops().gemm(job, first_panel, end_panel, first_block, end_block);
}

void PackRows(Chain chain, const float* x, int count, int terms, float* packed) {
  if (chain == Chain::kPairs) return PackDots(x, count, terms, packed);
  cpu::Avx512Ops().pack_rows(chain, x, count, terms, packed);
}

}  // namespace prefixd::avx512bf16

namespace prefixd::cpu {

const Ops& Avx512Bf16Ops() noexcept {
  static const Ops kOps = [] {
    Ops ops = Avx512Ops();
    ops.gemm = avx512bf16::Gemm;
    ops.pack_rows = avx512bf16::PackRows;
    return ops;
  }();
  return kOps;
}

}  // namespace prefixd::cpu
