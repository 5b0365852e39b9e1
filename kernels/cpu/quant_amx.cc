// The products of quantised weights for AMX with bytes, beside AVX-512 with VNNI, compiled with the flags for
// these instructions. ops.h says which functions this file may call. Few rows are multiplied by VNNI alone.
// clang-format off
#define PREFIXD_VNNI
#define PREFIXD_AMX
#include "kernels/cpu/quant_avx512.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/quant_runs.inl.h"
#include "kernels/cpu/quant_job.inl.h"
#include "kernels/cpu/quant_sums.inl.h"
#include "kernels/cpu/quant_unsigned.inl.h"
#include "kernels/cpu/quant_span.inl.h"
#include "kernels/cpu/quant_tiles.inl.h"
// clang-format on

namespace prefixd::amx {

// Multiplies few rows, which are packed for VNNI: a group here is two groups there, one after the other.
void QuantGemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  const cpu::QuantOps& vnni = cpu::Avx512VnniQuantOps();
  const int groups = (job.rows + vnni.tile_rows - 1) / vnni.tile_rows;
  const int each = kQuantTileRows / vnni.tile_rows, end = end_group * each;
  vnni.gemm(job, first_panel, end_panel, first_group * each, end < groups ? end : groups);
}

}  // namespace prefixd::amx

// clang-format off
#include "kernels/cpu/quant_many.inl.h"
#include "kernels/cpu/quant_pack.inl.h"
// clang-format on

namespace prefixd::amx {

void Gemm(const QuantJob& job, int first_panel, int end_panel, int first_group, int end_group) {
  QuantGemmOfMany(job, first_panel, end_panel, first_group, end_group);
  if (job.rows > kFewRows) _tile_release();  // so that Linux need not save the tiles
}

// VNNI takes the same numbers of rows for few.
void PackRows(WeightFormat::Kind kind, const float* x, int count, int rows, int blocks, std::byte* packed) {
  if (rows > kFewRows) return QuantPackRows(kind, x, count, rows, blocks, packed);
  const cpu::QuantOps& vnni = cpu::Avx512VnniQuantOps();
  const size_t row_bytes = static_cast<size_t>(blocks) * vnni.row_block_bytes(kind, rows);
  for (int first = 0; first < count; first += vnni.tile_rows) {
    const int rest = count - first;
    vnni.pack_rows(kind, x + static_cast<size_t>(first) * static_cast<size_t>(blocks) * kQuantBlock,
                   rest < vnni.tile_rows ? rest : vnni.tile_rows, rows, blocks,
                   packed + static_cast<size_t>(first) * row_bytes);
  }
}

}  // namespace prefixd::amx

namespace prefixd::cpu {

const QuantOps& AmxQuantOps() {
  static constexpr QuantOps kOps = {.tile_rows = amx::kQuantTileRows,
                                    .panels_together = amx::kSpanPanels,
                                    .gemm = amx::Gemm,
                                    .pack_rows = amx::PackRows,
                                    .row_block_bytes = amx::QuantRowBlockBytes};
  return kOps;
}

}  // namespace prefixd::cpu
