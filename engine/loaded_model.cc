#include "engine/loaded_model.h"

#include <malloc.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/json_fields.h"
#include "base/log.h"
#include "model/mapped_file.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

constexpr size_t kLargestConfig = 1 << 20;
constexpr size_t kLargestTemplate = 1 << 20;
constexpr size_t kLargestTokenizerConfig = 16 << 20;
constexpr size_t kLargestTokenizer = 256 << 20;

constexpr std::string_view kWhatAModelIs =
    "a model is a Hugging Face folder with config.json, tokenizer.json and *.safetensors files";

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Returns the canonical path of the folder, so that its last component is the folder's name.
Result<fs::path> FindFolder(const fs::path& path) {
  std::error_code error;
  const fs::path folder = fs::canonical(path, error);
  const std::string what(kWhatAModelIs);
  if (error) return NotFound(path.string() + ": " + error.message() + "; " + what);
  if (fs::is_directory(folder, error)) {
    if (Exists(folder / "config.json")) return folder;
    return NotFound(path.string() + ": has no config.json; " + what);
  }
  if (folder.extension() == ".gguf")
    return Unsupported(path.string() + ": GGUF files are not supported; " + what);
  return InvalidArgument(path.string() + ": is not a folder; " + what);
}

// Reads the JSON object of a file. The object is empty when the file does not exist.
Result<bj::object> ReadOptionalObject(const fs::path& path, size_t limit) {
  if (!Exists(path)) return bj::object();
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, limit));
  return ParseJsonObject(path.filename().string() + ": ", text);
}

Result<std::optional<float>> OptionalNumber(const JsonFields& fields, std::string_view key, double low,
                                            double high) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<double> number, fields.Number(key, low, high).Optional());
  return number ? std::optional(static_cast<float>(*number)) : std::nullopt;
}

Result<GenerationDefaults> ParseGeneration(const JsonFields& fields) {
  GenerationDefaults defaults;
  PREFIXD_ASSIGN_OR_RETURN(defaults.do_sample, fields.Bool("do_sample").Optional());
  PREFIXD_ASSIGN_OR_RETURN(defaults.temperature, OptionalNumber(fields, "temperature", 0, 100));
  PREFIXD_ASSIGN_OR_RETURN(defaults.top_p, OptionalNumber(fields, "top_p", 1e-6, 1));
  PREFIXD_ASSIGN_OR_RETURN(defaults.min_p, OptionalNumber(fields, "min_p", 0, 1));
  PREFIXD_ASSIGN_OR_RETURN(defaults.repetition_penalty,
                           OptionalNumber(fields, "repetition_penalty", 0.01, 100));
  // -1 and 0 switch it off, and more than the vocabulary keeps every token.
  PREFIXD_ASSIGN_OR_RETURN(defaults.top_k,
                           fields.Integer("top_k", -1, std::numeric_limits<int32_t>::max()).Optional());
  if (defaults.top_k) defaults.top_k = std::clamp<int>(*defaults.top_k, 0, kConfigLimits.vocab);
  return defaults;
}

// Returns the text of a special token, which is written as a string or as an object with "content".
Result<std::string> TokenText(const JsonFields& fields, std::string_view key) {
  if (const Field<JsonFields> token = fields.Object(key); token.ok())
    return token.value().String("content").Or("");
  return fields.String(key).Or("");
}

struct TemplateSource {
  std::string place;     // the source, for messages
  std::string text;      // empty: the model has no template
  std::string tool_use;  // template of requests with tools; empty: use `text`
};

// Reads chat_template of tokenizer_config.json. It is a string or a list of named templates, of which
// "default" and "tool_use" are used.
Result<TemplateSource> TemplateOfConfig(const JsonFields& fields) {
  const std::string place = fields.PathOf("chat_template");
  const bj::value* value = fields.Find("chat_template");
  if (value == nullptr) return TemplateSource();
  if (value->is_string()) return TemplateSource{place, std::string(value->get_string()), {}};
  if (!value->is_array()) return fields.Wrong("chat_template", "a string, or a list of named templates");
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<JsonFields> entries, fields.Objects("chat_template").Required());
  TemplateSource found;
  for (const JsonFields& named : entries) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string name, named.String("name").Or(""));
    if (name != "default" && name != "tool_use") continue;
    PREFIXD_ASSIGN_OR_RETURN((name == "default" ? found.text : found.tool_use),
                             named.String("template").Or(""));
  }
  found.place = place + " 'default'";
  if (!found.text.empty()) return found;
  return fields.Wrong("chat_template", "one that is named 'default'");
}

