// Parses any bytes as a GGUF file, and makes a configuration of its values and a tokenizer of its vocabulary.
// The bytes are rejected, or give values and tensors that are inside the file, a configuration that keeps its
// invariants, and ids that are in the vocabulary.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/check.h"
#include "engine/gguf_description.h"
#include "model/gguf.h"
#include "model/gguf_config.h"
#include "model/gguf_model.h"

namespace {

using namespace prefixd;  // NOLINT

// Reads every byte, so that the sanitizers check it.
void Touch(std::span<const std::byte> part, std::span<const std::byte> file) {
  PREFIXD_CHECK(part.empty() ||
                (part.data() >= file.data() && part.data() + part.size() <= file.data() + file.size()));
  unsigned sum = 0;
  for (const std::byte b : part) sum += static_cast<unsigned>(b);
  PREFIXD_CHECK(sum <= 255 * part.size());
}

// Asks for a value as every type; one that has another is an error, never a crash.
void Ask(const GgufValues& values, std::string_view key) {
  PREFIXD_CHECK(!values.Quote(key).empty());
  const auto check = [](const auto& result) {
    if (!result.ok()) PREFIXD_CHECK(!result.status().message().empty());
  };
  check(values.Integer(key, INT64_MIN, INT64_MAX));
  check(values.Number(key, -1e30, 1e30));
  check(values.Bool(key));
  check(values.String(key));
  check(values.Strings(key));
  check(values.Floats(key));
  check(values.Integers(key));
}

void UseConfig(const GgufFile& file) {
  GgufModel model;
  model.parts.push_back(file);
  const Result<ModelConfig> config = ConfigOfGguf(model);
  if (!config.ok()) {
    PREFIXD_CHECK(!config.status().message().empty());
    return;
  }
  PREFIXD_CHECK(config->heads % config->kv_heads == 0 && config->head_dim % 2 == 0 && config->vocab > 0);
  PREFIXD_CHECK(config->windows.size() == static_cast<size_t>(config->layers));
  PREFIXD_CHECK(!CanonicalArchitecture(*config).empty());
}

void UseTokenizer(const GgufValues& values) {
  const Result<TokenizerFiles> files = ReadGgufTokenizer(values, "");
  if (!files.ok()) {
    PREFIXD_CHECK(!files.status().message().empty());
    return;
  }
  const auto ids = files->tokenizer->Encode("ab \xC3\xA9 12 <s>", {});
  if (!ids.ok()) return;
  for (const TokenId id : *ids) PREFIXD_CHECK(id >= 0 && id < files->tokenizer->vocab_size()) << id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of its own, so that a byte behind the end is found.
  const std::unique_ptr<std::byte[]> copy(new std::byte[size]);
  if (size > 0) std::memcpy(copy.get(), data, size);
  const std::span<const std::byte> bytes(copy.get(), size);
  const Result<GgufFile> file = ParseGguf("fuzz.gguf", bytes);
  if (!file.ok()) {
    PREFIXD_CHECK(!file.status().message().empty());
    return 0;
  }
  for (const GgufValue& value : file->values.all()) {
    Touch(value.bytes, file->values.header());
    Ask(file->values, value.key);
  }
  const std::byte* end = nullptr;
  for (const GgufTensor& tensor : file->tensors) {
    Touch(tensor.bytes, bytes);
    PREFIXD_CHECK(end == nullptr || tensor.bytes.data() >= end) << tensor.name;
    end = tensor.bytes.data() + tensor.bytes.size();
    uint64_t elements = 1;
    for (const int64_t extent : tensor.shape) elements *= static_cast<uint64_t>(extent);
    if (tensor.type) PREFIXD_CHECK(tensor.bytes.size() == tensor.type->Bytes(elements)) << tensor.name;
  }
  UseConfig(*file);
  UseTokenizer(file->values);
  return 0;
}
