// LoadBenchFolder, of a build that has `model`.
#include <utility>

#include "bench/bench_model.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"
#include "model/weights.h"

namespace prefixd::bench {

Result<BenchModel> LoadBenchFolder(const std::string& folder, Backend& backend, int positions) {
  PREFIXD_ASSIGN_OR_RETURN(const auto text, ReadSmallFile(folder + "/config.json", 1 << 20));
  PREFIXD_ASSIGN_OR_RETURN(const ModelConfig config, ParseModelConfig(text));
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, WeightFiles::Open(folder));
  PREFIXD_ASSIGN_OR_RETURN(LoadedPlan loaded, LoadPlan(config, files, backend, positions, {}));
  BenchModel model;
  model.plan = std::move(loaded.plan);
  model.weights = DummyDType(config);
  model.bytes = static_cast<double>(files.total_bytes());
  for (const WeightSpec& spec : RequiredWeights(config)) {
    if (config.tied_embeddings || spec.name != kEmbeddingWeight)
      model.step_bytes += static_cast<double>(files.Find(spec.name)->bytes.size());
  }
  return model;
}

}  // namespace prefixd::bench
