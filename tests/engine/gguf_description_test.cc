// The tokenizer and the model that a GGUF file describes. For the vocabularies of llama.cpp, ids must equal
// those of its own tokenizer: of the reference data, or of tests/golden/make_gguf_pres.py.
#include "engine/gguf_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "engine/loaded_model.h"
#include "kernels/registry.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/load_at.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "text/tokenizer/tokenizer_json_writer.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::GgufWriter;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;
using testing_support::TempDir;

constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";

// The vocabulary that is made of the tokenizer, and its tokenizer.json, give its ids.
void ExpectSameIds(const TokenizerFiles& files, const std::string& text) {
  const auto made = VocabularyOfSpec(files.spec, files.own_vocab_size, {}, {});
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_TRUE(made->losses.empty()) << made->losses.front();
  const auto read = SpecOfGguf(made->View());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  const auto ids = files.tokenizer->Encode(text, {});
  EXPECT_EQ(*(*Tokenizer::FromSpec(*read))->Encode(text, {}), *ids);
  const auto of_json = Tokenizer::FromJson(WriteTokenizerJson(files.spec));
  ASSERT_TRUE(of_json.ok()) << of_json.status().ToString();
  EXPECT_EQ(*(*of_json)->Encode(text, {}), *ids);
}

// Expects that the tokenizer gives the ids of `expected`, a line for each of the texts that kBetween
// separates or ends. Calls decode(case, ids, text) for each.
template <typename Decode>
void ExpectIds(const Tokenizer& tokenizer, const std::string& texts, const std::string& expected,
               const Decode& decode) {
  std::istringstream lines(expected);
  size_t cases = 0;
  for (size_t at = 0, end = 0; at < texts.size(); at = end + kBetween.size(), ++cases) {
    end = std::min(texts.find(kBetween, at), texts.size());
    const std::string text = texts.substr(at, end - at);
    std::string line;
    ASSERT_TRUE(std::getline(lines, line)) << cases;
    std::istringstream numbers(line);
    const std::vector<TokenId> wanted(std::istream_iterator<TokenId>(numbers), {});
    const auto ids = tokenizer.Encode(text, {.add_special_tokens = false});
    ASSERT_TRUE(ids.ok()) << ids.status().ToString();
    EXPECT_EQ(*ids, wanted) << "case " << cases << ": " << testing::PrintToString(text);
    decode(cases, *ids, text);
  }
  EXPECT_EQ(cases, 46u);
}

