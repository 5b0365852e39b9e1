#include "engine/convert_model.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/utf8.h"
#include "engine/gguf_description.h"
#include "engine/model_description.h"
#include "model/gguf_header.h"
#include "model/gguf_weights.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "model/written_config.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "text/tokenizer/tokenizer_json_writer.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

// `file_type` is the number in general.file_type of a GGUF file most of whose matrices have the type.
struct TypeRow {
  std::string_view name;
  StoredType type;
  bool in_folder;
  int file_type;
};
constexpr TypeRow kTypes[] = {{"f32", StoredType::kF32, true, 0},
                              {"f16", StoredType::kF16, false, 1},
                              {"bf16", StoredType::kBF16, true, 32},
                              {"q8_0", StoredType::kQ8_0, false, 7},
                              {"q4_0", StoredType::kQ4_0, false, 2}};

bool IsMatrix(const TensorView& tensor) { return tensor.shape.size() == 2; }

// The type of most bytes of the matrices.
StoredType MainType(const std::vector<Conversion::Tensor>& tensors) {
  std::map<StoredType::Kind, uint64_t> bytes;
  for (const Conversion::Tensor& tensor : tensors) {
    if (IsMatrix(*tensor.from)) bytes[tensor.from->dtype->kind()] += tensor.from->bytes.size();
  }
  return std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; })->first;
}

// The type that what is written has of itself.
StoredType OwnType(const std::vector<Conversion::Tensor>& tensors, bool to_gguf) {
  const StoredType main = MainType(tensors);
  const auto known = [&](const TypeRow& row) { return row.type == main && (to_gguf || row.in_folder); };
  return std::ranges::any_of(kTypes, known) ? main : StoredType::kBF16;
}

// Chooses the tensors that the model reads, and their forms.
void PlanTensors(const ModelConfig& config, std::optional<StoredType> type, bool paired_rows,
                 Conversion* conversion) {
  for (const WeightSpec& spec : RequiredWeights(config)) {
    const TensorView* from = conversion->files.Find(spec.name);
    conversion->tensors.push_back({from, conversion->to_gguf ? GgufName(spec.name) : spec.name, {}, 0});
  }
  const StoredType wanted = type.value_or(OwnType(conversion->tensors, conversion->to_gguf));
  int64_t rounded_up = 0;
  for (Conversion::Tensor& tensor : conversion->tensors) {
    const TensorView& from = *tensor.from;
    tensor.form.type = conversion->to_gguf && !IsMatrix(from) ? StoredType(StoredType::kF32) : wanted;
    if (IsMatrix(from) && from.shape[1] % static_cast<int64_t>(wanted.block()) != 0) {
      tensor.form.type = StoredType::kF32;
      ++rounded_up;
    }
    if (paired_rows && HasPairedRows(tensor.name)) tensor.form.paired_rows = config.head_dim;
    tensor.bytes = static_cast<uint64_t>(RowsOf(from)) * RowBytes(from, tensor.form.type);
  }
  if (rounded_up > 0)
    conversion->losses.push_back(std::to_string(rounded_up) +
                                 " matrices have rows that are no whole blocks of " +
                                 std::string(wanted.name()) + ", and stay F32");
}

int FileType(const Conversion& conversion) {
  const StoredType main = conversion.tensors.front().form.type;  // of the embedding
  return std::ranges::find(kTypes, main, &TypeRow::type)->file_type;
}

Status PlanGguf(const fs::path& folder, const ModelDescription& model, std::optional<StoredType> type,
                Conversion* conversion) {
  const ModelConfig& config = model.config;
  PREFIXD_ASSIGN_OR_RETURN(const GgufFamily family, GgufFamilyOf(config));
  PlanTensors(config, type, family.paired_rows, conversion);
  conversion->model_type = family.name;
  GgufHeader header;
  header.Add("general.architecture", family.name);
  header.Add("general.type", "model");
  header.Add("general.name", RepairUtf8(folder.filename().string()));
  header.Add("general.file_type", FileType(*conversion));
  header.Add("general.quantization_version", 2);
  PREFIXD_RETURN_IF_ERROR(AddGgufConfig(config, &header));
  PREFIXD_RETURN_IF_ERROR(
      AddGgufTokenizer(model.files, config.vocab, model.AllEnds(), &header, &conversion->losses));
  if (model.generation != GenerationDefaults())
    conversion->losses.push_back("the defaults of sampling in generation_config.json");
  for (const Conversion::Tensor& tensor : conversion->tensors)
    header.AddTensor(tensor.name, GgufTypeNumber(tensor.form.type), tensor.from->shape, tensor.bytes);
  conversion->divisors = GgufRopeDivisors(config);
  if (const auto count = static_cast<int64_t>(conversion->divisors.size()); count > 0)
    header.AddTensor("rope_freqs.weight", GgufTypeNumber(StoredType::kF32), {&count, 1},
                     static_cast<uint64_t>(count) * sizeof(float));
  conversion->header = header.Bytes();
  conversion->bytes = conversion->header.size() + header.data_bytes();
  return Status::Ok();
}

