// Transformer runs the forward pass of a Llama-like model as a sequence of Backend calls. It owns the packed
// weights and the activation buffers of one step. It has no notion of requests, caches or sampling.
//
// Threads: only the engine thread, which also owns the backend, may use it.
//
// Invariants
//   1. The logits of a row depend, bit for bit, only on the tokens of its sequence up to that row. They do
//      not depend on the other rows, the chunking, or the location of the KV (invariant 1 of Backend).
//   2. The Transformer allocates all its memory at creation. A step allocates nothing, except for working
//      memory inside the backend.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"
#include "kernels/backend.h"
#include "kernels/kv_layout.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace prefixd {

struct TransformerLimits {
  int context = 0;         // positions per sequence
  int max_rows = 0;        // per step
  int max_logit_rows = 0;  // per step
};

// A callback that receives the share of the weights that is loaded: from 0 to 1, never decreasing.
using LoadProgress = std::function<void(double)>;

class Transformer {
 public:
  // Reads `files` but does not keep them. `backend` must outlive the Transformer. `progress` may be empty.
  // Returns the errors of CheckWeights, kCorrupt when a weight is NaN or infinite, kInvalidArgument when a
  // limit is below 1 or the context exceeds that of the model, and kResourceExhausted when the backend has
  // too little memory.
  static Result<std::unique_ptr<Transformer>> Create(const ModelConfig& config, const WeightFiles& files,
                                                     Backend& backend, const TransformerLimits& limits,
                                                     const LoadProgress& progress);
  ~Transformer();

  // Returns the activation_bytes() of a Transformer with these settings.
  static size_t ActivationBytes(const ModelConfig& config, const TransformerLimits& limits);

  const ModelConfig& config() const { return config_; }
  const TransformerLimits& limits() const { return limits_; }
  KvLayout kv_layout(int block_tokens, DType dtype) const;

  // Runs one step: computes all rows of the batch, stores their KV in `pool`, and returns the logits of
  // `logit_rows`, in that order, as [logit_rows.size()][vocab] in host memory. The logits are valid until the
  // next call of any member, or of the backend other than Backend::Sample. `logit_rows` are distinct row
  // numbers of the batch; if there are none, returns nullptr. The step has ended on return. After an error
  // the KV that the step stored must not be used.
  Result<const float*> Forward(const BatchView& batch, std::span<const int> logit_rows, KvPool& pool);

  // XXH3-128 of all tensors of the files, ordered by name.
  const BlockKey& weights_hash() const { return weights_hash_; }
  // Bytes of backend memory. weight_bytes() counts the packed matrices, the norms and biases, and the rope
  // table; activation_bytes() counts the activation buffers.
  size_t weight_bytes() const { return weight_bytes_; }
  size_t activation_bytes() const { return activation_bytes_; }

 private:
  // A vector that the architecture does not have is null.
  struct Layer {
    const float* input_norm = nullptr;      // [hidden]
    const float* attention_norm = nullptr;  // [hidden], after attention
    const float* q_norm = nullptr;          // [head_dim]
    const float* k_norm = nullptr;          // [head_dim]
    const float* qkv_bias = nullptr;        // [q | k | v]
    const float* out_bias = nullptr;        // [hidden]
    const float* gate_up_bias = nullptr;    // [2 * intermediate]
    const float* down_bias = nullptr;       // [hidden]
    std::unique_ptr<Matrix> qkv;            // q, k and v stacked
    std::unique_ptr<Matrix> out;
    std::unique_ptr<Matrix> gate_up;
    std::unique_ptr<Matrix> down;
  };

  class Meter;

  Transformer(const ModelConfig& config, Backend& backend, const TransformerLimits& limits);
  Status LoadWeights(const WeightFiles& files, const LoadProgress& progress);
  Status ReadWeights(const WeightFiles& files, Meter& meter);
  Status LoadMatrices(const WeightFiles& files, Meter& meter);
  Status LoadVectors(const WeightFiles& files);
  Status AllocateActivations();
  Result<float*> AllocateFloats(size_t rows, size_t width, size_t* counter);
  void CheckStep(const BatchView& batch, std::span<const int> logit_rows, const KvPool& pool) const;
  void Attend(int layer, int rows, KvPool& pool);
  void FeedForward(const Layer& layer, const float* attention, int rows, float* x);

  const ModelConfig config_;
  Backend& backend_;
  const TransformerLimits limits_;
  BlockKey weights_hash_;
  size_t weight_bytes_ = 0;
  size_t activation_bytes_ = 0;

  std::vector<std::unique_ptr<Buffer>> buffers_;  // own the memory behind the pointers below
  std::unique_ptr<Matrix> embedding_;
  std::unique_ptr<Matrix> head_;  // null with tied embeddings
  std::vector<Layer> layers_;
  const float* final_norm_ = nullptr;
  const float* rope_table_ = nullptr;

  // [max_rows][..]
  float* x_ = nullptr;          // the residual stream, [hidden]
  float* normed_ = nullptr;     // [hidden]
  float* qkv_ = nullptr;        // [q | k | v]
  float* attention_ = nullptr;  // [heads * head_dim]
  float* gate_up_ = nullptr;    // [2 * intermediate]
  float* activated_ = nullptr;  // [intermediate]
  // [max_logit_rows][..]: the rows with logits, which alone are computed after the last attention
  float* last_x_ = nullptr;
  float* last_attention_ = nullptr;
  float* logits_ = nullptr;
};

}  // namespace prefixd
