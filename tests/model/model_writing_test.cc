// What prefixd writes of a model: files that are whole or absent, rows of tensors in other types and orders,
// configurations and names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "base/bytes.h"
#include "model/gguf_weights.h"
#include "model/new_path.h"
#include "model/safetensors.h"
#include "model/tensor_conversion.h"
#include "model/weights.h"
#include "model/written_config.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::TempDir;

std::string TextOf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
size_t EntriesOf(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), {}));
}

TEST(NewFile, IsThereWholeOrNotAtAll) {
  const TempDir dir;
  const fs::path path = dir.path() / "model.gguf";
  {
    auto file = NewFile::Create(path, false);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    ASSERT_TRUE(file->Append("half").ok());
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(EntriesOf(dir.path()), 1u);
    EXPECT_THAT(NewFile::Create(path, false).status().message(),
                HasSubstr(".partial exists; another conversion"));
  }
  EXPECT_EQ(EntriesOf(dir.path()), 0u) << "what was written goes";
  auto file = NewFile::Create(path, false);
  ASSERT_TRUE(file->Append("one").ok() && file->Append(" two").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(TextOf(path), "one two");
  EXPECT_EQ(EntriesOf(dir.path()), 1u);
}

TEST(NewFile, ReplacesOnlyOnDemand) {
  const TempDir dir;
  const fs::path path = dir.path() / "model.gguf";
  const auto write = [&](bool replace) {
    auto file = NewFile::Create(path, replace);
    if (!file.ok()) return file.status();
    EXPECT_TRUE(file->Append("new").ok());
    return file->Commit();
  };
  std::ofstream(path) << "old";
  const Status refused = write(false);
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_THAT(refused.message(), HasSubstr("exists; name another file, or add --overwrite"));
  EXPECT_EQ(TextOf(path), "old");
  ASSERT_TRUE(write(true).ok());
  EXPECT_EQ(TextOf(path), "new");

  const fs::path other = dir.path() / "other";
  auto file = NewFile::Create(other, false);
  std::ofstream(other) << "came meanwhile";
  EXPECT_EQ(file->Commit().code(), Code::kInvalidArgument);
  EXPECT_EQ(TextOf(other), "came meanwhile");
  EXPECT_THAT(NewFile::Create(dir.path(), true).status().message(), HasSubstr("is a folder"));
  EXPECT_THAT(NewFile::Create(dir.path() / "none" / "a", true).status().message(),
              HasSubstr("there is no folder"));
}

TEST(NewFolder, ReplacesOnlyWhatAConversionMade) {
  const TempDir dir;
  const fs::path path = dir.path() / "model";
  constexpr std::string_view kNames[] = {"config.json"};
  const auto write = [&](bool replace, const std::string& text) {
    auto folder = NewFolder::Create(path.string() + "/", replace, kNames);
    if (!folder.ok()) return folder.status();
    std::ofstream(folder->partial() / "config.json") << text;
    return folder->Commit();
  };
  fs::create_directory(path);
  ASSERT_TRUE(write(false, "1").ok()) << "an empty folder";
  EXPECT_EQ(TextOf(path / "config.json"), "1");
  EXPECT_EQ(write(false, "2").code(), Code::kInvalidArgument);
  EXPECT_EQ(TextOf(path / "config.json"), "1");
  ASSERT_TRUE(write(true, "2").ok());
  EXPECT_EQ(TextOf(path / "config.json"), "2");
  std::ofstream(path / "thesis.txt") << "precious";
  EXPECT_THAT(write(true, "3").message(),
              HasSubstr("has a file that a conversion does not make, thesis.txt"));
  EXPECT_EQ(EntriesOf(dir.path()), 1u);
  { const auto unfinished = NewFolder::Create(dir.path() / "b", false, kNames); }
  EXPECT_EQ(EntriesOf(dir.path()), 1u);
}

TensorView View(const std::vector<float>& numbers, std::vector<int64_t> shape, int paired_rows = 0) {
  return {.name = "w",
          .dtype = StoredType::kF32,
          .shape = std::move(shape),
          .bytes = std::as_bytes(std::span(numbers)),
          .paired_rows = paired_rows};
}
std::vector<float> Numbers(const std::string& bytes, StoredType type, size_t count) {
  std::vector<float> numbers(count);
  EXPECT_EQ(bytes.size(), type.Bytes(count));
  WidenStored(type, reinterpret_cast<const std::byte*>(bytes.data()), count, numbers.data());
  return numbers;
}

TEST(TensorConversion, RowsGetTheOrderOfTheForm) {
  const std::vector<float> numbers = {0, 1, 2, 3, 4, 5, 6, 7};  // two heads of four rows
  std::string paired;
  ASSERT_TRUE(AppendRows(View(numbers, {8, 1}), {StoredType::kF32, 4}, 0, 8, &paired).ok());
  const std::vector<float> in_pairs = Numbers(paired, StoredType::kF32, 8);
  EXPECT_THAT(in_pairs, ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  std::string plain, part;
  ASSERT_TRUE(AppendRows(View(in_pairs, {8}, 4), {StoredType::kF32, 0}, 0, 8, &plain).ok());
  EXPECT_EQ(Numbers(plain, StoredType::kF32, 8), numbers);
  ASSERT_TRUE(AppendRows(View(numbers, {8}), {StoredType::kF32, 4}, 5, 2, &part).ok());
  EXPECT_THAT(Numbers(part, StoredType::kF32, 2), ElementsAre(6, 5));
}

TEST(TensorConversion, NumbersAreRoundedToTheType) {
  std::vector<float> numbers(32);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 1.0f + 0.01f * static_cast<float>(i);
  for (const auto& [type, error] :
       {std::pair(StoredType::kBF16, 0x1p-8), std::pair(StoredType::kF16, 0x1p-11),
        std::pair(StoredType::kQ8_0, 0.006), std::pair(StoredType::kQ4_0, 0.1)}) {
    std::string bytes;
    ASSERT_TRUE(AppendRows(View(numbers, {1, 32}), {type, 0}, 0, 1, &bytes).ok());
    const std::vector<float> rounded = Numbers(bytes, type, 32);
    for (size_t i = 0; i < numbers.size(); ++i) EXPECT_NEAR(rounded[i], numbers[i], error) << i;
    EXPECT_NE(rounded, numbers);
  }
}

TEST(TensorConversion, NumbersThatATypeDoesNotHaveAreRefused) {
  const auto status = [](float number, StoredType type) {
    const std::vector<float> numbers(32, number);
    std::string bytes;
    return AppendRows(View(numbers, {1, 32}), {type, 0}, 0, 1, &bytes);
  };
  EXPECT_THAT(
      status(70000, StoredType::kF16).message(),
      HasSubstr("tensor 'w' has a number in row 0 that is too large for F16; choose --type f32 or bf16"));
  EXPECT_EQ(status(1e38f, StoredType::kQ8_0).code(), Code::kUnsupported);
  EXPECT_EQ(status(std::numeric_limits<float>::max(), StoredType::kBF16).code(), Code::kUnsupported);
  EXPECT_TRUE(status(70000, StoredType::kBF16).ok());
  EXPECT_EQ(status(std::nanf(""), StoredType::kF32).code(), Code::kCorrupt);
}

TEST(GgufNames, AreInverse) {
  ModelConfig config;
  config.layers = 12;
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  std::vector<WeightSpec> specs = RequiredWeights(config);
  ASSERT_GT(specs.size(), 12u * 15u);
  for (const WeightSpec& spec : specs) EXPECT_EQ(TransformersName(GgufName(spec.name)), spec.name);
  EXPECT_EQ(GgufName(LayerBias(11, "self_attn.k_proj")), "blk.11.attn_k.bias");
  EXPECT_TRUE(HasPairedRows("blk.11.attn_k.bias"));
  EXPECT_FALSE(HasPairedRows("blk.11.attn_k_norm.weight"));
}

TEST(SafetensorsHeader, IsWhatTheReaderReads) {
  const SafetensorsEntry entries[] = {{"b", DType::kBF16, {2, 3}, 12}, {"a", DType::kF32, {1}, 4}};
  const std::string file = SafetensorsHeader(entries) + std::string(16, '\1');
  EXPECT_EQ(SafetensorsHeader(entries).size() % 8, 0u);
  const auto tensors = ParseSafetensors("file", std::as_bytes(std::span(file)));
  ASSERT_TRUE(tensors.ok()) << tensors.status().ToString();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "b");
  EXPECT_THAT((*tensors)[0].shape, ElementsAre(2, 3));
  EXPECT_EQ((*tensors)[1].bytes.size(), 4u);
}

ModelConfig Llama() {
  return *ParseModelConfig(R"({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
      "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 100, "rms_norm_eps": 1e-5,
      "max_position_embeddings": 512, "rope_theta": 500000, "eos_token_id": [7, 9]})");
}

