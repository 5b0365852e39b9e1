// The shapes of models that the programs under bench/ know by name, and models of these shapes with random
// weights. Plain values; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/status.h"
#include "kernels/backend.h"

namespace prefixd::bench {

struct Preset {
  std::string_view name, model_type, class_name;
  int layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
  double theta;
  int window = 0;    // of every layer; 0: none
  bool tied = true;  // the embedding is the head

  ModelShape Shape() const;
  double WeightElements() const;  // of all matrices
  // Of the weights that every step reads, of a format: all matrices but an embedding that is not the head.
  double StepBytes(WeightFormat format) const;
};

// With the scales of a quantised format.
inline double BytesPerWeight(WeightFormat format) {
  return static_cast<double>(format.block_bytes()) / format.block();
}

std::span<const Preset> Presets();
// Null when there is none.
const Preset* FindPreset(std::string_view name);

// Random weights of a shape, in the memory of a backend. All layers have the same values, each in memory of
// its own, so that a model of many gigabytes is there in seconds. Norms are 1, biases small. Returns the
// errors of the backend.
Result<ModelPlan> RandomPlan(const Preset& preset, WeightFormat format, int positions, Backend& backend);

}  // namespace prefixd::bench
