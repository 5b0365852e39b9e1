// BenchModel: a model that model_bench times, from a folder or from a preset. Values; any thread.
#pragma once

#include <string>

#include "base/status.h"
#include "bench/presets.h"
#include "kernels/backend.h"

namespace prefixd::bench {

struct BenchModel {
  ModelPlan plan;
  WeightFormat weights;  // of the matrices, or of most of their numbers
  double bytes = 0;      // of the weights in files, or as random numbers
  // Of the weights that every step reads: all but an embedding that is not the head. As they are stored; see
  // SavedBytes.
  double step_bytes = 0;
};

// Reads a model folder or a GGUF file. kUnsupported: this program was built without the libraries that it
// takes.
Result<BenchModel> LoadBenchFolder(const std::string& path, Backend& backend, int positions);

// The bytes of step_bytes that a step does not read, because the backend has compressed the weights.
double SavedBytes(const ModelWeights& weights);

Result<BenchModel> MakeBenchModel(const Preset& preset, WeightFormat format, Backend& backend, int positions);

}  // namespace prefixd::bench
