// Where the tensors of a model go in its ModelWeights: stacked in matrices, and one after the other as
// vectors. Plain values; one thread makes them, any may read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/model_plan.h"
#include "model/config.h"

namespace prefixd {

// A matrix: where the weights keep it, and the tensors that are stacked in it.
struct MatrixPlace {
  std::unique_ptr<Matrix>* matrix;
  std::vector<std::string> tensors;
};
// All matrices. `weights` has the layers of `config`.
std::vector<MatrixPlace> MatricesOf(const ModelConfig& config, ModelWeights* weights);

// The shapes of the tensors, which CheckWeights has found in the files.
class WeightShapes {
 public:
  explicit WeightShapes(const ModelConfig& config);
  // Of tensors that are stacked.
  int Rows(std::span<const std::string> tensors) const;
  int Cols(std::span<const std::string> tensors) const;

 private:
  std::map<std::string, std::vector<int64_t>> shapes_;
};

// The norms and biases of a model as f32, in one array.
class WeightVectors {
 public:
  // `weights` has the layers of `config`, and outlives this.
  WeightVectors(const ModelConfig& config, ModelWeights* weights);
  // The elements of a tensor, to be written; null where it is no vector. Any thread, while no two write the
  // same element.
  float* Find(const std::string& tensor);
  std::span<const float> values() const { return values_; }
  // Tells the weights that the values are at `values`.
  void Place(const float* values) const;

 private:
  // Where the weights keep the pointer to a vector, and where the vector begins.
  struct Vector {
    const float** pointer;
    size_t begin;
  };
  std::vector<Vector> vectors_;
  std::map<std::string, size_t> begins_;  // by tensor
  std::vector<float> values_;
};

}  // namespace prefixd
