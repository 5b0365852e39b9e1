// The operations for AVX-512 F, BW, VL and DQ, compiled with the flags for these instructions. ops.h says
// which functions this file may call. Each header below uses those before it.
// clang-format off
#include "kernels/cpu/vec_avx512.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/compressed_panel.h"
#include "kernels/numerics.h"
#include "kernels/cpu/tile.inl.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/compressed.inl.h"
#include "kernels/cpu/gemm_panels.inl.h"
#include "kernels/cpu/gemm.inl.h"
#include "kernels/cpu/rowwise.inl.h"
#include "kernels/cpu/attention_kv.inl.h"
#include "kernels/cpu/attention_tile.inl.h"
#include "kernels/cpu/attention_quant.inl.h"
#include "kernels/cpu/attention.inl.h"
#include "kernels/cpu/sample_loops.inl.h"
// clang-format on

namespace prefixd::cpu {

const Ops& Avx512Ops() noexcept {
  static constexpr Ops kOps = {
      .panel = avx512::kPanel,
      .tile_rows = avx512::kTileRows,
      .gemm = avx512::Gemm,
      .pack_rows = avx512::PackRows,
      .rms_norm = avx512::RmsNorm,
      .rope = avx512::Rope,
      .add_bias = avx512::AddBias,
      .gated_activation = avx512::GatedActivation,
      .narrow = avx512::Narrow,
      .quantize_block = avx512::QuantizeBlock,
      .attend_scratch = avx512::AttendScratch,
      .attend = avx512::Attend,
      .partial_floats = avx512::PartialFloats,
      .fold = avx512::Fold,
      .sampling = {avx512::LargestLogits, avx512::SetWeights, avx512::HalvedWords, avx512::SumWeights},
  };
  return kOps;
}

}  // namespace prefixd::cpu
