#include "bench/bench_model.h"

namespace prefixd::bench {

double SavedBytes(const ModelWeights& weights) {
  const auto saved = [](const Matrix& matrix) {
    return static_cast<double>(matrix.bytes()) - static_cast<double>(matrix.read_bytes());
  };
  double bytes = saved(weights.head != nullptr ? *weights.head : *weights.embedding);
  for (const LayerWeights& layer : weights.layers)
    bytes += saved(*layer.qkv) + saved(*layer.out) + saved(*layer.gate_up) + saved(*layer.down);
  return bytes;
}

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
