// The products of quantised weights for AVX-512, compiled with the flags for these
// instructions. ops.h says which functions this file may call.
// clang-format off
#include "kernels/cpu/quant_avx512.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/cpu/quant_runs.inl.h"
#include "kernels/cpu/quant_job.inl.h"
#include "kernels/cpu/quant_sums.inl.h"
#include "kernels/cpu/quant.inl.h"
#include "kernels/cpu/quant_pack.inl.h"
// clang-format on

namespace prefixd::cpu {

const QuantOps& Avx512QuantOps() {
  static constexpr QuantOps kOps = {.tile_rows = avx512::kQuantTileRows,
                                    .panels_together = 1,
                                    .gemm = avx512::QuantGemm,
                                    .pack_rows = avx512::QuantPackRows,
                                    .row_block_bytes = avx512::QuantRowBlockBytes};
  return kOps;
}

}  // namespace prefixd::cpu
