#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "model/gguf_config.h"
#include "model/gguf_model.h"
#include "model/gguf_weights.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::GgufWriter;
using testing_support::TempDir;

Result<GgufFile> Parse(const std::string& file) {
  return ParseGguf("file.gguf", std::as_bytes(std::span(file)));
}

void ExpectRefused(const std::string& file, Code code, const std::string& part) {
  const Status status = Parse(file).status();
  EXPECT_EQ(status.code(), code) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(part));
}

GgufWriter SmallFile(uint32_t version = 3) {
  GgufWriter file(version);
  file.Add("general.architecture", "llama");
  file.Add("llama.block_count", 2);
  file.Add("llama.rope.freq_base", 10000.0f);
  file.Add("tokenizer.ggml.add_bos_token", true);
  file.Add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "\u2581b"});
  file.Add("tokenizer.ggml.scores", std::vector<float>{0, -1.5f});
  file.Add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 3});
  const int64_t shape[] = {2, 32}, one[] = {3};
  file.AddTensor("b", 8, shape, std::string(68, 'q'));
  file.AddTensor("a", 0, one, std::string(12, 'f'));
  return file;
}

TEST(Gguf, ReadsValuesAndTensorsOfBothVersions) {
  for (const uint32_t version : {2u, 3u}) {
    const std::string bytes = SmallFile(version).File();
    const Result<GgufFile> file = Parse(bytes);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->version, version);
    const GgufValues& values = file->values;
    EXPECT_EQ(**values.String("general.architecture"), "llama");
    EXPECT_EQ(**values.Integer("llama.block_count", 1, 2), 2);
    EXPECT_EQ(**values.Number("llama.rope.freq_base", 1, 1e6), 10000);
    EXPECT_EQ(**values.Bool("tokenizer.ggml.add_bos_token"), true);
    EXPECT_THAT(*values.Strings("tokenizer.ggml.tokens"), ElementsAre("a", "", "\u2581b"));
    EXPECT_THAT(*values.Floats("tokenizer.ggml.scores"), ElementsAre(0, -1.5f));
    EXPECT_THAT(*values.Integers("tokenizer.ggml.token_type"), ElementsAre(1, 3));
    EXPECT_FALSE(values.Integer("absent", 0, 1)->has_value());
    EXPECT_TRUE(values.Strings("absent")->empty());
    ASSERT_EQ(file->tensors.size(), 2u);
    EXPECT_EQ(file->tensors[0].name, "b");
    EXPECT_EQ(file->tensors[0].type, StoredType(StoredType::kQ8_0));
    EXPECT_THAT(file->tensors[0].shape, ElementsAre(2, 32));
    EXPECT_EQ(file->tensors[0].bytes.size(), 68u);
    EXPECT_EQ(file->tensors[1].bytes.size(), 12u);
    EXPECT_EQ(static_cast<char>(file->tensors[1].bytes[0]), 'f');
  }
}

TEST(Gguf, AGetterNamesTheValueThatIsWrong) {
  const std::string bytes = SmallFile().File();
  const GgufValues values = Parse(bytes)->values;
  const auto message = [](const auto& result) { return result.status().message(); };
  EXPECT_THAT(message(values.Integer("llama.block_count", 3, 9)),
              HasSubstr("file.gguf: llama.block_count is 2 (expected: an integer from 3 to 9)"));
  EXPECT_THAT(message(values.Integer("general.architecture", 0, 1)), HasSubstr("is \"llama\" (expected"));
  EXPECT_THAT(message(values.Number("llama.block_count", 0, 9)), HasSubstr("a number from 0 to 9"));
  EXPECT_THAT(message(values.Bool("tokenizer.ggml.tokens")), HasSubstr("an array of 3 (expected: true"));
  EXPECT_THAT(message(values.Strings("tokenizer.ggml.scores")), HasSubstr("an array of strings"));
  EXPECT_THAT(message(values.Floats("llama.block_count")), HasSubstr("an array of 32-bit numbers"));
}