TEST(WrittenConfig, GivesTheSameModel) {
  for (const RopeType type : {RopeType::kDefault, RopeType::kLinear, RopeType::kLlama3, RopeType::kYarn}) {
    ModelConfig config = Llama();
    config.rope.type = type;
    if (type != RopeType::kDefault) config.rope.factor = 4;
    if (type == RopeType::kLlama3 || type == RopeType::kYarn) config.rope.original_context = 128;
    if (type == RopeType::kLlama3) config.rope.low_freq_factor = 1, config.rope.high_freq_factor = 4;
    if (type == RopeType::kYarn) config.rope.beta_fast = 32, config.rope.beta_slow = 1;
    if (type == RopeType::kYarn) config.rope.attention_factor = 1.5;
    const auto text = WriteConfigJson(config, DType::kBF16, 3, {7, 9});
    ASSERT_TRUE(text.ok()) << text.status().ToString();
    const auto read = ParseModelConfig(*text);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(CanonicalArchitecture(*read), CanonicalArchitecture(config));
    EXPECT_EQ(read->max_positions, 512);
    EXPECT_EQ(read->dtype, DType::kBF16);
    EXPECT_EQ(read->bos, 3);
    EXPECT_THAT(read->eos, ElementsAre(7, 9));
    if (type != RopeType::kLlama3) continue;
    // As a GGUF file has it.
    ModelConfig divided = Llama();
    divided.rope.divisors = GgufRopeDivisors(config);
    EXPECT_EQ(CanonicalArchitecture(*ParseModelConfig(*WriteConfigJson(divided, DType::kBF16, {}, {7}))),
              CanonicalArchitecture(config));
    divided.rope.divisors[3] *= 1.01f;
    EXPECT_THAT(WriteConfigJson(divided, DType::kBF16, {}, {7}).status().message(),
                HasSubstr("no rope_scaling of transformers gives (supported: those of llama3)"));
  }
}

