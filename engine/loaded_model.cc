#include "engine/loaded_model.h"

#include <malloc.h>

#include <algorithm>
#include <map>

#include "base/json_fields.h"
#include "base/log.h"
#include "engine/tokenizer_files.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

Result<std::unique_ptr<ChatTemplate>> LoadTemplate(const TemplateSource& source,
                                                   const std::vector<NamedToken>& named) {
  if (source.text.empty()) return std::unique_ptr<ChatTemplate>();
  ChatTemplate::Options options;
  options.tool_use = source.tool_use;
  for (const NamedToken& token : named) {
    if (token.name == "bos_token") {
      options.bos_token = token.text;
    } else if (token.name == "eos_token") {
      options.eos_token = token.text;
    } else {
      options.special_tokens.emplace_back(token.name, token.text);
    }
  }
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(source.text, std::move(options));
  if (parsed.ok()) return parsed;
  std::string why = parsed.status().message();  // `place` says already that it is the chat template
  for (const std::string_view known : {"chat template, ", "the chat template "}) {
    if (why.starts_with(known)) why.erase(0, known.size());
  }
  return Status(parsed.status().code(), why + "; give another by --chat-template FILE")
      .WithContext(source.place);
}

// Makes the tokens that the template writes around messages control tokens, also where the files do not
// call them special. Those of a prompt for an answer do not count: it may begin with a token such as
// <think>, which messages contain, too.
void MarkControlTokens(const ChatTemplate& chat, Tokenizer* tokenizer) {
  const auto message = [](const char* role) { return bj::object{{"role", role}, {"content", "x"}}; };
  for (const bool with_system : {true, false}) {
    ChatTemplate::Input input;
    input.add_generation_prompt = false;
    if (with_system) input.messages.emplace_back(message("system"));
    for (const char* role : {"user", "assistant", "user"}) input.messages.emplace_back(message(role));
    const Result<MarkedText> text = chat.RenderMarked(input);
    if (!text.ok()) continue;
    const std::string_view bytes = text->bytes();
    size_t at = 0;
    for (const ByteRange& part : text->input()) {
      tokenizer->MarkControl(bytes.substr(at, part.begin - at));
      at = part.end;
    }
    tokenizer->MarkControl(bytes.substr(at));
  }
}

// Refuses a tokenizer.json with more tokens than the model has embeddings. Fewer are usual, because
// embeddings are padded. Tokens of the other files may have no embedding, such as a padding token that was
// added and never trained: the engine refuses a prompt with them.
Status CheckVocabulary(int own_vocab_size, DescribedModel* model) {
  const int vocab = model->config.vocab;
  const auto text = [&](TokenId id) {
    return "token " + QuoteJson(bj::value(model->tokenizer->TokenText(id).value_or(""))) + " has the id " +
           std::to_string(id) + ", but the model has embeddings for " + std::to_string(vocab) +
           " tokens only";
  };
  if (own_vocab_size > vocab)
    return Unsupported("tokenizer.json: " + text(own_vocab_size - 1) +
                       " (config.json: vocab_size); one of the two files is of another model: download both "
                       "again");
  if (const TokenId last = model->tokenizer->vocab_size() - 1; last >= vocab)
    model->contradictions.push_back(text(last) + ": a prompt with such a token is refused");
  return Status::Ok();
}

void WarnOfIgnored(const std::vector<IgnoredId>& ignored, int vocab) {
  for (const IgnoredId& one : ignored) {
    if (one.key.ends_with("eos_token_id")) {
      Log(LogLevel::kWarning,
          "an end token is not in the vocabulary: answers do not end at it; correct or remove it",
          {{"key", one.key}, {"id", one.id}, {"vocab_size", vocab}});
    } else {
      Log(LogLevel::kWarning,
          "a token is not in the vocabulary: prompts do not begin with it; correct or remove it",
          {{"key", one.key}, {"id", one.id}, {"vocab_size", vocab}});
    }
  }
}

// Returns to the operating system what the heap keeps of freed memory. To parse a large tokenizer.json takes
// several times the memory of the tokenizer.
void TrimHeap() { ::malloc_trim(0); }