// Every prefix of a file is refused, and the message says that it is cut.
TEST(Gguf, ACutFileIsRefused) {
  const std::string file = SmallFile().File();
  const size_t data = 20;  // the padding after the last tensor
  for (size_t length = 4; length < file.size() - data; ++length) {
    const Status status = Parse(file.substr(0, length)).status();
    ASSERT_EQ(status.code(), Code::kCorrupt) << length;
    ASSERT_THAT(status.message(), HasSubstr("cut short")) << length;
  }
  ASSERT_TRUE(Parse(file.substr(0, file.size() - data)).ok());
}

// Another process writes to a file that is mapped: the lengths of keys, names and strings are others now.
TEST(Gguf, AFileThatChangesLaterKeepsItsHeader) {
  std::string bytes = SmallFile().File();
  const Result<GgufFile> file = Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  bytes.assign(bytes.size(), '\xFF');
  EXPECT_EQ(**file->values.String("general.architecture"), "llama");
  EXPECT_THAT(*file->values.Strings("tokenizer.ggml.tokens"), ElementsAre("a", "", "\u2581b"));
  EXPECT_THAT(*file->values.Floats("tokenizer.ggml.scores"), ElementsAre(0, -1.5f));
  EXPECT_EQ(file->tensors[0].name, "b");
  EXPECT_EQ(file->tensors[0].bytes.data(),
            reinterpret_cast<const std::byte*>(bytes.data()) + (bytes.size() - 128));
  EXPECT_EQ(static_cast<char>(file->tensors[0].bytes[0]), '\xFF') << "data is not copied";
}

// Another process writes to the file between the two reads of its header: a key is longer then. The test ends
// when a read has met such a moment.
TEST(Gguf, AHeaderThatChangesWhileItIsReadIsRefused) {
  std::string bytes = SmallFile().File();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    const std::atomic_ref<char> length(bytes[24]);  // of the first key
    for (int i = 0; !done || i % 2 != 0; ++i) {
      length.store(static_cast<char>(length.load() ^ 1));
      std::this_thread::yield();
    }
  });
  Status seen;
  do {
    const auto file = Parse(bytes);
    if (file.ok()) {
      EXPECT_EQ(**file->values.String("general.architecture"), "llama");
    }
    seen = file.status();
  } while (seen.message().find("file.gguf has changed while it was read") == std::string::npos);
  done = true;
  writer.join();
  EXPECT_EQ(seen.code(), Code::kCorrupt);
}

// A file whose only value is an array or a tensor with these numbers.
std::string WithNumber(size_t offset, uint64_t number, std::string file) {
  std::memcpy(file.data() + offset, &number, sizeof number);
  return file;
}

TEST(Gguf, HostileNumbersAreRefused) {
  const std::string file = SmallFile().File();
  const size_t tensors = 8, values = 16, first_key = 24;
  for (const uint64_t huge : {uint64_t{1} << 32, uint64_t{1} << 62, UINT64_MAX, UINT64_MAX / 13 + 1}) {
    ExpectRefused(WithNumber(tensors, huge, file), Code::kCorrupt, "tensors");
    ExpectRefused(WithNumber(values, huge, file), Code::kCorrupt, "values");
    ExpectRefused(WithNumber(first_key, huge, file), Code::kCorrupt, "cut short");
    const size_t tokens = file.find("tokenizer.ggml.tokens") + 21 + 8;
    ExpectRefused(WithNumber(tokens, huge, file), Code::kCorrupt,
                  "elements of value 'tokenizer.ggml.tokens'");
    ExpectRefused(WithNumber(tokens + 8, huge, file), Code::kCorrupt, "cut short");
    const size_t sizes = file.rfind("b\2\0\0\0") + 5;
    ExpectRefused(WithNumber(sizes + 8, huge, file), Code::kCorrupt, "tensor 'b'");
    ExpectRefused(WithNumber(sizes + 20, huge, file), Code::kCorrupt, "tensor 'b'");
  }
}