class GgufVocabularies : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufVocabularies, GiveTheIdsOfLlamaCpp) {
  const std::string file = "tokenizers/ggml-vocab-" + GetParam() + ".gguf";
  PREFIXD_NEED_SHARED(file);
  const std::filesystem::path path = SharedDir() / file;
  const std::string bytes = ReadFileOrDie(path);
  const auto gguf = ParseGguf(file, std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const auto files = ReadGgufTokenizer(gguf->values, "");
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  const Tokenizer& tokenizer = *files->tokenizer;

  const std::string texts = ReadFileOrDie(path.string() + ".inp");
  ExpectIds(tokenizer, texts, ReadFileOrDie(path.string() + ".out"),
            [&](size_t number, const std::vector<TokenId>& ids, const std::string& text) {
              // deepseek-coder has letters as user-defined tokens. Its decoder, like the reference, reads
              // them as bytes.
              if (GetParam() != "deepseek-coder") {
                EXPECT_EQ(tokenizer.Decode(ids, false), text) << "case " << number;
              }
            });
  ExpectSameIds(*files, texts);
  // What stands in front of a text: of these two, add_bos_token is true.
  const size_t front = tokenizer.Encode("", {.add_special_tokens = true})->size();
  EXPECT_EQ(front, GetParam() == "gpt-2" ? 0u : 1u);
}
INSTANTIATE_TEST_SUITE_P(All, GgufVocabularies, testing::Values("deepseek-coder", "gpt-2", "llama-spm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The same vocabulary under another name.
TEST(GgufPres, TheNameSmolLmGivesTheIdsOfLlamaCpp) {
  PREFIXD_NEED_SHARED("tokenizers/ggml-vocab-gpt-2.gguf");
  const std::string path = (SharedDir() / "tokenizers/ggml-vocab-gpt-2.gguf").string();
  const auto text_value = [](std::string_view text) {
    std::string bytes;
    PutLittle(&bytes, static_cast<uint64_t>(text.size()));
    return bytes.append(text);
  };
  std::string key = "tokenizer.ggml.pre", bytes = ReadFileOrDie(path);
  PutLittle(&key, static_cast<uint32_t>(GgufType::kString));
  const size_t at = bytes.find(key + text_value("gpt-2"));
  ASSERT_NE(at, bytes.npos);
  bytes.replace(at + key.size(), text_value("gpt-2").size(), text_value("smollm"));
  const auto gguf = ParseGguf(path, std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const auto files = ReadGgufTokenizer(gguf->values, "");
  ASSERT_TRUE(files.ok()) << files.status().ToString();
  const auto golden = testing_support::SourceDir() / "tests/golden/gguf_pres/smollm.out";
  ExpectIds(*files->tokenizer, ReadFileOrDie(path + ".inp"), ReadFileOrDie(golden),
            [](size_t, const std::vector<TokenId>&, const std::string&) {});
}

// A llama of one layer with eight tokens, in Q8_0 but for the norms.
GgufWriter TinyFile(int eom = -1) {
  GgufWriter file;
  file.Add("general.architecture", "llama");
  file.Add("llama.embedding_length", 32);
  file.Add("llama.block_count", 1);
  file.Add("llama.feed_forward_length", 32);
  file.Add("llama.attention.head_count", 2);
  file.Add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.Add("llama.context_length", 128);
  file.Add("tokenizer.ggml.model", "gpt2");
  file.Add("tokenizer.ggml.pre", "gpt-2");
  file.Add("tokenizer.ggml.tokens",
           std::vector<std::string>{"a", "b", "c", "d", "e", "ab", "<s>", "<|im_end|>"});
  file.Add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 1, 3, 3});
  file.Add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  file.Add("tokenizer.ggml.bos_token_id", 6);
  file.Add("tokenizer.ggml.eos_token_id", 7);
  file.Add("tokenizer.ggml.eot_token_id", 4);
  file.Add("tokenizer.ggml.eom_token_id", eom);
  file.Add("tokenizer.ggml.add_bos_token", true);
  const int64_t vector[] = {32}, embedding[] = {8, 32}, matrix[] = {32, 32};
  const auto q8_0 = [&](const std::string& name, std::span<const int64_t> shape) {
    file.AddTensor(name, 8, shape, std::string(static_cast<size_t>(shape[0]) * 34, '\1'));
  };
  const auto norm = [&](const std::string& name) {
    std::string ones;
    for (int i = 0; i < 32; ++i) PutLittle(&ones, 1.0f);
    file.AddTensor(name, 0, vector, ones);
  };
  q8_0("token_embd.weight", embedding);
  norm("output_norm.weight");
  norm("blk.0.attn_norm.weight");
  norm("blk.0.ffn_norm.weight");
  for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    q8_0(std::string("blk.0.") + part + ".weight", matrix);
  return file;
}

class GgufModelFile : public ::testing::Test {
 protected:
  std::filesystem::path Write(const GgufWriter& file) {
    const std::filesystem::path path = dir_.path() / "Tiny-Llama.Q8_0.gguf";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << file.File();
    return path;
  }
  Result<std::unique_ptr<LoadedModel>> Load(const GgufWriter& file) {
    return testing_support::LoadAt(Write(file), *backend_);
  }
  std::string Refusal(const GgufWriter& file) {
    const std::string message = Load(file).status().message();
    EXPECT_EQ(testing_support::SummarizeAt(Write(file), *backend_).status().message(), message);
    return message;
  }
  TempDir dir_;
  std::unique_ptr<Backend> backend_ = *CreateBackend("ref", 1);
};

TEST_F(GgufModelFile, LoadsWithTokenizerTemplateAndEnds) {
  GgufWriter file = TinyFile();
  file.Add("tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}");
  const auto model = Load(file);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ((*model)->served_name, "Tiny-Llama.Q8_0");
  EXPECT_THAT((*model)->eos, ElementsAre(4, 7)) << "-1 is no token";
  EXPECT_EQ((*model)->bos, 6);
  EXPECT_EQ((*model)->special_tokens.eos, "<|im_end|>");
  EXPECT_EQ((*model)->chat_template_place, "tokenizer.chat_template");
  EXPECT_NE((*model)->chat_template, nullptr);
  EXPECT_THAT(*(*model)->tokenizer->Encode("abc<s>", {}), ElementsAre(6, 5, 2, 6));
  EXPECT_TRUE((*model)->tokenizer->IsSpecial(7));
  EXPECT_EQ((*model)->named_tokens[0].from, "tokenizer.ggml.bos_token_id");
}

TEST_F(GgufModelFile, IsSummarized) {
  const auto summary =
      testing_support::SummarizeAt(Write(TinyFile()), *backend_, "{{ messages[0].content }}");
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->chat_template->place, "the chat template given");
  EXPECT_EQ(summary->parameters, 8 * 32 + 7 * 32 * 32 + 3 * 32);
  EXPECT_THAT(summary->bytes_of_dtypes,
              ElementsAre(testing::Pair("F32", 3 * 32 * 4), testing::Pair("Q8_0", 8 * 34 + 7 * 32 * 34)));
}

TEST_F(GgufModelFile, WhatIsWrongIsNamed) {
  const auto with = [&](const auto& change) {
    GgufWriter file = TinyFile();
    change(&file);
    return Refusal(file);
  };
  const int64_t shape[] = {32};
  EXPECT_THAT(
      with([&](GgufWriter* file) { file->AddTensor("blk.0.attn_qkv.bias", 0, shape, std::string(128, 0)); }),
      HasSubstr("tensor 'blk.0.attn_qkv.bias' is one that prefixd does not read"));
  EXPECT_THAT(with([&](GgufWriter* file) { file->Add("llama.expert_count", 4); }),
              HasSubstr("llama.expert_count is 4"));
  EXPECT_THAT(with([&](GgufWriter* file) { file->Add("tokenizer.ggml.remove_extra_whitespaces", true); }),
              HasSubstr("remove_extra_whitespaces is true (supported: false)"));
  EXPECT_THAT(Refusal(TinyFile(8)),
              HasSubstr("eom_token_id is 8 (expected: one of 8 tokens, or -1 for none)"));
  EXPECT_THAT(with([&](GgufWriter* file) { file->Add("tokenizer.ggml.unknown_token_id", 1 << 22); }),
              HasSubstr("tokenizer.ggml.unknown_token_id is 4194304 (expected: a token, or -1 for none)"));
  const int64_t rows[] = {4, 32};
  EXPECT_THAT(
      with([&](GgufWriter* file) { file->AddTensor("output.weight", 8, rows, std::string(4 * 34, 1)); }),
      HasSubstr("tensor 'output.weight' has shape [4, 32], but the values of the file ask for [8, 32]"));
  EXPECT_THAT(with([&](GgufWriter* file) { file->AddTensor("output.weight", 16, shape, ""); }),
              HasSubstr("rows of 32 elements, but blocks of IQ2_XXS have 256"));
}

}  // namespace
}  // namespace prefixd
