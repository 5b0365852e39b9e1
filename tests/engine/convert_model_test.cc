// Conversions there and back: a GGUF file of each golden checkpoint has its numbers, tokens and description,
// and so has the folder that is made of that file.
#include "engine/convert_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "engine/model_description.h"
#include "model/weights.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::SharedDir;
using testing_support::SourceDir;
using testing_support::TempDir;

const ConversionProgress kGoOn = [](uint64_t, uint64_t) { return true; };

Status Convert(const fs::path& from, const fs::path& to, std::optional<StoredType> type = {}) {
  PREFIXD_ASSIGN_OR_RETURN(const Conversion conversion, PlanConversion(from, type));
  return RunConversion(conversion, to, false, kGoOn);
}

// The numbers of a tensor in the order of transformers.
std::string NumbersOf(const WeightFiles& files, const std::string& name, StoredType type = StoredType::kF32) {
  const TensorView* tensor = files.Find(name);
  std::string numbers;
  if (tensor == nullptr || !AppendRows(*tensor, {type, 0}, 0, RowsOf(*tensor), &numbers).ok()) return name;
  return numbers;
}

void ExpectSameWeights(const ModelConfig& config, const fs::path& a, const fs::path& b) {
  const auto files = WeightFiles::Open(a), others = WeightFiles::Open(b);
  ASSERT_TRUE(files.ok() && others.ok()) << others.status().ToString();
  ASSERT_TRUE(CheckWeights(config, *others).ok());
  for (const WeightSpec& spec : RequiredWeights(config))
    EXPECT_EQ(NumbersOf(*files, spec.name), NumbersOf(*others, spec.name)) << spec.name;
}

void ExpectSameDescription(const ModelDescription& a, const ModelDescription& b) {
  EXPECT_EQ(a.AllEnds(), b.AllEnds());
  EXPECT_EQ(a.files.chat_template.text, b.files.chat_template.text);
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"})
    EXPECT_EQ(TextOf(a.files.named, name), TextOf(b.files.named, name)) << name;
  const Tokenizer &one = *a.files.tokenizer, &other = *b.files.tokenizer;
  for (const std::string text : {"", "Hello  World, 1234567!", "caf\u00e9 cafe\u0301 \n\n\t x",
                                 "<|im_start|>user", "\u65e5\u672c\u8a9e \U0001F600 don't"}) {
    EXPECT_EQ(*one.Encode(text, {}), *other.Encode(text, {})) << text;
  }
  for (TokenId id = 0; id < a.config.vocab; ++id) {
    EXPECT_EQ(one.TokenText(id), other.TokenText(id)) << id;
    EXPECT_EQ(one.IsSpecial(id), other.IsSpecial(id)) << id;
  }
}

class Conversions : public testing::TestWithParam<std::string> {};