TEST(Gguf, DamageIsNamed) {
  ExpectRefused("GGUX", Code::kCorrupt, "does not begin with \"GGUF\"");
  ExpectRefused("tjgg\3\0", Code::kCorrupt, "a ggjt file, from before GGUF");
  ExpectRefused("<!DOCTYPE html>", Code::kCorrupt, "a web page; its address needs a login");
  ExpectRefused("PK\3\4", Code::kCorrupt, "a zip archive, as PyTorch writes it");
  ExpectRefused(std::string("GGUF\1\0\0\0", 8), Code::kUnsupported, "version 1 of GGUF");
  ExpectRefused(std::string("GGUF\0\0\0\3", 8), Code::kUnsupported, "big-endian");
  const int64_t one[] = {1}, odd[] = {33}, five[] = {1, 1, 1, 1, 1};
  const auto with = [](const auto& change) {
    GgufWriter file;
    file.Add("general.architecture", "llama");
    change(&file);
    return file.File();
  };
  ExpectRefused(with([&](GgufWriter* file) { file->Add("general.architecture", 1); }), Code::kCorrupt,
                "key 'general.architecture' occurs twice");
  ExpectRefused(with([&](GgufWriter* file) {
                  file->AddTensor("a", 0, one, "1234");
                  file->AddTensor("a", 0, one, "1234");
                }),
                Code::kCorrupt, "tensor 'a' occurs twice");
  ExpectRefused(with([&](GgufWriter* file) { file->AddTensor("", 0, one, "1234"); }), Code::kCorrupt,
                "a tensor has an empty name");
  ExpectRefused(with([&](GgufWriter* file) { file->AddTensor("a", 8, odd, std::string(68, 'q')); }),
                Code::kCorrupt, "rows of 33 elements, but blocks of Q8_0 have 32");
  ExpectRefused(with([&](GgufWriter* file) { file->AddTensor("a", 0, five, "1234"); }), Code::kCorrupt,
                "5 dimensions (limit 4)");
  ExpectRefused(with([&](GgufWriter* file) { file->AddTensor("a", 99, one, "1234"); }), Code::kUnsupported,
                "tensor 'a' has type 99");
  ExpectRefused(with([&](GgufWriter* file) { file->Add("general.alignment", 24); }), Code::kCorrupt,
                "general.alignment is 24 (expected: a power of two)");
  ExpectRefused(with([&](GgufWriter* file) { file->Add("bad\xFF", 24); }), Code::kCorrupt, "not valid UTF-8");
  std::string overlap = with([&](GgufWriter* file) {
    file->AddTensor("a", 0, one, "1234");
    file->AddTensor("b", 0, one, "1234");
  });
  ExpectRefused(WithNumber(overlap.rfind("b\1\0\0\0") + 17, 0, overlap), Code::kCorrupt,
                "before the end of another tensor");
  std::string nested = with([&](GgufWriter* file) { file->Add("x", std::vector<float>{1, 2}); });
  nested[nested.rfind('x') + 5] = 9;  // the type of the elements: array
  ExpectRefused(nested, Code::kUnsupported, "an array of arrays");
}

class GgufModelTest : public ::testing::Test {
 protected:
  std::filesystem::path Write(const std::string& name, const GgufWriter& file) const {
    std::ofstream(dir_.path() / name, std::ios::binary) << file.File();
    return dir_.path() / name;
  }
  TempDir dir_;
};

