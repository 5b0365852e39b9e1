// The tensors of GGUF files as WeightFiles: with the names of transformers, and marked where rows are in
// another order. Pure functions; any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/weight_files.h"

namespace prefixd {

// "model.layers.3.self_attn.q_proj.weight" for "blk.3.attn_q.weight"; empty for a name that no family that is
// served has.
std::string TransformersName(std::string_view gguf_name);

// The inverse. Requires a name that TransformersName gives.
std::string GgufName(std::string_view transformers_name);
// Whether a family with paired rows has them in this tensor.
bool HasPairedRows(std::string_view gguf_name);

// Opens the tensors of the model whose first file is at `path`. Those that no family has are named
// "gguf:NAME". The errors are those of OpenGgufModel and ConfigOfGguf.
Result<WeightFiles> OpenGgufWeights(const std::filesystem::path& path);

}  // namespace prefixd
