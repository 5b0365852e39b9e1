// For the vocabularies of llama.cpp, ids must equal those of its own tokenizer.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/gguf_vocab.h"
#include "tests/support/shared_data.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

constexpr std::string_view kBetween = "\n__ggml_vocab_test__\n";

class GgufVocabulary : public testing::TestWithParam<std::string> {};

TEST_P(GgufVocabulary, EqualsReference) {
  const std::string file = "tokenizers/ggml-vocab-" + GetParam() + ".gguf";
  PREFIXD_NEED_SHARED(file);
  const std::filesystem::path path = SharedDir() / file;
  const auto vocab = testing_support::ReadGgufVocab(ReadFileOrDie(path));
  ASSERT_TRUE(vocab.ok()) << vocab.status().ToString();
  const auto json = testing_support::TokenizerJsonOf(*vocab);
  ASSERT_TRUE(json.ok()) << json.status().ToString();
  const auto tokenizer = Tokenizer::FromJson(*json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();

  const std::string texts = ReadFileOrDie(path.string() + ".inp");
  std::istringstream lines(ReadFileOrDie(path.string() + ".out"));
  size_t cases = 0;
  for (size_t at = 0, end = 0; at < texts.size(); at = end + kBetween.size(), ++cases) {
    end = std::min(texts.find(kBetween, at), texts.size());
    const std::string text = texts.substr(at, end - at);
    std::string line;
    ASSERT_TRUE(std::getline(lines, line)) << cases;
    std::istringstream numbers(line);
    const std::vector<TokenId> expected(std::istream_iterator<TokenId>(numbers), {});
    const auto ids = (*tokenizer)->Encode(text, {.add_special_tokens = false});
    ASSERT_TRUE(ids.ok()) << ids.status().ToString();
    EXPECT_EQ(*ids, expected) << "case " << cases << ": " << testing::PrintToString(text);
    // deepseek-coder has letters as user-defined tokens. Its decoder, like the reference, reads them as
    // bytes.
    if (GetParam() != "deepseek-coder") {
      EXPECT_EQ((*tokenizer)->Decode(*ids, false), text) << "case " << cases;
    }
  }
  EXPECT_EQ(cases, 46u);
}
INSTANTIATE_TEST_SUITE_P(All, GgufVocabulary, testing::Values("deepseek-coder", "gpt-2", "llama-spm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GgufVocab, DamageIsRefused) {
  EXPECT_EQ(testing_support::ReadGgufVocab("GGUX").status().code(), Code::kCorrupt);
  EXPECT_EQ(testing_support::ReadGgufVocab(std::string("GGUF\3\0\0\0", 8)).status().code(), Code::kCorrupt);
  EXPECT_EQ(testing_support::ReadGgufVocab(std::string("GGUF\1\0\0\0", 8)).status().code(),
            Code::kUnsupported);
}

}  // namespace
}  // namespace prefixd