TEST_F(GgufModelTest, OtherKindsOfFilesAreNamed) {
  const auto refusal = [&](const std::string& key, const std::string& value, const std::string& more) {
    GgufWriter file;
    if (key != "general.architecture") file.Add("general.architecture", "llama");
    file.Add(key, value);
    if (!more.empty()) file.Add(more, 1);
    const int64_t one[] = {1};
    if (more != "no tensors") file.AddTensor("a", 0, one, "1234");
    const Status status = OpenGgufModel(Write("file.gguf", file)).status();
    EXPECT_EQ(status.code(), Code::kUnsupported);
    return status.message();
  };
  EXPECT_THAT(refusal("general.type", "mmproj", ""), HasSubstr("a projector of images or sound"));
  EXPECT_THAT(refusal("general.type", "adapter", ""), HasSubstr("an adapter (LoRA)"));
  EXPECT_THAT(refusal("general.architecture", "bert", ""), HasSubstr("an embedding model"));
  EXPECT_THAT(refusal("general.architecture", "clip", ""), HasSubstr("a projector of images"));
  EXPECT_THAT(refusal("general.architecture", "whisper", ""), HasSubstr("a model of speech"));
  EXPECT_THAT(refusal("general.type", "imatrix", ""), HasSubstr("an importance matrix"));
  EXPECT_THAT(refusal("general.architecture", "wan", ""), HasSubstr("a model of video, not a language"));
  EXPECT_THAT(refusal("general.architecture", "llada", ""), HasSubstr("a diffusion model of text"));
  EXPECT_THAT(refusal("general.name", "x", "llama.pooling_type"),
              HasSubstr("an embedding model (llama.pool"));
  EXPECT_THAT(refusal("general.name", "x", "no tensors"), HasSubstr("a vocabulary without weights"));
  const auto of_wrong_type = [&](const std::string& key, auto value) {
    GgufWriter file;
    file.Add("general.architecture", "llama");
    file.Add(key, value);
    return OpenGgufModel(Write("file.gguf", file)).status().message();
  };
  EXPECT_THAT(of_wrong_type("llama.pooling_type", "mean"),
              HasSubstr("llama.pooling_type is \"mean\" (expected: an integer"));
  EXPECT_THAT(of_wrong_type("general.type", 1), HasSubstr("general.type is 1 (expected: a string)"));
}

TEST_F(GgufModelTest, PartsOfASplitFileAreOneModel) {
  const int64_t one[] = {1};
  const auto part = [&](int number, const char* tensor, int count = 2, const char* family = "") {
    GgufWriter file;
    if (number == 0) file.Add("general.architecture", "llama");
    if (*family != 0) file.Add("general.architecture", family);
    file.Add("split.no", number);
    file.Add("split.count", count);
    file.AddTensor(tensor, 0, one, "1234");
    return file;
  };
  const std::filesystem::path first = Write("m-00001-of-00002.gguf", part(0, "a"));
  EXPECT_THAT(OpenGgufModel(first).status().message(), HasSubstr("download all of them"));
  const std::filesystem::path second = Write("m-00002-of-00002.gguf", part(1, "b"));
  const Result<GgufModel> model = OpenGgufModel(first);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_NE(model->Find("a"), nullptr);
  EXPECT_NE(model->Find("b"), nullptr);
  EXPECT_EQ(model->Find("c"), nullptr);
  EXPECT_THAT(OpenGgufModel(second).status().message(),
              HasSubstr("give the first one: --model " + first.string()));
  Write("m-00002-of-00002.gguf", part(1, "a"));
  EXPECT_THAT(OpenGgufModel(first).status().message(), HasSubstr("tensor 'a' is in another part"));
  Write("m-00002-of-00002.gguf", part(0, "b"));
  EXPECT_THAT(OpenGgufModel(first).status().message(), HasSubstr("split.no is 0 (expected: 1"));
  Write("m-00002-of-00002.gguf", part(1, "b", 3));
  EXPECT_THAT(OpenGgufModel(first).status().message(), HasSubstr("split.count is 3 (expected: 2, as in"));
  Write("m-00002-of-00002.gguf", part(1, "b", 2, "qwen2"));
  EXPECT_THAT(OpenGgufModel(first).status().message(),
              HasSubstr("general.architecture is \"qwen2\" (expected: \"llama\", as in the first part)"));
  Write("m-00002-of-00002.gguf", part(1, "b", 2, "llama"));
  EXPECT_TRUE(OpenGgufModel(first).ok());
  Write("other.gguf", part(0, "a"));
  EXPECT_THAT(OpenGgufModel(dir_.path() / "other.gguf").status().message(), HasSubstr("does not end in"));
}

