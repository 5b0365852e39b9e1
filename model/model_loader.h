// Loads the weights of a model into a backend and fills the ModelPlan that the backend runs. Pure functions
// of their arguments, except for the backend's memory; the thread that owns the backend loads.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"
#include "kernels/backend.h"
#include "model/config.h"
#include "model/weight_files.h"

namespace prefixd {

// A callback that receives the share of the weights that is loaded: from 0 to 1, never decreasing. The last
// share of a load that succeeds is 1.
using LoadProgress = std::function<void(double)>;

struct LoadedPlan {
  ModelPlan plan;
  BlockKey weights_hash;  // XXH3-128 of all tensors of the files, ordered by name; or DummyHash
  std::vector<std::filesystem::path> uncached_files;  // those that were read past the page cache
};

ModelShape ShapeOf(const ModelConfig& config);

// A quantised format to which matrices are brought while they load; empty: every matrix keeps the type that
// its tensors have in the files, if the backend has kernels for it, and else is widened to
// Backend::WideFormat. A matrix whose columns the format does not fit is treated so, too. Norms and biases
// are f32 in any case.
using Quantization = std::optional<WeightFormat>;

// Reads `files` but does not keep them. `backend` must outlive the plan. The plan has the rope table of
// `context` positions. `progress` may be empty. Returns the errors of CheckWeights, kCorrupt when a weight is
// NaN or infinite or a file has changed meanwhile, kUnsupported when a weight is too large for `quantize` or
// the backend has no kernels for it, kInvalidArgument when the context is below 1 or exceeds
// that of the model, and kResourceExhausted when the backend has too little memory.
Result<LoadedPlan> LoadPlan(const ModelConfig& config, const WeightFiles& files, Backend& backend,
                            int context, const LoadProgress& progress, Quantization quantize = {});

// The same with dummy weights (kernels/dummy_weights.h), which the backend makes from the configuration
// alone. They are such that activations stay finite: each product of a matrix has about the size of its
// input, norms are 1 and biases 0. Every backend makes the same ones, at every call. A change of them needs
// another kDummyWeightsName.
Result<LoadedPlan> LoadDummyPlan(const ModelConfig& config, Backend& backend, int context,
                                 const LoadProgress& progress, Quantization quantize = {});
// The type of dummy weights: that of config.json, or else f32, as transformers reads it.
DType DummyDType(const ModelConfig& config);
// The hash of dummy weights: of their names, shapes and type, and of kDummyWeightsName. No file has it.
BlockKey DummyHash(const ModelConfig& config);

// Returns the ModelWeights::bytes that LoadPlan will need. Requires that CheckWeights lets the files pass.
size_t PlannedWeightBytes(const ModelConfig& config, const WeightFiles& files, const Backend& backend,
                          int context, Quantization quantize = {});
// Returns the formats that the matrices will have in memory, that of most numbers first. Requires the same.
std::vector<WeightFormat> PlannedFormats(const ModelConfig& config, const WeightFiles& files,
                                         const Backend& backend, Quantization quantize = {});
// Those of LoadDummyPlan.
size_t PlannedDummyBytes(const ModelConfig& config, const Backend& backend, int context,
                         Quantization quantize = {});
std::vector<WeightFormat> PlannedDummyFormats(const ModelConfig& config, const Backend& backend,
                                              Quantization quantize = {});

}  // namespace prefixd
