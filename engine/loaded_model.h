// LoadedModel: everything that the daemon needs from a Hugging Face folder or a GGUF file: the runner, the
// tokenizer, the chat template, the end tokens and the sampling defaults.
//
//   path -> DescribeModel -> DescribedModel -> SummarizeModel, LoadModel -> LoadedModel
//
// One thread loads a model. After that any thread may read the tokenizer, the chat template and the plain
// values; the runner belongs to the engine thread.
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
#include "engine/model_description.h"
#include "engine/special_tokens.h"
#include "hashing/fingerprint.h"
#include "kernels/backend.h"
#include "model/config.h"
#include "model/model_loader.h"
#include "text/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

// Special tokens as text; empty when the tokenizer has none.
struct SpecialTokens {
  std::string bos, eos;
};

// A model without its weights.
struct DescribedModel {
  std::filesystem::path path;  // as FindModel returns it
  WeightSource weights = WeightSource::kFiles;
  std::string served_name;  // the name of the folder
  ModelConfig config;
  GenerationDefaults generation;
  std::optional<TokenId> bos;  // that of the tokenizer, or else of config.json
  std::vector<TokenId> eos;    // sorted; the union of generation_config.json, config.json and the tokenizer
  SpecialTokens special_tokens;
  std::vector<NamedToken> named_tokens;     // all names, those of special_tokens too
  std::vector<std::string> contradictions;  // where files of the tokenizer contradict each other: sentences
  std::unique_ptr<Tokenizer> tokenizer;
  bool byte_tokenizer = false;  // it has a token for each byte, because the folder has no tokenizer.json
  std::unique_ptr<ChatTemplate> chat_template;  // null when the folder has none
  std::string chat_template_place;              // its source, as "chat_template.jinja"
};

struct LoadOptions {
  StepLimits limits;  // context 0 means the model's max_position_embeddings
  Quantization quantize;
};

struct LoadedModel : DescribedModel {
  BlockKey weights_hash;
  Quantization quantization;
  size_t weight_bytes = 0;                            // of backend memory
  std::vector<std::filesystem::path> uncached_files;  // of LoadedPlan
  std::unique_ptr<ModelRunner> runner;
};

// Reads all of a model except its weights. A `chat_template` that is not empty is the text of the one to use
// instead of the model's. Every error message names the folder, the file and the remedy. kNotFound: the
// folder or a file does not exist. kUnsupported: prefixd does not support the model, tokenizer or
// template. kCorrupt, kInvalidArgument: files contradict themselves or each other.
Result<DescribedModel> DescribeModel(const std::filesystem::path& path, std::string_view chat_template,
                                     WeightSource weights = WeightSource::kFiles);

// Loads the weights of a model. `backend` must outlive it. `progress` may be empty. The errors are those of
// SummarizeModel, and kResourceExhausted: not enough memory.
Result<std::unique_ptr<LoadedModel>> LoadModel(DescribedModel described, Backend& backend,
                                               const LoadOptions& options, const LoadProgress& progress);

// Returns the identity of the KV that this backend computes with this model in this layout.
ModelIdentity IdentityOf(const LoadedModel& model, const Backend& backend, const KvLayout& layout);

struct TokenizerSummary {
  std::string kind;  // "byte-level BPE", or "one token for each byte (no tokenizer.json)"
  int vocab_size = 0;
  std::string bos, eos;             // texts; empty when there is none
  std::vector<std::string> prefix;  // texts of the tokens that are added before a prompt
  std::vector<NamedToken> named;
  std::vector<std::string> contradictions;
};

struct TemplateSummary {
  std::string place;  // "chat_template.jinja"
  ChatTemplate::Caps caps;
  std::vector<std::string> rewrites;  // one sentence each; empty: the template only appends
};

// A summary of a model folder. The headers of the weights are checked; the weights are not read.
struct ModelSummary {
  std::string served_name;
  ModelConfig config;  // see also CanonicalArchitecture, DescribeConfig and KvBytesPerToken
  int64_t parameters = 0;
  WeightSource weights = WeightSource::kFiles;
  Quantization quantization;
  std::vector<WeightFormat> formats;       // of the matrices in memory, that of most numbers first
  uint64_t weight_bytes = 0;               // in the files, or as files would have
  uint64_t packed_bytes = 0;               // ModelWeights::bytes for a context of 0
  uint64_t packed_bytes_per_position = 0;  // and what each token of context adds
  std::vector<std::pair<std::string, uint64_t>> bytes_of_dtypes;  // weight_bytes by dtype, as ("BF16", bytes)
  TokenizerSummary tokenizer;
  std::optional<TemplateSummary> chat_template;
};

// Summarizes a model, with its sizes in the memory of `backend`. The errors are those of DescribeModel, of
// the files of weights.
Result<ModelSummary> SummarizeModel(const DescribedModel& model, const Backend& backend,
                                    Quantization quantize = {});

}  // namespace prefixd
