// LoadBenchFolder, of a build that has `model`.
#include <utility>

#include "bench/bench_model.h"
#include "model/gguf_config.h"
#include "model/gguf_model.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"
#include "model/weights.h"

namespace prefixd::bench {
namespace {

Result<ModelConfig> ConfigOf(const std::string& path) {
  if (IsGgufPath(path)) {
    PREFIXD_ASSIGN_OR_RETURN(const GgufModel model, OpenGgufModel(path));
    return ConfigOfGguf(model);
  }
  PREFIXD_ASSIGN_OR_RETURN(const auto text, ReadSmallFile(path + "/config.json", 1 << 20));
  return ParseModelConfig(text);
}

}  // namespace

Result<BenchModel> LoadBenchFolder(const std::string& path, Backend& backend, int positions) {
  PREFIXD_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(path));
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, WeightFiles::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(LoadedPlan loaded, LoadPlan(config, files, backend, positions, {}));
  BenchModel model;
  model.plan = std::move(loaded.plan);
  model.weights = PlannedFormats(config, files, backend).front();
  model.bytes = static_cast<double>(files.total_bytes());
  for (const WeightSpec& spec : RequiredWeights(config)) {
    if (config.tied_embeddings || spec.name != kEmbeddingWeight)
      model.step_bytes += static_cast<double>(files.Find(spec.name)->bytes.size());
  }
  return model;
}

}  // namespace prefixd::bench