Result<DescribedModel> DescribeFolder(const fs::path& path, std::string_view chat_template,
                                      WeightSource weights) {
  PREFIXD_ASSIGN_OR_RETURN(ModelDescription found, DescribeModelFiles(path, chat_template, weights));
  DescribedModel model;
  model.path = path;
  model.weights = weights;
  model.eos = found.AllEnds();
  model.bos = found.Bos();
  model.served_name = std::move(found.served_name);
  model.config = std::move(found.config);
  model.generation = found.generation;
  TokenizerFiles& files = found.files;
  model.special_tokens = {std::string(TextOf(files.named, "bos_token")),
                          std::string(TextOf(files.named, "eos_token"))};
  PREFIXD_ASSIGN_OR_RETURN(model.chat_template, LoadTemplate(files.chat_template, files.named));
  model.chat_template_place = files.chat_template.place;
  model.tokenizer = std::move(files.tokenizer);
  model.byte_tokenizer = files.made_of_bytes;
  if (model.chat_template) MarkControlTokens(*model.chat_template, model.tokenizer.get());
  model.named_tokens = std::move(files.named);
  model.contradictions = std::move(files.contradictions);
  PREFIXD_RETURN_IF_ERROR(CheckVocabulary(files.own_vocab_size, &model));
  WarnOfIgnored(found.ignored, model.config.vocab);
  TrimHeap();
  return model;
}

Result<LoadedPlan> LoadWeights(const DescribedModel& model, const LoadOptions& options, Backend& backend,
                               int context, const LoadProgress& progress) {
  if (model.weights == WeightSource::kDummy)
    return LoadDummyPlan(model.config, backend, context, progress, options.quantize);
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, Remedied(WeightFiles::Open(model.path)));
  return LoadPlan(model.config, files, backend, context, progress, options.quantize);
}

Result<std::unique_ptr<LoadedModel>> LoadFolder(DescribedModel described, Backend& backend,
                                                const LoadOptions& options, const LoadProgress& progress) {
  auto model = std::make_unique<LoadedModel>(std::move(described));
  StepLimits limits = options.limits;
  if (limits.context == 0) limits.context = model->config.max_positions;
  PREFIXD_ASSIGN_OR_RETURN(LoadedPlan loaded,
                           LoadWeights(*model, options, backend, limits.context, progress));
  model->quantization = options.quantize;
  model->weights_hash = loaded.weights_hash;
  model->weight_bytes = loaded.plan.weights.bytes;
  model->uncached_files = std::move(loaded.uncached_files);
  PREFIXD_ASSIGN_OR_RETURN(model->runner, backend.CreateRunner(std::move(loaded.plan), limits));
  return model;
}

TokenizerSummary SummarizeTokenizer(const DescribedModel& model) {
  const Tokenizer& tokenizer = *model.tokenizer;
  TokenizerSummary summary{
      model.byte_tokenizer ? "one token for each byte (no tokenizer.json)" : std::string(tokenizer.kind()),
      tokenizer.vocab_size(),
      model.special_tokens.bos,
      model.special_tokens.eos,
      {},
      model.named_tokens,
      model.contradictions};
  const auto prefix = tokenizer.Encode("", {.add_special_tokens = true});
  for (const TokenId id : prefix.ok() ? *prefix : std::vector<TokenId>())
    summary.prefix.emplace_back(tokenizer.TokenText(id).value_or(""));
  return summary;
}

// The parts of the summary that say what weights there are.
Status SummarizeFiles(const fs::path& folder, const Backend& backend, ModelSummary* summary) {
  const ModelConfig& config = summary->config;
  PREFIXD_ASSIGN_OR_RETURN(const WeightFiles files, Remedied(WeightFiles::Open(folder)));
  PREFIXD_RETURN_IF_ERROR(CheckWeights(config, files));
  summary->weight_bytes = files.total_bytes();
  summary->packed_bytes = PlannedWeightBytes(config, files, backend, 0, summary->quantization);
  summary->packed_bytes_per_position =
      PlannedWeightBytes(config, files, backend, 1, summary->quantization) - summary->packed_bytes;
  summary->formats = PlannedFormats(config, files, backend, summary->quantization);
  std::map<std::string, uint64_t> dtypes;
  for (const TensorView& tensor : files.tensors()) dtypes[tensor.dtype_name] += tensor.bytes.size();
  summary->bytes_of_dtypes.assign(dtypes.begin(), dtypes.end());
  return Status::Ok();
}