// Files with holes, so that their size allows for counts and lengths that no memory has room for.
TEST_F(GgufModelTest, AHeaderThatIsTooLargeIsRefused) {
  constexpr uint64_t kBytes = uint64_t{1} << 40;
  const auto refusal = [&](const GgufWriter& file, size_t offset, uint64_t number) {
    const std::filesystem::path path = dir_.path() / "file.gguf";
    std::ofstream(path, std::ios::binary) << WithNumber(offset, number, file.File());
    std::filesystem::resize_file(path, kBytes);
    const Status status = OpenGgufModel(path).status();
    EXPECT_EQ(status.code(), Code::kCorrupt);
    return status.message();
  };
  const size_t tensors = 8, values = 16, first_key = 24;
  EXPECT_THAT(refusal(SmallFile(), tensors, kBytes / 32), HasSubstr("with tensors the header takes"));
  EXPECT_THAT(refusal(SmallFile(), values, kBytes / 32), HasSubstr("with values the header takes"));
  EXPECT_THAT(refusal(SmallFile(), first_key, kBytes / 2), HasSubstr("a key has 549755813888 bytes (limit"));
  GgufWriter file;
  file.Add("x", "text");
  const size_t text = first_key + 8 + 1 + 4;
  EXPECT_THAT(refusal(file, text, kBytes / 2),
              HasSubstr("with value 'x' the header takes at least 549755813933 bytes (limit 256.0 MiB)"));
  GgufWriter array;
  array.Add("x", std::vector<float>{1});
  EXPECT_THAT(refusal(array, text + 4, kBytes / 8), HasSubstr("with elements of value 'x' the header takes"));
}

// A description of a model, without weights but for the embedding.
GgufWriter Described(const std::string& family, int context = 512) {
  GgufWriter file;
  file.Add("general.architecture", family);
  file.Add(family + ".embedding_length", 64);
  file.Add(family + ".block_count", 2);
  file.Add(family + ".feed_forward_length", 96);
  file.Add(family + ".attention.head_count", 4);
  file.Add(family + ".attention.head_count_kv", 2);
  file.Add(family + ".attention.layer_norm_rms_epsilon", 1e-5f);
  file.Add(family + ".context_length", context);
  const int64_t shape[] = {8, 64};
  file.AddTensor("token_embd.weight", 0, shape, std::string(8 * 64 * 4, '\0'));
  return file;
}

TEST_F(GgufModelTest, TheConfigurationOfEveryFamily) {
  for (const std::string family : {"llama", "qwen2", "qwen3"}) {
    const Result<GgufModel> model = OpenGgufModel(Write("file.gguf", Described(family)));
    const Result<ModelConfig> config = ConfigOfGguf(*model);
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    EXPECT_EQ(
        CanonicalArchitecture(*config),
        family +
            " hidden=64 layers=2 heads=4 kv_heads=2 head_dim=16 intermediate=96 vocab=8 eps=1e-05 tied=yes "
            "rope=default theta=10000" +
            (family == "qwen2"   ? " qkv_bias=yes"
             : family == "qwen3" ? " qk_norm=yes"
                                 : ""));
    EXPECT_EQ(config->max_positions, 512);
    EXPECT_THAT(config->windows, ElementsAre(0, 0));
  }
}

