#include "bench/bench_model.h"

namespace prefixd::bench {

Result<BenchModel> MakeBenchModel(const Preset& preset, WeightFormat format, Backend& backend,
                                  int positions) {
  BenchModel model;
  PREFIXD_ASSIGN_OR_RETURN(model.plan, RandomPlan(preset, format, positions, backend));
  model.weights = format;
  model.bytes = preset.WeightElements() * BytesPerWeight(format);
  model.step_bytes = preset.StepBytes(format);
  return model;
}

}  // namespace prefixd::bench
