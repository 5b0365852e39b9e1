#include "engine/loaded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "kernels/registry.h"
#include "tests/kernels/forwarding_backend.h"
#include "tests/support/load_at.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using testing_support::kSmallSteps;
using testing_support::LoadAt;
using testing_support::SummarizeAt;
using testing_support::TempDir;

// Byte-level tokens for a few letters, and two special tokens.
constexpr const char* kTokenizer = R"({
  "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
  "added_tokens": [
    {"id": 6, "content": "<s>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true},
    {"id": 7, "content": "</s>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "ab": 5}, "merges": ["a b"]}})";

class LoadedModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = dir_.path() / "tiny-llama";
    std::filesystem::create_directory(folder_);
    testing_support::WriteTinyModel(folder_, 1);  // its config.json has eos_token_id 0
    Write("tokenizer.json", kTokenizer);
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << text;
  }
  Result<std::unique_ptr<LoadedModel>> Load(const std::string& chat_template = "") {
    return LoadAt(folder_, *backend_, chat_template);
  }
  void ExpectRefused(const std::filesystem::path& path, Code code, const std::string& part) {
    for (const Status& status : {LoadAt(path, *backend_).status(), SummarizeAt(path, *backend_).status()}) {
      EXPECT_EQ(status.code(), code) << status.message();
      EXPECT_THAT(status.message(), HasSubstr(part));
    }
  }
  std::string Rendered(const LoadedModel& model) {
    return model.chat_template == nullptr ? "(none)" : *model.chat_template->Render({});
  }

  TempDir dir_;
  std::filesystem::path folder_;
  std::unique_ptr<Backend> backend_ = *CreateBackend("ref", 1);
};

TEST_F(LoadedModelTest, AFolderWithTheLeastThatIsNeeded) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->served_name, "tiny-llama");
  EXPECT_THAT((*model)->eos, ElementsAre(0));
  EXPECT_EQ((*model)->chat_template, nullptr);
  EXPECT_FALSE((*model)->generation.temperature.has_value());
  EXPECT_THAT((*model)->special_tokens.bos, IsEmpty());
  EXPECT_EQ((*model)->runner->limits().context, 128);
  EXPECT_THAT(*(*model)->tokenizer->Encode("abc", {}), ElementsAre(5, 2));
}

TEST_F(LoadedModelTest, EndTokensComeFromThreePlaces) {
  Write("generation_config.json",
        R"({"eos_token_id": [3, 0], "temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": true})");
  Write("tokenizer_config.json",
        R"({"eos_token": {"content": "</s>", "lstrip": false}, "bos_token": "<s>"})");
  const auto model = *Load();
  EXPECT_THAT(model->eos, ElementsAre(0, 3, 7));
  EXPECT_EQ(model->special_tokens.bos, "<s>");
  EXPECT_EQ(model->special_tokens.eos, "</s>");
  EXPECT_FLOAT_EQ(*model->generation.temperature, 0.6f);
  EXPECT_FLOAT_EQ(*model->generation.top_p, 0.9f);
  EXPECT_EQ(model->generation.top_k, 20);
  EXPECT_EQ(model->generation.do_sample, true);
  EXPECT_FALSE(model->generation.min_p.has_value());
}

TEST_F(LoadedModelTest, ChatTemplatesByPrecedence) {
  Write("tokenizer_config.json", R"({"bos_token": "<s>", "chat_template": "{{ bos_token }}one"})");
  EXPECT_EQ(Rendered(**Load()), "<s>one");
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                            {"name": "default", "template": "two"}]})");
  ChatTemplate::Input with_tools;
  with_tools.tools = boost::json::array{"t"};
  EXPECT_EQ(Rendered(**Load()), "two");
  EXPECT_EQ(*(*Load())->chat_template->Render(with_tools), "tools");
  Write("chat_template.jinja", "three");
  EXPECT_EQ(Rendered(**Load()), "three");
  EXPECT_EQ(*(*Load())->chat_template->Render(with_tools), "three");
  std::filesystem::create_directory(folder_ / "additional_chat_templates");
  Write("additional_chat_templates/tool_use.jinja", "three tools");
  EXPECT_EQ(Rendered(**Load()), "three");
  EXPECT_EQ(*(*Load())->chat_template->Render(with_tools), "three tools");
  EXPECT_EQ(Rendered(**Load("four")), "four");
}

TEST_F(LoadedModelTest, ATemplateThatCannotBeReadIsRefusedWithARemedy) {
  Write("chat_template.jinja", "{% if %}");
  ExpectRefused(folder_, Code::kInvalidArgument, "chat_template.jinja: ");
  ExpectRefused(folder_, Code::kInvalidArgument, "--chat-template");
  EXPECT_TRUE(Load("another").ok());
  std::filesystem::remove(folder_ / "chat_template.jinja");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  ExpectRefused(folder_, Code::kInvalidArgument, "named 'default'");
}