Result<TemplateSource> FindTemplate(const fs::path& folder, const JsonFields& tokenizer_config,
                                    std::string_view given) {
  if (!given.empty()) return TemplateSource{"the chat template given", std::string(given), {}};
  if (const fs::path file = folder / "chat_template.jinja"; Exists(file)) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(file, kLargestTemplate));
    TemplateSource source{"chat_template.jinja", text, {}};
    if (const fs::path with_tools = folder / "additional_chat_templates" / "tool_use.jinja";
        Exists(with_tools)) {
      PREFIXD_ASSIGN_OR_RETURN(source.tool_use, ReadSmallFile(with_tools, kLargestTemplate));
    }
    return source;
  }
  return TemplateOfConfig(tokenizer_config);
}

Result<std::unique_ptr<ChatTemplate>> LoadTemplate(const TemplateSource& source,
                                                   const JsonFields& tokenizer_config,
                                                   const SpecialTokens& special) {
  if (source.text.empty()) return std::unique_ptr<ChatTemplate>();
  ChatTemplate::Options options;
  options.bos_token = special.bos;
  options.eos_token = special.eos;
  options.tool_use = source.tool_use;
  for (const char* key : {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string text, TokenText(tokenizer_config, key));
    if (!text.empty()) options.special_tokens.emplace_back(key, text);
  }
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(source.text, std::move(options));
  if (!parsed.ok()) {
    return Status(parsed.status().code(),
                  source.place + ": " + parsed.status().message() + "; give another by --chat-template");
  }
  return parsed;
}

Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  if (!Exists(file)) {
    return NotFound("has no tokenizer.json; save a fast tokenizer there (transformers: save_pretrained)");
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(file, kLargestTokenizer));
  return Tokenizer::FromJson(text);
}

// Returns to the operating system what the heap keeps of freed memory. To parse a large tokenizer.json takes
// several times the memory of the tokenizer.
void TrimHeap() { ::malloc_trim(0); }

// Loads everything except the weights, which LoadModel reads and SummarizeModel only checks.
Result<std::unique_ptr<LoadedModel>> LoadDescription(const fs::path& folder, std::string_view chat_template) {
  auto model = std::make_unique<LoadedModel>();
  model->served_name = folder.filename().string();
  PREFIXD_ASSIGN_OR_RETURN(const std::string config, ReadSmallFile(folder / "config.json", kLargestConfig));
  PREFIXD_ASSIGN_OR_RETURN(model->config, ParseModelConfig(config));

  PREFIXD_ASSIGN_OR_RETURN(const bj::object generation,
                           ReadOptionalObject(folder / "generation_config.json", kLargestConfig));
  const JsonFields generation_fields(generation, "generation_config.json: ");
  PREFIXD_ASSIGN_OR_RETURN(model->generation, ParseGeneration(generation_fields));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<TokenId> ends,
                           ParseTokenIds(generation_fields, "eos_token_id", model->config.vocab));

  PREFIXD_ASSIGN_OR_RETURN(const bj::object tokenizer_config,
                           ReadOptionalObject(folder / "tokenizer_config.json", kLargestTokenizerConfig));
  const JsonFields tokenizer_fields(tokenizer_config, "tokenizer_config.json: ");
  PREFIXD_ASSIGN_OR_RETURN(model->special_tokens.bos, TokenText(tokenizer_fields, "bos_token"));
  PREFIXD_ASSIGN_OR_RETURN(model->special_tokens.eos, TokenText(tokenizer_fields, "eos_token"));
  PREFIXD_ASSIGN_OR_RETURN(const TemplateSource source,
                           FindTemplate(folder, tokenizer_fields, chat_template));
  PREFIXD_ASSIGN_OR_RETURN(model->chat_template,
                           LoadTemplate(source, tokenizer_fields, model->special_tokens));
  model->chat_template_place = source.place;

  PREFIXD_ASSIGN_OR_RETURN(model->tokenizer, LoadTokenizer(folder));
  // More embeddings than tokens are usual, because embeddings are padded.
  if (const TokenId last = model->tokenizer->vocab_size() - 1; last >= model->config.vocab) {
    return Unsupported("tokenizer.json: token \"" +
                       std::string(model->tokenizer->TokenText(last).value_or("")) + "\" has the id " +
                       std::to_string(last) + ", but the model has embeddings for " +
                       std::to_string(model->config.vocab) + " tokens only (config.json: vocab_size)");
  }
  std::set<TokenId> eos(model->config.eos.begin(), model->config.eos.end());
  eos.insert(ends.begin(), ends.end());
  if (const auto id = model->tokenizer->TokenToId(model->special_tokens.eos); id && *id < model->config.vocab)
    eos.insert(*id);
  model->eos.assign(eos.begin(), eos.end());
  TrimHeap();
  return model;
}

