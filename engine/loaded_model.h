// LoadedModel: everything that a Hugging Face folder brings to a server, checked and ready: the forward pass,
// the tokenizer, the chat template, end tokens and sampling defaults.
//
// Loading happens on one thread. Afterwards tokenizer, chat_template and the plain values may be read by any
// thread, and transformer belongs to the engine thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "model/config.h"
#include "model/transformer.h"
#include "text/chat_template.h"
#include "text/tokenizer/tokenizer.h"
#include "hashing/fingerprint.h"
#include "kernels/backend.h"

namespace prefixd {

// What generation_config.json recommends; nothing where it is silent.
struct GenerationDefaults {
  std::optional<bool> do_sample;  // false: greedy, whatever the temperature
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

// Special tokens as text; empty where the tokenizer has none.
struct SpecialTokens {
  std::string bos, eos;
};

struct LoadOptions {
  TransformerLimits limits;   // context 0: the model's max_position_embeddings
  std::string chat_template;  // text of a template that replaces the folder's; empty: the folder's
};

struct LoadedModel {
  std::string served_name;  // of the folder
  ModelConfig config;
  GenerationDefaults generation;
  std::vector<TokenId> eos;  // sorted; of generation_config.json, config.json and the tokenizer together
  SpecialTokens special_tokens;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;  // none when the folder has none
  std::string chat_template_place;              // where it is from: "chat_template.jinja"
  std::unique_ptr<Transformer> transformer;
};

// Every error names the folder, the file and what to do about it. kNotFound: no such folder, or a file is
// missing. kUnsupported: a model, weight format, tokenizer or template that prefixd lacks. kCorrupt,
// kInvalidArgument: files that contradict themselves or each other. kResourceExhausted: not enough memory.
// `backend` outlives the model; `progress` may be empty.
Result<std::unique_ptr<LoadedModel>> LoadModel(const std::filesystem::path& path, Backend& backend,
                                               const LoadOptions& options, const LoadProgress& progress);

// What KV of this model in this layout, computed by this backend, is known by.
ModelIdentity IdentityOf(const Transformer& transformer, const Backend& backend, const KvLayout& layout);

struct TokenizerSummary {
  std::string kind;  // "byte-level BPE"
  int vocab_size = 0;
  std::string bos, eos;             // texts; empty: none is named
  std::vector<std::string> prefix;  // texts of the tokens that a prompt gets in front
};

struct TemplateSummary {
  std::string place;  // "chat_template.jinja"
  ChatTemplate::Caps caps;
  std::vector<std::string> rewrites;  // a sentence each; none: append-only
};

// A model folder at a glance: weights are checked by their headers, not read.
struct ModelSummary {
  std::string served_name;
  ModelConfig config;  // CanonicalArchitecture, DescribeModel and KvBytesPerToken tell more of it
  int64_t parameters = 0;
  uint64_t weight_bytes = 0;                                      // in the files
  std::vector<std::pair<std::string, uint64_t>> bytes_of_dtypes;  // the same by dtype: "BF16", bytes
  TokenizerSummary tokenizer;
  std::optional<TemplateSummary> chat_template;
};

// The errors of LoadModel, but for memory.
Result<ModelSummary> SummarizeModel(const std::filesystem::path& path, std::string_view chat_template);

}  // namespace prefixd
