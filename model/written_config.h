// Writes a ModelConfig as model/config.h and model/gguf_config.h read it: as config.json, and as the values
// of a GGUF file. Pure functions; any thread.
//
// What one kind of file cannot say is refused (kUnsupported), and the message names it. Reading what was
// written gives the same forward pass; in a GGUF file the frequencies of a llama3 rope are divided by f32
// numbers, which round them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/kv_layout.h"
#include "model/config.h"
#include "model/gguf_config.h"
#include "model/gguf_header.h"

namespace prefixd {

// The text of a config.json for weights of `dtype`. `ends` are the tokens that end an answer.
Result<std::string> WriteConfigJson(const ModelConfig& config, DType dtype, std::optional<TokenId> bos,
                                    const std::vector<TokenId>& ends);

// The family of GGUF that has such models.
Result<GgufFamily> GgufFamilyOf(const ModelConfig& config);
// Adds the values of the architecture, without the tokenizer's.
Status AddGgufConfig(const ModelConfig& config, GgufHeader* header);
// The tensor rope_freqs.weight; empty where the model has none.
std::vector<float> GgufRopeDivisors(const ModelConfig& config);

}  // namespace prefixd
