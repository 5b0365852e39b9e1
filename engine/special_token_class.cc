#include "engine/special_token_class.h"

#include <algorithm>
#include <string>

namespace prefixd {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr TokenClass kQwen2 = {.name = "Qwen2Tokenizer",
                               .bos = "",
                               .eos = kEndOfText,
                               .unk = kEndOfText,
                               .pad = kEndOfText,
                               .only_decoder = true};
constexpr TokenClass kGpt2 = {.name = "GPT2Tokenizer",
                              .bos = kEndOfText,
                              .eos = kEndOfText,
                              .unk = kEndOfText,
                              .pad = "",
                              .pads_with_nothing = true};
constexpr TokenClass kLlama = {
    .name = "LlamaTokenizer", .bos = "<s>", .eos = "</s>", .unk = "<unk>", .pad = ""};
constexpr TokenClass kGeneric = {.name = "TokenizersBackend", .bos = "", .eos = "", .unk = "", .pad = ""};

bool IsByteLevel(const TokenizerSpec& spec) {
  return std::any_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(),
                     [](const auto& stage) { return stage.kind == PreTokenizerSpec::kByteLevel; });
}

}  // namespace

const TokenClass& TokenClassOf(const SpecialTokenFiles& files, const TokenizerSpec& spec) {
  std::string name = files.model_class;
  if (files.config != nullptr) {
    const boost::json::value* given = files.config->if_contains("tokenizer_class");
    if (given != nullptr && given->is_string()) name = given->get_string();
  }
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (files.model_type == "qwen2") return kQwen2;
  if (files.model_type == "mistral") return kGeneric;
  if (name.empty()) return files.model_type == "qwen3" ? kQwen2 : kGeneric;
  if (name == kLlama.name) return IsByteLevel(spec) ? kGeneric : kLlama;
  if (name == kQwen2.name) return kQwen2;
  return name == kGpt2.name ? kGpt2 : kGeneric;
}

}  // namespace prefixd
