// ModelPlan: a Llama-like model as a backend needs it: its sizes, the parameters of its layers and its
// weights in backend memory. `model` fills it from files; a ModelRunner (kernels/backend.h) owns it and runs
// it. Plain values; one owner.
//
// The forward pass of a token is
//
//   x = embedding[token]
//   for each layer:
//     n = RmsNorm(x, input_norm);  q, k, v = qkv n + qkv_bias
//     q, k = RmsNorm of each head, if qk_norm; then rotated by rope at the token's position
//     KV of the layer = k, v, rounded or quantised to the type of the KV;  a = attention of q over the KV
//     x = x + out a + out_bias
//     n = RmsNorm(x, attention_norm);  g, u = gate_up n + gate_up_bias
//     x = x + down (activation(g) * u) + down_bias
//   logits = head RmsNorm(x, final_norm)
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/activation.h"
#include "kernels/backend_memory.h"
#include "kernels/kv_layout.h"

namespace prefixd {

struct ModelShape {
  int layers = 0;
  int hidden = 0;
  int intermediate = 0;
  int heads = 0;  // query heads; a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;  // even
  int vocab = 0;
  float rms_eps = 0;
  Activation activation = Activation::kSilu;
  // [layers]: number of tokens that a position sees, itself included; 0: itself and all before it.
  std::vector<int> windows;

  int QueryWidth() const { return heads * head_dim; }
  int KvWidth() const { return kv_heads * head_dim; }
  int QkvWidth() const { return QueryWidth() + 2 * KvWidth(); }
  KvLayout Kv(int block_tokens, KvType type) const {
    return {layers, kv_heads, head_dim, block_tokens, type};
  }
};

// A vector that the model does not have is null. `buffers` of ModelWeights own the vectors.
struct LayerWeights {
  const float* input_norm = nullptr;      // [hidden]
  const float* attention_norm = nullptr;  // [hidden], after attention
  const float* q_norm = nullptr;          // [head_dim]
  const float* k_norm = nullptr;          // [head_dim]; null when q_norm is
  const float* qkv_bias = nullptr;        // [q | k | v]
  const float* out_bias = nullptr;        // [hidden]
  const float* gate_up_bias = nullptr;    // [2 * intermediate]
  const float* down_bias = nullptr;       // [hidden]
  // q, k and v are rows of one matrix, and so are gate and up; where formats differ, a StackedMatrix.
  std::unique_ptr<Matrix> qkv;            // q, k and v stacked: [q | k | v] by hidden
  std::unique_ptr<Matrix> out;            // hidden by query width
  std::unique_ptr<Matrix> gate_up;        // gate and up stacked: 2 * intermediate by hidden
  std::unique_ptr<Matrix> down;           // hidden by intermediate
};

struct ModelWeights {
  std::unique_ptr<Matrix> embedding;  // vocab by hidden
  std::unique_ptr<Matrix> head;       // vocab by hidden; null: the embedding is the head
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;  // [hidden]
  const float* rope = nullptr;        // [positions][2][head_dim / 2], cosines then sines
  int positions = 0;                  // of `rope`
  std::vector<std::unique_ptr<Buffer>> buffers;
  size_t bytes = 0;  // of backend memory, in all
};

struct ModelPlan {
  ModelShape shape;
  ModelWeights weights;
};

// The largest step that a runner can run.
struct StepLimits {
  int context = 0;         // positions per sequence
  int max_rows = 0;        // per step
  int max_logit_rows = 0;  // per step
};

}  // namespace prefixd