TEST_F(GgufModelTest, ScalingOfRotations) {
  const auto rope = [&](const auto& change) {
    GgufWriter file = Described("llama");
    change(&file);
    const Result<GgufModel> model = OpenGgufModel(Write("file.gguf", file));
    const Result<ModelConfig> config = ConfigOfGguf(*model);
    EXPECT_TRUE(config.ok()) << config.status().ToString();
    return config.ok() ? CanonicalRope(config->rope) + " " + std::to_string(config->max_positions) : "";
  };
  EXPECT_EQ(rope([](GgufWriter* file) {
              file->Add("llama.rope.scaling.type", "linear");
              file->Add("llama.rope.scaling.factor", 4.0f);
            }),
            "linear theta=10000 factor=4 512");
  EXPECT_THAT(
      rope([](GgufWriter* file) {
        file->Add("llama.rope.scaling.type", "yarn");
        file->Add("llama.rope.scaling.factor", 4.0f);
        file->Add("llama.rope.scaling.original_context_length", 256);
      }),
      HasSubstr("yarn theta=10000 factor=4 original=256 fast=32 slow=1 truncate=yes attention=1.1386"));
  EXPECT_EQ(rope([](GgufWriter* file) {
              std::string numbers;
              for (int i = 1; i <= 8; ++i) PutLittle(&numbers, static_cast<float>(i));
              const int64_t shape[] = {8};
              file->AddTensor("rope_freqs.weight", 0, shape, numbers);
            }),
            "default theta=10000 divisors=1,2,3,4,5,6,7,8 512");
}

TEST_F(GgufModelTest, WhatIsNotComputedIsRefused) {
  const auto refusal = [&](const std::string& family, const auto& change) {
    GgufWriter file = Described(family);
    change(&file);
    const Result<GgufModel> model = OpenGgufModel(Write("file.gguf", file));
    return ConfigOfGguf(*model).status().message();
  };
  EXPECT_THAT(refusal("gemma3", [](GgufWriter*) {}),
              HasSubstr("general.architecture is \"gemma3\" (supported: llama, qwen2, qwen3)"));
  const auto with = [&](const std::string& key, auto value) {
    return refusal("llama", [&](GgufWriter* file) { file->Add("llama." + key, value); });
  };
  EXPECT_THAT(with("expert_count", 8), HasSubstr("llama.expert_count is 8 (supported: 0"));
  EXPECT_THAT(with("attention.key_length", 15), HasSubstr("an even number"));
  EXPECT_THAT(with("attention.value_length", 8), HasSubstr("16, as wide as keys"));
  EXPECT_THAT(with("rope.dimension_count", 8), HasSubstr("16, the whole head"));
  EXPECT_THAT(with("attention.sliding_window", 100), HasSubstr("sliding_window is 100"));
  EXPECT_THAT(with("rope.scaling.type", "longrope"), HasSubstr("(supported: none, linear, yarn)"));
  EXPECT_THAT(with("logit_scale", 0.5f), HasSubstr("llama.logit_scale is 0.5 (supported: 1)"));
  EXPECT_THAT(with("attention.causal", false), HasSubstr("a model of embeddings"));
  EXPECT_THAT(with("attention.causal", 0),
              HasSubstr("llama.attention.causal is 0 (expected: true or false)"));
  EXPECT_THAT(with("use_parallel_residual", 1), HasSubstr("is 1 (expected: true or false)"));
  EXPECT_EQ(with("attention.sliding_window", 512), "");
  const Result<GgufModel> shortest = OpenGgufModel(Write("file.gguf", Described("llama", 1)));
  EXPECT_THAT(ConfigOfGguf(*shortest).status().message(),
              HasSubstr("llama.context_length is 1 (expected: an integer from 2 to"));
}

TEST(GgufNames, AreThoseOfTransformers) {
  EXPECT_EQ(TransformersName("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(TransformersName("output.weight"), "lm_head.weight");
  EXPECT_EQ(TransformersName("blk.12.attn_q.bias"), "model.layers.12.self_attn.q_proj.bias");
  EXPECT_EQ(TransformersName("blk.0.ffn_norm.weight"), "model.layers.0.post_attention_layernorm.weight");
  for (const char* other : {"blk.00.attn_q.bias", "blk.-1.attn_q.bias", "blk.1", "blk.1.", "blk.1.attn_q",
                            "blk.1.attn_qkv.weight", "blk..attn_q.weight", "output"}) {
    EXPECT_EQ(TransformersName(other), "") << other;
  }
}

TEST(GgufNames, PairsOfRowsComeApart) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < 16; ++row) rows.push_back(UnpairedRow(row, 8));
  EXPECT_THAT(rows, ElementsAre(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
}

}  // namespace
}  // namespace prefixd
