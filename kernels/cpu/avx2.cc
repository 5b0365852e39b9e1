// The operations for AVX2, FMA and F16C, compiled with the flags for these instructions. ops.h says
// which functions this file may call. Each header below uses those before it.
// clang-format off
#include "kernels/cpu/vec_avx2.h"
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

const Ops& Avx2Ops() noexcept {
  static constexpr Ops kOps = {
      .panel = avx2::kPanel,
      .tile_rows = avx2::kTileRows,
      .gemm = avx2::Gemm,
      .pack_rows = avx2::PackRows,
      .rms_norm = avx2::RmsNorm,
      .rope = avx2::Rope,
      .add_bias = avx2::AddBias,
      .gated_activation = avx2::GatedActivation,
      .narrow = avx2::Narrow,
      .quantize_block = avx2::QuantizeBlock,
      .attend_scratch = avx2::AttendScratch,
      .attend = avx2::Attend,
      .partial_floats = avx2::PartialFloats,
      .fold = avx2::Fold,
      .sampling = {avx2::LargestLogits, avx2::SetWeights, avx2::HalvedWords, avx2::SumWeights},
  };
  return kOps;
}

}  // namespace prefixd::cpu
