// Reads what the files of a model say besides its weights: of a Hugging Face folder, or of a GGUF file. Plain
// functions; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/tokenizer_files.h"
#include "model/config.h"

namespace prefixd {

// The sampling defaults of generation_config.json. A value that the file does not have is empty.
struct GenerationDefaults {
  std::optional<bool> do_sample;  // false: greedy, whatever the temperature
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;

  friend bool operator==(const GenerationDefaults&, const GenerationDefaults&) = default;
};

enum class WeightSource : uint8_t {
  kFiles,
  kDummy,  // made from config.json (LoadDummyPlan); no weight file is read, and no tokenizer.json is needed
};

// What the files of a model say, besides the weights.
struct ModelDescription {
  std::string served_name;
  ModelConfig config;
  GenerationDefaults generation;
  std::vector<TokenId> ends;  // besides those of config and of eos_token
  TokenizerFiles files;
  std::vector<IgnoredId> ignored;

  // Sorted; the union of `ends`, those of config and eos_token.
  std::vector<TokenId> AllEnds() const;
  // That of the tokenizer, or else of config.
  std::optional<TokenId> Bos() const;
};

// Returns the canonical path of the folder or GGUF file, so that its last component is its name. kNotFound,
// kInvalidArgument: there is no model; the message says what there is.
Result<std::filesystem::path> FindModel(const std::filesystem::path& path);

// Reads the model at a path that FindModel returned. The errors are those of DescribeModel; every message
// names the file and the remedy, and not always the folder.
Result<ModelDescription> DescribeModelFiles(const std::filesystem::path& path, std::string_view chat_template,
                                            WeightSource weights);

// Adds the path of the model to the message of an error that does not name it. The files, which the message
// may quote, can contain anything.
Status InModel(const std::filesystem::path& path, const Status& status);

// Adds what to do to a message that does not say it.
Status Remedied(const Status& status);
template <typename T>
Result<T> Remedied(Result<T> result) {
  if (result.ok()) return result;
  return Remedied(result.status());
}

}  // namespace prefixd
