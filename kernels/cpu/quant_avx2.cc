// The products of quantised weights for AVX2, FMA and F16C, compiled with the flags for these instructions.
// ops.h says which functions this file may call.
// clang-format off
#include "kernels/cpu/quant_avx2.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/cpu/quant_runs.inl.h"
#include "kernels/cpu/quant_sums.inl.h"
#include "kernels/cpu/quant.inl.h"
#include "kernels/cpu/quant_pack.inl.h"
// clang-format on

namespace prefixd::cpu {

const QuantOps& Avx2QuantOps() {
  static constexpr QuantOps kOps = {.tile_rows = avx2::kQuantTileRows,
                                    .panels_together = 1,
                                    .gemm = avx2::QuantGemm,
                                    .pack_rows = avx2::QuantPackRows};
  return kOps;
}

}  // namespace prefixd::cpu
