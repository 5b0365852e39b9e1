#include "model/gguf_weights.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "model/gguf_config.h"
#include "model/gguf_model.h"
#include "model/weights.h"

namespace prefixd {
namespace {

struct NameRow {
  std::string_view gguf, transformers;
};
constexpr NameRow kModelNames[] = {{"token_embd.weight", kEmbeddingWeight},
                                   {"output_norm.weight", kFinalNormWeight},
                                   {"output.weight", kHeadWeight}};
// Parts of a layer, without ".weight" and ".bias".
constexpr NameRow kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
// Tensors that are read with the description of the model.
constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

}  // namespace

std::string TransformersName(std::string_view gguf_name) {
  for (const NameRow& row : kModelNames) {
    if (gguf_name == row.gguf) return std::string(row.transformers);
  }
  constexpr std::string_view kBlock = "blk.";
  if (!gguf_name.starts_with(kBlock)) return "";
  int layer = -1;
  const char* const end = gguf_name.data() + gguf_name.size();
  const auto [at, error] = std::from_chars(gguf_name.data() + kBlock.size(), end, layer);
  if (error != std::errc() || layer < 0 || at == end || *at != '.') return "";
  const std::string_view rest(at + 1, static_cast<size_t>(end - at - 1));
  for (const NameRow& row : kLayerNames) {
    if (!rest.starts_with(row.gguf)) continue;
    const std::string_view kind = rest.substr(row.gguf.size());
    std::string name;
    if (kind == ".weight") name = LayerWeight(layer, row.transformers);
    if (kind == ".bias") name = LayerBias(layer, row.transformers);
    // A number with a leading zero would give the name of another tensor.
    const std::string number = std::to_string(layer);
    const bool plain = gguf_name.substr(kBlock.size(), number.size()) == number &&
                       at == gguf_name.data() + kBlock.size() + number.size();
    if (!name.empty() && plain) return name;
  }
  return "";
}

std::string GgufName(std::string_view transformers_name) {
  for (const NameRow& row : kModelNames) {
    if (transformers_name == row.transformers) return std::string(row.gguf);
  }
  // "model.layers.3.PART.weight"
  constexpr std::string_view kLayers = "model.layers.";
  PREFIXD_CHECK(transformers_name.starts_with(kLayers)) << transformers_name;
  const std::string_view rest = transformers_name.substr(kLayers.size());
  const size_t dot = rest.find('.'), last = rest.rfind('.');
  const std::string_view part = rest.substr(dot + 1, last - dot - 1);
  const auto* row = std::ranges::find(kLayerNames, part, &NameRow::transformers);
  PREFIXD_CHECK(row != std::end(kLayerNames)) << transformers_name;
  return "blk." + std::string(rest.substr(0, dot + 1)) + std::string(row->gguf) +
         std::string(rest.substr(last));
}

bool HasPairedRows(std::string_view gguf_name) {
  return gguf_name.find(".attn_q.") != gguf_name.npos || gguf_name.find(".attn_k.") != gguf_name.npos;
}

Result<WeightFiles> OpenGgufWeights(const std::filesystem::path& path) {
  PREFIXD_ASSIGN_OR_RETURN(GgufModel model, OpenGgufModel(path));
  PREFIXD_ASSIGN_OR_RETURN(const GgufFamily family, FamilyOfGguf(model));
  PREFIXD_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOfGguf(model));
  std::vector<TensorView> tensors;
  for (const GgufFile& part : model.parts) {
    for (const GgufTensor& tensor : part.tensors) {
      if (tensor.name == kRopeDivisors) continue;
      TensorView& view = tensors.emplace_back();
      view.name_in_file = tensor.name;
      view.name = TransformersName(tensor.name);
      if (view.name.empty()) view.name = "gguf:" + std::string(tensor.name);  // no family reads it
      view.dtype_name = GgufTypeName(tensor.type_number);
      view.dtype = tensor.type;
      view.shape = tensor.shape;
      view.bytes = tensor.bytes;
      if (family.paired_rows && HasPairedRows(tensor.name)) view.paired_rows = config.head_dim;
    }
  }
  return WeightFiles(WeightFiles::Kind::kGguf, std::move(model.files), std::move(tensors));
}

}  // namespace prefixd