TEST_F(LoadedModelTest, PathsThatAreNoModelSayWhatIsMissing) {
  ExpectRefused(dir_.path() / "absent", Code::kNotFound, "absent: ");
  ExpectRefused(dir_.path(), Code::kNotFound, "has no config.json");
  std::ofstream(dir_.path() / "model.gguf") << "GGUF";
  ExpectRefused(dir_.path() / "model.gguf", Code::kCorrupt, "is cut short");
  ExpectRefused(folder_ / "model.safetensors", Code::kInvalidArgument, "is not a folder");
  std::filesystem::remove(folder_ / "tokenizer.json");
  ExpectRefused(folder_, Code::kNotFound, "has no tokenizer.json");
  Write("tokenizer.json", "{}");
  ExpectRefused(folder_, Code::kCorrupt, "tokenizer.json: ");
  std::string tokenizer = kTokenizer;
  tokenizer.replace(tokenizer.find("\"ab\": 5"), 7, "\"ab\": 64");
  Write("tokenizer.json", tokenizer);
  ExpectRefused(folder_, Code::kUnsupported,
                "token \"ab\" has the id 64, but the model has embeddings for 64 tokens");
}

TEST_F(LoadedModelTest, FilesThatMakeNoSenseAreNamed) {
  Write("generation_config.json", R"({"eos_token_id": "</s>"})");
  ExpectRefused(folder_, Code::kInvalidArgument, "tiny-llama: generation_config.json: eos_token_id");
  Write("generation_config.json", R"({"temperature": "warm"})");
  ExpectRefused(folder_, Code::kInvalidArgument, "generation_config.json: temperature");
  Write("generation_config.json", "{");
  ExpectRefused(folder_, Code::kCorrupt, "generation_config.json");
  std::filesystem::remove(folder_ / "generation_config.json");
  std::filesystem::remove(folder_ / "model.safetensors");
  ExpectRefused(folder_, Code::kNotFound, "safetensors");
}

TEST_F(LoadedModelTest, TheSummaryReadsNoWeights) {
  const auto summary = *SummarizeAt(folder_ / ".", *backend_);
  EXPECT_EQ(summary.served_name, "tiny-llama");
  const int64_t layer = 2 * 32 + 32 * (32 + 2 * 16) + 32 * 32 + 3 * 32 * 48;
  EXPECT_EQ(summary.parameters, 64 * 32 + 32 + 2 * layer);
  EXPECT_EQ(summary.weight_bytes, 4u * static_cast<uint64_t>(summary.parameters));
  EXPECT_EQ(KvBytesPerToken(summary.config, DType::kF32), 2u * 2 * 16 * 4);
  EXPECT_EQ(summary.packed_bytes + 128 * summary.packed_bytes_per_position, (*Load())->weight_bytes);
  EXPECT_THAT(summary.bytes_of_dtypes, ElementsAre(Pair("F32", summary.weight_bytes)));
  EXPECT_EQ(summary.tokenizer.kind, "byte-level BPE");
  EXPECT_EQ(summary.tokenizer.vocab_size, 8);
  EXPECT_FALSE(summary.chat_template.has_value());
  const auto with_template = *SummarizeAt(folder_, *backend_, "{{ messages[0].content }}");
  EXPECT_EQ(with_template.chat_template->place, "the chat template given");
  EXPECT_FALSE(with_template.chat_template->caps.supports_tools);
}

TEST_F(LoadedModelTest, DummyWeightsNeedTheConfigurationAlone) {
  const auto print = [this](const LoadedModel& model) {
    return Fingerprint(IdentityOf(model, *backend_, model.runner->shape().Kv(16, DType::kF32)));
  };
  const auto real = *Load();
  std::filesystem::remove(folder_ / "model.safetensors");
  const auto dummy = *LoadAt(folder_, *backend_, "", WeightSource::kDummy);
  EXPECT_THAT(*dummy->tokenizer->Encode("abc", {}), ElementsAre(5, 2)) << "the folder has one";
  EXPECT_FALSE(dummy->byte_tokenizer);
  EXPECT_EQ(dummy->weight_bytes, real->weight_bytes);
  EXPECT_NE(print(*dummy), print(*real));
  EXPECT_EQ(print(*dummy), print(**LoadAt(folder_, *backend_, "", WeightSource::kDummy)));

  const auto summary = *SummarizeAt(folder_, *backend_, "", WeightSource::kDummy);
  EXPECT_EQ(summary.weights, WeightSource::kDummy);
  EXPECT_EQ(summary.weight_bytes, 4u * static_cast<uint64_t>(summary.parameters));
  EXPECT_THAT(summary.bytes_of_dtypes, ElementsAre(Pair("F32", summary.weight_bytes)));
  EXPECT_EQ(summary.packed_bytes + 128 * summary.packed_bytes_per_position, dummy->weight_bytes);
  EXPECT_EQ(summary.tokenizer.kind, "byte-level BPE");
}