TEST(WrittenConfig, WhatAFileCannotSayIsRefused) {
  const auto refusal = [](const auto& change) {
    ModelConfig config = Llama();
    change(&config);
    GgufHeader header;
    return AddGgufConfig(config, &header).message();
  };
  EXPECT_THAT(refusal([](ModelConfig* c) { c->windows[1] = 64; }), HasSubstr("sliding_window is 64"));
  EXPECT_THAT(refusal([](ModelConfig* c) { c->activation = Activation::kRelu; }), HasSubstr("hidden_act"));
  EXPECT_THAT(refusal([](ModelConfig* c) {
                c->rope.type = RopeType::kYarn;
                c->rope.factor = 4;
                c->rope.attention_factor = 1;
              }),
              HasSubstr("rope_scaling.attention_factor is 1"));
  ModelConfig config = Llama();
  config.qkv_bias = true;
  EXPECT_THAT(WriteConfigJson(config, DType::kF32, {}, {7}).status().message(),
              HasSubstr("biases of q, k and v, and none of o"));
  config.model_type = "qwen2";
  config.output_bias = true;
  EXPECT_THAT(WriteConfigJson(config, DType::kF32, {}, {7}).status().message(), HasSubstr("biases"));
}

}  // namespace
}  // namespace prefixd
