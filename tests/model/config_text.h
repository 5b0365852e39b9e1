// Texts of config.json for tests: a small model with some keys changed.
#pragma once

#include <map>
#include <string>

namespace prefixd::testing_support {

using Changes = std::map<std::string, std::string>;  // key -> JSON text; empty: without the key

// A small Llama config with some keys changed.
inline std::string ConfigText(const Changes& changes = {}) {
  Changes keys = {{"architectures", R"(["LlamaForCausalLM"])"},
                  {"model_type", R"("llama")"},
                  {"hidden_act", R"("silu")"},
                  {"hidden_size", "128"},
                  {"intermediate_size", "352"},
                  {"max_position_embeddings", "512"},
                  {"num_attention_heads", "8"},
                  {"num_hidden_layers", "4"},
                  {"num_key_value_heads", "2"},
                  {"rms_norm_eps", "1e-05"},
                  {"rope_theta", "500000.0"},
                  {"vocab_size", "646"}};
  for (const auto& [key, value] : changes) keys[key] = value;
  std::string text;
  for (const auto& [key, value] : keys) {
    if (!value.empty()) text += (text.empty() ? "{\"" : ", \"") + key + "\": " + value;
  }
  return text + "}";
}

// The same config, of another family.
inline Changes Family(const std::string& model_type, Changes changes = {}) {
  changes["model_type"] = '"' + model_type + '"';
  changes["architectures"] = model_type == "mistral" ? R"(["MistralForCausalLM"])"
                             : model_type == "qwen2" ? R"(["Qwen2ForCausalLM"])"
                                                     : R"(["Qwen3ForCausalLM"])";
  return changes;
}

}  // namespace prefixd::testing_support