TEST_F(LoadedModelTest, DummyWeightsWithoutATokenizerTakeBytes) {
  std::filesystem::remove(folder_ / "tokenizer.json");
  for (const Status& status : {LoadAt(folder_, *backend_, "", WeightSource::kDummy).status(),
                               SummarizeAt(folder_, *backend_, "", WeightSource::kDummy).status()}) {
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_THAT(status.message(), HasSubstr("has no tokenizer.json"));
    EXPECT_THAT(status.message(), HasSubstr("vocab_size is 256 or more, but it is 64"));
  }
  testing_support::WriteTinyModel(folder_, 1, {.vocab = 300});
  std::filesystem::remove(folder_ / "model.safetensors");
  // The tokens of another tokenizer; its template counts.
  Write("tokenizer_config.json", R"({"bos_token": "<s>", "add_bos_token": true, "chat_template": "hi",
        "added_tokens_decoder": {"0": {"content": "<s>", "special": true}}})");
  const auto model = *LoadAt(folder_, *backend_, "", WeightSource::kDummy);
  EXPECT_TRUE(model->byte_tokenizer);
  EXPECT_THAT(*model->tokenizer->Encode("<s>", {}), ElementsAre('<', 's', '>'));
  EXPECT_EQ(model->bos, std::nullopt);
  EXPECT_THAT(model->contradictions, IsEmpty());
  EXPECT_EQ(Rendered(*model), "hi");
  EXPECT_EQ(SummarizeAt(folder_, *backend_, "", WeightSource::kDummy)->tokenizer.kind,
            "one token for each byte (no tokenizer.json)");
}

// A backend that differs from another only in what it names.
class RenamedBackend final : public kernel_testing::ForwardingBackend {
 public:
  RenamedBackend(Backend& to, std::string_view kv_layout, std::string_view numerics)
      : ForwardingBackend(to), kv_layout_(kv_layout), numerics_(numerics) {}
  std::string_view kv_layout_name() const override { return kv_layout_; }
  std::string_view numerics_version() const override { return numerics_; }

 private:
  std::string_view kv_layout_, numerics_;
};

TEST_F(LoadedModelTest, TheIdentityTellsKvApart) {
  const auto model = *Load();
  const auto of = [&](const Backend& backend, int block_tokens, KvType type) {
    return Fingerprint(IdentityOf(*model, backend, model->runner->shape().Kv(block_tokens, type)));
  };
  const BlockKey key = of(*backend_, 16, DType::kF16);
  EXPECT_EQ(of(*backend_, 16, DType::kF16), key);
  EXPECT_NE(of(*backend_, 32, DType::kF16), key);
  EXPECT_NE(of(*backend_, 16, DType::kBF16), key);
  EXPECT_NE(of(*backend_, 16, KvType::kQ8_0), key);

  const std::string_view layout = backend_->kv_layout_name(), numerics = backend_->numerics_version();
  EXPECT_EQ(of(RenamedBackend(*backend_, layout, numerics), 16, DType::kF16), key);
  EXPECT_NE(of(RenamedBackend(*backend_, "K:dim/2,token,2", numerics), 16, DType::kF16), key);
  EXPECT_NE(of(RenamedBackend(*backend_, layout, "cuda-1"), 16, DType::kF16), key);
}

// The forms of one model have the same files, and never the same KV.
TEST_F(LoadedModelTest, TheIdentityTellsQuantisedFormsApart) {
  std::set<std::string> seen;
  const auto hash = (*Load())->weights_hash;
  for (const Quantization quantize :
       {Quantization(), Quantization(WeightFormat::kQ8_0), Quantization(WeightFormat::kQ4_0)}) {
    const auto model = *LoadAt(folder_, *backend_, "", WeightSource::kFiles, {kSmallSteps, quantize});
    EXPECT_EQ(model->weights_hash, hash);
    const KvLayout layout = model->runner->shape().Kv(16, DType::kF16);
    seen.insert(ToHex(Fingerprint(IdentityOf(*model, *backend_, layout))));
    const auto summary = *SummarizeAt(folder_, *backend_, "", WeightSource::kFiles, quantize);
    EXPECT_EQ(summary.packed_bytes + 128 * summary.packed_bytes_per_position, model->weight_bytes);
    EXPECT_EQ(summary.formats.front(), quantize.value_or(DType::kF32));
  }
  EXPECT_EQ(seen.size(), 3u);
}

}  // namespace
}  // namespace prefixd
