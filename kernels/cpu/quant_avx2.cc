// The products of quantised weights for AVX2, FMA and F16C, compiled with the flags for these instructions.
// ops.h says which functions this file may call.
// clang-format off
#include "kernels/cpu/quant_avx2.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/quant_runs.inl.h"
#include "kernels/cpu/quant_job.inl.h"
#include "kernels/cpu/quant_sums.inl.h"
#include "kernels/cpu/quant.inl.h"
#include "kernels/cpu/quant_shorts.inl.h"
#include "kernels/cpu/quant_bytes.inl.h"
#include "kernels/cpu/quant_span.inl.h"
#include "kernels/cpu/quant_groups.inl.h"
#include "kernels/cpu/quant_many.inl.h"
#include "kernels/cpu/quant_pack.inl.h"
// clang-format on

namespace prefixd::cpu {

const QuantOps& Avx2QuantOps() {
  static constexpr QuantOps kOps = {.tile_rows = avx2::kQuantTileRows,
                                    .panels_together = avx2::kSpanPanels,
                                    .gemm = avx2::QuantGemmOfMany,
                                    .pack_rows = avx2::QuantPackRows,
                                    .row_block_bytes = avx2::QuantRowBlockBytes};
  return kOps;
}

}  // namespace prefixd::cpu
