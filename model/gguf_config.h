// Reads the description of a model from GGUF files into a ModelConfig, as model/config.h does from
// config.json. Pure functions; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/config.h"
#include "model/gguf_model.h"

namespace prefixd {

// The families of GGUF that prefixd serves.
struct GgufFamily {
  std::string_view name;  // of general.architecture
  std::string_view model_type;
  bool always_qkv_bias;
  bool qk_norm;
  bool paired_rows;  // rows of q and k in the order of TensorView::paired_rows
};
std::span<const GgufFamily> GgufFamilies();
// The family of a model. kUnsupported, with the name, where prefixd does not serve it.
Result<GgufFamily> FamilyOfGguf(const GgufModel& model);

// Returns a ModelConfig with the invariants of ParseModelConfig; its `eos` and `bos` are those of the
// tokenizer, and its `dtype` is set: bf16 where most weights are quantised. kCorrupt: a value that makes no
// sense. kUnsupported: a model or a feature that prefixd does not compute. The message begins with the name
// of the file and names key and value.
Result<ModelConfig> ConfigOfGguf(const GgufModel& model);

}  // namespace prefixd