Result<std::unique_ptr<LoadedModel>> LoadFolder(const fs::path& folder, Backend& backend,
                                                const LoadOptions& options, const LoadProgress& progress) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<LoadedModel> model,
                           LoadDescription(folder, options.chat_template));
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, WeightFiles::Open(folder));
  StepLimits limits = options.limits;
  if (limits.context == 0) limits.context = model->config.max_positions;
  PREFIXD_ASSIGN_OR_RETURN(LoadedPlan loaded,
                           LoadPlan(model->config, files, backend, limits.context, progress));
  model->weights_hash = loaded.weights_hash;
  model->weight_bytes = loaded.plan.weights.bytes;
  PREFIXD_ASSIGN_OR_RETURN(model->runner, backend.CreateRunner(std::move(loaded.plan), limits));
  return model;
}

TokenizerSummary SummarizeTokenizer(const LoadedModel& model) {
  const Tokenizer& tokenizer = *model.tokenizer;
  TokenizerSummary summary{std::string(tokenizer.kind()),
                           tokenizer.vocab_size(),
                           model.special_tokens.bos,
                           model.special_tokens.eos,
                           {}};
  const auto prefix = tokenizer.Encode("", {.add_special_tokens = true});
  for (const TokenId id : prefix.ok() ? *prefix : std::vector<TokenId>())
    summary.prefix.emplace_back(tokenizer.TokenText(id).value_or(""));
  return summary;
}

Result<ModelSummary> SummarizeFolder(const fs::path& folder, std::string_view chat_template,
                                     const Backend& backend) {
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<LoadedModel> model, LoadDescription(folder, chat_template));
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, WeightFiles::Open(folder));
  PREFIXD_RETURN_IF_ERROR(CheckWeights(model->config, files));
  ModelSummary summary;
  summary.served_name = model->served_name;
  summary.config = model->config;
  summary.parameters = ParameterCount(model->config);
  summary.weight_bytes = files.total_bytes();
  summary.packed_bytes = PlannedWeightBytes(model->config, files, backend, 0);
  summary.packed_bytes_per_position =
      PlannedWeightBytes(model->config, files, backend, 1) - summary.packed_bytes;
  std::map<std::string, uint64_t> dtypes;
  for (const TensorView& tensor : files.tensors()) dtypes[tensor.dtype_name] += tensor.bytes.size();
  summary.bytes_of_dtypes.assign(dtypes.begin(), dtypes.end());
  summary.tokenizer = SummarizeTokenizer(*model);
  if (model->chat_template != nullptr) {
    summary.chat_template = {model->chat_template_place, model->chat_template->caps(), {}};
    for (const ChatTemplate::Rewrite& rewrite : model->chat_template->rewrites())
      summary.chat_template->rewrites.push_back(rewrite.Describe());
  }
  return summary;
}

// Adds the folder to the message of an error that does not name it.
Status InFolder(const fs::path& folder, const Status& status) {
  return status.message().starts_with(folder.string()) ? status : status.WithContext(folder.string());
}

// Warns because a cached prefix cannot be reused after the place where a longer conversation is rendered
// differently.
void WarnOfRewrites(const ChatTemplate& chat_template, const std::string& place) {
  for (const ChatTemplate::Rewrite& rewrite : chat_template.rewrites()) {
    Log(LogLevel::kWarning, "the chat template rewrites what it has rendered before: " + rewrite.Describe(),
        {{"template", place}, {"turn", rewrite.turn}});
  }
}

}  // namespace

Result<std::unique_ptr<LoadedModel>> LoadModel(const fs::path& path, Backend& backend,
                                               const LoadOptions& options, const LoadProgress& progress) {
  PREFIXD_ASSIGN_OR_RETURN(const fs::path folder, FindFolder(path));
  Result<std::unique_ptr<LoadedModel>> model = LoadFolder(folder, backend, options, progress);
  if (!model.ok()) return InFolder(folder, model.status());
  if ((*model)->chat_template != nullptr)
    WarnOfRewrites(*(*model)->chat_template, (*model)->chat_template_place);
  return model;
}

ModelIdentity IdentityOf(const LoadedModel& model, const Backend& backend, const KvLayout& layout) {
  ModelIdentity identity;
  identity.weights = model.weights_hash;
  identity.architecture = CanonicalArchitecture(model.config);
  identity.kv_dtype = DTypeName(layout.dtype);
  identity.block_tokens = layout.block_tokens;
  identity.kv_layout = backend.kv_layout_name();
  identity.numerics_version = backend.numerics_version();
  return identity;
}

Result<ModelSummary> SummarizeModel(const fs::path& path, std::string_view chat_template,
                                    const Backend& backend) {
  PREFIXD_ASSIGN_OR_RETURN(const fs::path folder, FindFolder(path));
  Result<ModelSummary> summary = SummarizeFolder(folder, chat_template, backend);
  TrimHeap();
  if (!summary.ok()) return InFolder(folder, summary.status());
  return summary;
}

}  // namespace prefixd
