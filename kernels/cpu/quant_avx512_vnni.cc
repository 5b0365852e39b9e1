// The products of quantised weights for AVX-512 with VNNI, compiled with the flags for these
// instructions. ops.h says which functions this file may call.
// clang-format off
#define PREFIXD_VNNI
#include "kernels/cpu/quant_avx512.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/quant_runs.inl.h"
#include "kernels/cpu/quant_job.inl.h"
#include "kernels/cpu/quant_sums.inl.h"
#include "kernels/cpu/quant.inl.h"
#include "kernels/cpu/quant_unsigned.inl.h"
#include "kernels/cpu/quant_span.inl.h"
#include "kernels/cpu/quant_groups.inl.h"
#include "kernels/cpu/quant_many.inl.h"
#include "kernels/cpu/quant_pack.inl.h"
// clang-format on

namespace prefixd::cpu {

const QuantOps& Avx512VnniQuantOps() {
  static constexpr QuantOps kOps = {.tile_rows = avx512_vnni::kQuantTileRows,
                                    .panels_together = avx512_vnni::kSpanPanels,
                                    .gemm = avx512_vnni::QuantGemmOfMany,
                                    .pack_rows = avx512_vnni::QuantPackRows,
                                    .row_block_bytes = avx512_vnni::QuantRowBlockBytes};
  return kOps;
}

}  // namespace prefixd::cpu
