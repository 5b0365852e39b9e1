// Writes a model folder with a few thousand random parameters, for tests of the engine that need a real model
// but no real text: config.json and model.safetensors, without a tokenizer. Any thread.
#pragma once

#include <filesystem>
#include <string>

namespace prefixd::testing_support {

struct TinyModelShape {
  int hidden = 32;
  int layers = 2;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 8;
  int intermediate = 48;
  int vocab = 64;
  int positions = 4096;
  bool bf16 = false;   // the type of the weights: bf16, or f32
  bool mixed = false;  // instead, f32, f16 and bf16 in turn, from tensor to tensor
  std::string model_type = "llama";
  std::string more;  // further fields of config.json, such as R"(,"sliding_window":7)"
};

// Writes the files into `folder`, which exists. The same seed and shape give the same bytes.
void WriteTinyModel(const std::filesystem::path& folder, uint64_t seed, const TinyModelShape& shape = {});

}  // namespace prefixd::testing_support
