#include "bench/bench_model.h"

namespace prefixd::bench {

Result<BenchModel> MakeBenchModel(const Preset& preset, DType dtype, Backend& backend, int positions) {
  BenchModel model;
  PREFIXD_ASSIGN_OR_RETURN(model.plan, RandomPlan(preset, dtype, positions, backend));
  model.bf16 = dtype == DType::kBF16;
  model.bytes = preset.WeightElements() * static_cast<double>(DTypeBytes(dtype));
  model.step_bytes = preset.StepBytes(dtype);
  return model;
}

}  // namespace prefixd::bench