std::string Text(const bj::object& object) { return bj::serialize(object) + "\n"; }

std::string TokenizerConfig(const ModelDescription& model) {
  bj::object config{{"tokenizer_class", "PreTrainedTokenizerFast"},
                    {"clean_up_tokenization_spaces", false},
                    {"model_max_length", model.config.max_positions}};
  for (const NamedToken& token : model.files.named) config[token.name] = token.text;
  bj::object added;
  for (const AddedTokenSpec& token : model.files.spec.added) {
    added[std::to_string(token.id)] = bj::object{
        {"content", token.content}, {"lstrip", token.lstrip},           {"normalized", token.normalized},
        {"rstrip", token.rstrip},   {"single_word", token.single_word}, {"special", token.special}};
  }
  config["added_tokens_decoder"] = std::move(added);
  return Text(config);
}

std::string GenerationConfig(const ModelDescription& model, const std::vector<TokenId>& ends) {
  bj::object config{{"eos_token_id", bj::array(ends.begin(), ends.end())}};
  if (const auto bos = model.Bos()) config["bos_token_id"] = *bos;
  if (const auto pad = model.files.tokenizer->TokenToId(TextOf(model.files.named, "pad_token")))
    config["pad_token_id"] = *pad;
  return Text(config);
}

Status PlanFolder(const ModelDescription& model, std::optional<StoredType> type, Conversion* conversion) {
  PlanTensors(model.config, type, false, conversion);
  conversion->model_type = model.config.model_type;
  const std::vector<TokenId> ends = model.AllEnds();
  PREFIXD_ASSIGN_OR_RETURN(
      std::string config,
      WriteConfigJson(model.config, *conversion->tensors.front().form.type.dtype(), model.Bos(), ends));
  auto& texts = conversion->texts;
  texts.emplace_back("config.json", std::move(config));
  texts.emplace_back("generation_config.json", GenerationConfig(model, ends));
  texts.emplace_back("tokenizer.json", WriteTokenizerJson(model.files.spec));
  texts.emplace_back("tokenizer_config.json", TokenizerConfig(model));
  const TemplateSource& chat = model.files.chat_template;
  if (!chat.text.empty()) texts.emplace_back("chat_template.jinja", chat.text);
  if (!chat.tool_use.empty()) texts.emplace_back("additional_chat_templates/tool_use.jinja", chat.tool_use);
  std::vector<SafetensorsEntry> entries;
  for (const Conversion::Tensor& tensor : conversion->tensors)
    entries.push_back({tensor.name, *tensor.form.type.dtype(), tensor.from->shape, tensor.bytes});
  conversion->header = SafetensorsHeader(entries);
  conversion->bytes = conversion->header.size();
  for (const Conversion::Tensor& tensor : conversion->tensors) conversion->bytes += tensor.bytes;
  return Status::Ok();
}

}  // namespace

std::string TypesOfConversion(bool to_gguf) {
  std::string names;
  for (const TypeRow& row : kTypes) {
    if (to_gguf || row.in_folder) names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  return names;
}

std::optional<StoredType> TypeOfConversion(std::string_view name, bool to_gguf) {
  const auto* row = std::ranges::find(kTypes, name, &TypeRow::name);
  if (row == std::end(kTypes) || (!to_gguf && !row->in_folder)) return std::nullopt;
  return row->type;
}

std::map<std::string, uint64_t> Conversion::BytesOfTypes() const {
  std::map<std::string, uint64_t> sums;
  for (const Tensor& tensor : tensors) sums[std::string(tensor.form.type.name())] += tensor.bytes;
  if (!divisors.empty()) sums["F32"] += divisors.size() * sizeof(float);
  return sums;
}

Result<Conversion> PlanConversion(const fs::path& from, std::optional<StoredType> type) {
  PREFIXD_ASSIGN_OR_RETURN(const fs::path path, FindModel(from));
  const auto plan = [&]() -> Result<Conversion> {
    PREFIXD_ASSIGN_OR_RETURN(const ModelDescription model,
                             DescribeModelFiles(path, "", WeightSource::kFiles));
    PREFIXD_ASSIGN_OR_RETURN(WeightFiles files, Remedied(WeightFiles::Open(path)));
    PREFIXD_RETURN_IF_ERROR(CheckWeights(model.config, files));
    const bool to_gguf = files.kind() == WeightFiles::Kind::kSafetensors;
    Conversion conversion{
        .to_gguf = to_gguf, .parameters = ParameterCount(model.config), .files = std::move(files)};
    PREFIXD_RETURN_IF_ERROR(to_gguf ? PlanGguf(path, model, type, &conversion)
                                    : PlanFolder(model, type, &conversion));
    return conversion;
  };
  Result<Conversion> conversion = plan();
  if (!conversion.ok()) return InModel(path, conversion.status());
  return conversion;
}

}  // namespace prefixd