TEST_P(Conversions, ThereAndBackKeepTheModel) {
  const std::string name = "golden/" + GetParam();
  PREFIXD_NEED_SHARED(name);
  const fs::path folder = SharedDir() / name;
  const TempDir dir;
  const fs::path gguf = dir.path() / "model.gguf", back = dir.path() / "back";
  const auto model = DescribeModelFiles(folder, "", WeightSource::kFiles);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const auto conversion = PlanConversion(folder, {});
  ASSERT_TRUE(conversion.ok()) << conversion.status().ToString();
  EXPECT_THAT(conversion->losses, ElementsAre("the defaults of sampling in generation_config.json"));
  ASSERT_TRUE(RunConversion(*conversion, gguf, false, kGoOn).ok());
  EXPECT_EQ(fs::file_size(gguf), conversion->bytes);

  const auto made = DescribeModelFiles(gguf, "", WeightSource::kFiles);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ExpectSameWeights(model->config, folder, gguf);
  ExpectSameDescription(*model, *made);

  const Status status = Convert(gguf, back, StoredType(StoredType::kF32));
  ASSERT_TRUE(status.ok()) << status.ToString();
  const auto again = DescribeModelFiles(back, "", WeightSource::kFiles);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(CanonicalArchitecture(again->config), CanonicalArchitecture(model->config));
  EXPECT_EQ(again->config.max_positions, model->config.max_positions);
  EXPECT_EQ(again->config.dtype, DType::kF32);
  ExpectSameWeights(model->config, folder, back);
  ExpectSameDescription(*model, *again);
}
INSTANTIATE_TEST_SUITE_P(All, Conversions,
                         testing::Values("llama-gqa", "llama3-rope", "qwen2", "qwen2-yarn", "qwen3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class DemoConversion : public testing::Test {
 protected:
  const fs::path demo_ = SourceDir() / "deploy/models/demo";
  TempDir dir_;
};

TEST_F(DemoConversion, HasTheTypeThatIsAskedFor) {
  for (const std::string_view name : {"f32", "f16", "bf16", "q8_0", "q4_0"}) {
    const auto type = TypeOfConversion(name, true);
    ASSERT_TRUE(type.has_value());
    const fs::path path = dir_.path() / (std::string(name) + ".gguf");
    const Status status = Convert(demo_, path, type);
    ASSERT_TRUE(status.ok()) << status.ToString();
    const auto files = WeightFiles::Open(path);
    ASSERT_TRUE(files.ok());
    const auto original = WeightFiles::Open(demo_);
    EXPECT_EQ(DescribeModelFiles(path, "", WeightSource::kFiles)->config.dtype,
              type->dtype().value_or(DType::kBF16))
        << "the default of KV";
    for (const std::string& tensor : {std::string(kEmbeddingWeight), LayerWeight(6, "mlp.down_proj")}) {
      EXPECT_EQ(files->Find(tensor)->dtype, type);
      EXPECT_EQ(NumbersOf(*files, tensor, *type), NumbersOf(*original, tensor, *type)) << tensor;
    }
    EXPECT_EQ(files->Find(kFinalNormWeight)->dtype, StoredType(StoredType::kF32));
  }
  EXPECT_EQ(TypesOfConversion(true), "f32, f16, bf16, q8_0, q4_0");
  EXPECT_EQ(TypesOfConversion(false), "f32, bf16");
  EXPECT_FALSE(TypeOfConversion("q8_0", false).has_value());
  EXPECT_FALSE(TypeOfConversion("q4_k", true).has_value());
}

TEST_F(DemoConversion, WithoutATypeTheModelKeepsItsOwn) {
  const auto of_folder = PlanConversion(demo_, {});
  EXPECT_EQ(of_folder->tensors.front().form.type, StoredType(StoredType::kBF16));
  const fs::path quantised = dir_.path() / "q8_0.gguf", full = dir_.path() / "f32.gguf";
  ASSERT_TRUE(Convert(demo_, quantised, StoredType(StoredType::kQ8_0)).ok());
  ASSERT_TRUE(Convert(demo_, full, StoredType(StoredType::kF32)).ok());
  EXPECT_EQ(PlanConversion(quantised, {})->tensors.back().form.type, StoredType(StoredType::kBF16));
  EXPECT_EQ(PlanConversion(full, {})->tensors.back().form.type, StoredType(StoredType::kF32));
  EXPECT_EQ(PlanConversion(full, {})->BytesOfTypes().begin()->first, "F32");
}

TEST_F(DemoConversion, StopsAndLeavesNothing) {
  for (const bool to_gguf : {true, false}) {
    fs::path from = demo_, to = dir_.path() / "out";
    if (!to_gguf) {
      from = dir_.path() / "demo.gguf";
      ASSERT_TRUE(Convert(demo_, from).ok());
    }
    const auto conversion = PlanConversion(from, {});
    uint64_t calls = 0;
    const Status status = RunConversion(*conversion, to, false, [&](uint64_t done, uint64_t total) {
      EXPECT_TRUE(done > 0 && done <= total);
      return ++calls < 5;
    });
    EXPECT_EQ(status.code(), Code::kCancelled);
    EXPECT_EQ(calls, 5u);
    const std::ptrdiff_t left = std::distance(fs::directory_iterator(dir_.path()), {});
    EXPECT_EQ(left, to_gguf ? 0 : 1) << "the source of the second conversion";
  }
}

TEST_F(DemoConversion, WhatCannotBeConvertedIsRefused) {
  const std::string name = "golden/mistral";
  PREFIXD_NEED_SHARED(name);
  const Status status = PlanConversion(SharedDir() / name, {}).status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr(fs::canonical(SharedDir() / name).string() +
                                          ": tokenizer.json: model.merges are not those"));
  EXPECT_THAT(PlanConversion(dir_.path() / "none", {}).status().message(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace prefixd
