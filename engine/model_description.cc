#include "engine/model_description.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <limits>
#include <set>
#include <utility>

#include "base/json_fields.h"
#include "base/utf8.h"
#include "engine/gguf_description.h"
#include "model/folder_kind.h"
#include "model/gguf_config.h"
#include "model/gguf_model.h"
#include "model/mapped_file.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

constexpr size_t kLargestConfig = 1 << 20;

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
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
  PREFIXD_ASSIGN_OR_RETURN(defaults.top_p, OptionalNumber(fields, "top_p", 0, 1));
  // Of any share however small, the likeliest token remains.
  if (defaults.top_p) defaults.top_p = std::max(*defaults.top_p, 1e-6f);
  PREFIXD_ASSIGN_OR_RETURN(defaults.min_p, OptionalNumber(fields, "min_p", 0, 1));
  PREFIXD_ASSIGN_OR_RETURN(defaults.repetition_penalty,
                           OptionalNumber(fields, "repetition_penalty", 0.01, 100));
  // -1 and 0 switch it off, and more than the vocabulary keeps every token.
  PREFIXD_ASSIGN_OR_RETURN(defaults.top_k,
                           fields.Integer("top_k", -1, std::numeric_limits<int32_t>::max()).Optional());
  if (defaults.top_k) defaults.top_k = std::clamp<int>(*defaults.top_k, 0, kConfigLimits.vocab);
  return defaults;
}

// Whether a message ends with what to do, which stands after a semicolon that is not in a quoted value.
bool SaysWhatToDo(std::string_view message) {
  const size_t at = message.rfind("; ");
  if (at == message.npos) return false;
  const std::string_view last = message.substr(at);
  return last.find('"') == last.npos && last.find("': ") == last.npos &&
         last.find(" (expected: ") == last.npos && last.find(" (supported: ") == last.npos;
}

Result<ModelDescription> DescribeFolder(const fs::path& folder, std::string_view chat_template,
                                        WeightSource weights) {
  ModelDescription found;
  found.served_name = folder.filename().string();
  PREFIXD_ASSIGN_OR_RETURN(const std::string config, ReadSmallFile(folder / "config.json", kLargestConfig));
  PREFIXD_ASSIGN_OR_RETURN(found.config, Remedied(ParseModelConfig(config, &found.ignored)));

  PREFIXD_ASSIGN_OR_RETURN(const bj::object generation,
                           Remedied(ReadOptionalObject(folder / "generation_config.json", kLargestConfig)));
  const JsonFields generation_fields(generation, "generation_config.json: ");
  PREFIXD_ASSIGN_OR_RETURN(found.generation, Remedied(ParseGeneration(generation_fields)));
  PREFIXD_ASSIGN_OR_RETURN(found.ends, Remedied(ParseTokenIds(generation_fields, "eos_token_id",
                                                              found.config.vocab, &found.ignored)));

  std::optional<int> byte_vocab;
  if (weights == WeightSource::kDummy) byte_vocab = found.config.vocab;
  PREFIXD_ASSIGN_OR_RETURN(found.files, Remedied(ReadTokenizerFiles(folder, chat_template, byte_vocab)));
  return found;
}

Result<ModelDescription> DescribeGguf(const fs::path& path, std::string_view chat_template) {
  PREFIXD_ASSIGN_OR_RETURN(const GgufModel model, Remedied(OpenGgufModel(path)));
  ModelDescription found;
  found.served_name = path.stem().string();
  PREFIXD_ASSIGN_OR_RETURN(found.config, Remedied(ConfigOfGguf(model)));
  PREFIXD_ASSIGN_OR_RETURN(found.files, Remedied(ReadGgufTokenizer(model.values(), chat_template)));
  PREFIXD_ASSIGN_OR_RETURN(found.ends, Remedied(GgufEndTokens(model.values(), found.config.vocab)));
  return found;
}

}  // namespace

Result<fs::path> FindModel(const fs::path& path) {
  std::error_code error;
  const fs::path folder = fs::canonical(path, error);
  if (error) {
    return NotFound(path.string() + ": " + error.message() +
                    "; --model takes the path of a Hugging Face folder or a GGUF file on this machine; "
                    "download one with: hf download ORG/NAME --local-dir FOLDER");
  }
  if (fs::is_regular_file(folder / "config.json", error) || IsGgufPath(folder)) return folder;
  const Code code = fs::is_directory(folder, error) ? Code::kNotFound : Code::kInvalidArgument;
  return Status(code, WhyNoModelFolder(folder)).WithContext(path.string());
}

Status InModel(const fs::path& path, const Status& status) {
  const Status line(status.code(), PrintableLine(status.message()));
  return status.message().starts_with(path.string()) ? line : line.WithContext(path.string());
}

Status Remedied(const Status& status) {
  if (status.ok() || SaysWhatToDo(status.message())) return status;
  return Status(status.code(), status.message() + (status.code() == Code::kUnsupported
                                                       ? "; prefixd cannot serve this model; choose another"
                                                       : "; correct the file or download it again"));
}

Result<ModelDescription> DescribeModelFiles(const fs::path& path, std::string_view chat_template,
                                            WeightSource weights) {
  return IsGgufPath(path) ? DescribeGguf(path, chat_template) : DescribeFolder(path, chat_template, weights);
}

std::vector<TokenId> ModelDescription::AllEnds() const {
  std::set<TokenId> all(config.eos.begin(), config.eos.end());
  all.insert(ends.begin(), ends.end());
  const auto id = files.tokenizer->TokenToId(TextOf(files.named, "eos_token"));
  if (id && *id < config.vocab) all.insert(*id);
  return {all.begin(), all.end()};
}

std::optional<TokenId> ModelDescription::Bos() const {
  std::optional<TokenId> bos = files.tokenizer->TokenToId(TextOf(files.named, "bos_token"));
  if (!bos) bos = config.bos;
  return bos && *bos < config.vocab ? bos : std::nullopt;
}

}  // namespace prefixd