void SummarizeDummies(const Backend& backend, ModelSummary* summary) {
  const DType dtype = DummyDType(summary->config);
  summary->formats = PlannedDummyFormats(summary->config, backend, summary->quantization);
  summary->weight_bytes = static_cast<uint64_t>(summary->parameters) * DTypeBytes(dtype);
  summary->packed_bytes = PlannedDummyBytes(summary->config, backend, 0, summary->quantization);
  summary->packed_bytes_per_position =
      PlannedDummyBytes(summary->config, backend, 1, summary->quantization) - summary->packed_bytes;
  summary->bytes_of_dtypes = {{std::string(SafetensorsName(dtype)), summary->weight_bytes}};
}

Result<ModelSummary> SummarizeFolder(const DescribedModel& model, const Backend& backend,
                                     Quantization quantize) {
  ModelSummary summary;
  summary.served_name = model.served_name;
  summary.config = model.config;
  summary.parameters = ParameterCount(model.config);
  summary.weights = model.weights;
  summary.quantization = quantize;
  if (model.weights == WeightSource::kDummy)
    SummarizeDummies(backend, &summary);
  else
    PREFIXD_RETURN_IF_ERROR(SummarizeFiles(model.path, backend, &summary));
  summary.tokenizer = SummarizeTokenizer(model);
  if (model.chat_template != nullptr) {
    summary.chat_template = {model.chat_template_place, model.chat_template->caps(), {}};
    for (const ChatTemplate::Rewrite& rewrite : model.chat_template->rewrites())
      summary.chat_template->rewrites.push_back(rewrite.Describe());
  }
  return summary;
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

Result<DescribedModel> DescribeModel(const fs::path& path, std::string_view chat_template,
                                     WeightSource weights) {
  PREFIXD_ASSIGN_OR_RETURN(const fs::path folder, FindModel(path));
  Result<DescribedModel> model = DescribeFolder(folder, chat_template, weights);
  if (!model.ok()) return InModel(folder, model.status());
  return model;
}

Result<std::unique_ptr<LoadedModel>> LoadModel(DescribedModel described, Backend& backend,
                                               const LoadOptions& options, const LoadProgress& progress) {
  const fs::path path = described.path;
  Result<std::unique_ptr<LoadedModel>> model = LoadFolder(std::move(described), backend, options, progress);
  if (!model.ok()) return InModel(path, model.status());
  for (const std::string& contradiction : (*model)->contradictions)
    Log(LogLevel::kWarning, "files of the tokenizer differ", {{"what", contradiction}});
  if ((*model)->chat_template != nullptr)
    WarnOfRewrites(*(*model)->chat_template, (*model)->chat_template_place);
  return model;
}

ModelIdentity IdentityOf(const LoadedModel& model, const Backend& backend, const KvLayout& layout) {
  ModelIdentity identity;
  identity.weights = model.weights_hash;
  identity.architecture = CanonicalArchitecture(model.config);
  identity.kv_dtype = layout.type.name();
  identity.block_tokens = layout.block_tokens;
  identity.kv_layout = backend.kv_layout_name();
  identity.numerics_version = backend.numerics_version();
  if (model.quantization) identity.quantization = model.quantization->name();
  return identity;
}

Result<ModelSummary> SummarizeModel(const DescribedModel& model, const Backend& backend,
                                    Quantization quantize) {
  Result<ModelSummary> summary = SummarizeFolder(model, backend, quantize);
  if (!summary.ok()) return InModel(model.path, summary.status());
  return summary;
}

}  // namespace prefixd
