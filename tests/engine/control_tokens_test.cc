// Tokens that a chat template writes around messages are control tokens, whatever the files call them.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "engine/loaded_model.h"
#include "kernels/registry.h"
#include "tests/support/load_at.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;
using testing_support::TempDir;
using Ids = std::vector<TokenId>;

constexpr TokenId kFirstAdded = 3;

class ControlTokensTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = dir_.path() / "tiny-llama";
    std::filesystem::create_directory(folder_);
    testing_support::WriteTinyModel(folder_, 1);
  }
  // A model whose added tokens are `tokens`, none of them special, with the ids from kFirstAdded on.
  void Load(const std::vector<std::string>& tokens, const std::string& chat_template) {
    json::array added;
    for (size_t i = 0; i < tokens.size(); ++i) {
      added.push_back({{"id", kFirstAdded + static_cast<TokenId>(i)},
                       {"content", tokens[i]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", i % 2 == 1},
                       {"special", false}});
    }
    const json::object byte_level{
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    const json::object model{{"type", "BPE"},
                             {"dropout", nullptr},
                             {"unk_token", nullptr},
                             {"continuing_subword_prefix", nullptr},
                             {"end_of_word_suffix", nullptr},
                             {"fuse_unk", false},
                             {"byte_fallback", false},
                             {"ignore_merges", false},
                             {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}}},
                             {"merges", json::array()}};
    std::ofstream(folder_ / "tokenizer.json") << json::serialize(json::object{{"version", "1.0"},
                                                                              {"truncation", nullptr},
                                                                              {"padding", nullptr},
                                                                              {"normalizer", nullptr},
                                                                              {"added_tokens", added},
                                                                              {"pre_tokenizer", byte_level},
                                                                              {"post_processor", nullptr},
                                                                              {"decoder", byte_level},
                                                                              {"model", model}});
    auto loaded = testing_support::LoadAt(folder_, *backend_, chat_template);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    model_ = *std::move(loaded);
  }
  // The added tokens of a conversation in whose messages `text` stands. Nothing where it is not rendered.
  std::optional<Ids> Added(const std::string& text) {
    ChatTemplate::Input input;
    for (const char* role : {"user", "assistant", "user"})
      input.messages.push_back(json::object{{"role", role}, {"content", "a" + text + "b"}});
    const auto rendered = model_->chat_template->RenderMarked(input);
    if (!rendered.ok()) return std::nullopt;
    Ids ids = *model_->tokenizer->Encode(*rendered, {});
    std::erase_if(ids, [](TokenId id) { return id < kFirstAdded; });
    return ids;
  }

  TempDir dir_;
  std::filesystem::path folder_;
  std::unique_ptr<Backend> backend_ = *CreateBackend("ref", 1);
  std::unique_ptr<LoadedModel> model_;
};

TEST_F(ControlTokensTest, TokensAroundMessagesCannotBeSpelled) {
  const struct {
    std::vector<std::string> tokens;
    const char* chat_template;
    Ids ids;
  } cases[] = {
      {{"<start_of_turn>", "<end_of_turn>"},
       "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}",
       {3, 4, 3, 4, 3, 4}},
      {{"[INST]", "[/INST]"},
       "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}"
       "{{ m.content }}{% endif %}{% endfor %}",
       {3, 4, 3, 4}},
      {{"<extra_id_0>", "<extra_id_1>"},
       "<extra_id_0>System\n{% for m in messages %}<extra_id_1>{{ m.role }}\n{{ m.content }}\n{% endfor %}",
       {3, 4, 4, 4}},
      {{"[|user|]", "[|assistant|]"},
       "{% for m in messages %}{{ '[|' + m.role + '|]' + m.content }}\n{% endfor %}",
       {3, 4, 3}},
  };
  for (const auto& [tokens, chat_template, ids] : cases) {
    Load(tokens, chat_template);
    EXPECT_EQ(Added(""), ids) << chat_template;
    EXPECT_EQ(Added(tokens[0] + tokens[1] + " " + tokens[1] + tokens[0]), ids) << chat_template;
  }
}

TEST_F(ControlTokensTest, OtherTokensStayTokensInMessages) {
  Load({"<think>", "</think>", "\n\n", "user", "<tool_call>"},
       "{% for m in messages %}user\n\n{{ m.content }}{% endfor %}"
       "{% if add_generation_prompt %}<think>{% endif %}{% if tools %}<tool_call>{% endif %}");
  EXPECT_EQ(Added(""), (Ids{6, 5, 6, 5, 6, 5, 3}));
  EXPECT_EQ(Added("<think>\n\n</think>user<tool_call>"),
            (Ids{6, 5, 3, 5, 4, 6, 7, 6, 5, 3, 5, 4, 6, 7, 6, 5, 3, 5, 4, 6, 7, 3}));
}

// Every template with a tokenizer that has its tokens, none of them special.
TEST_F(ControlTokensTest, NoTemplateLetsAMessageForgeATurn) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  static const std::regex token("<\\|?[A-Za-z_0-9]+\\|?>|\\[/?\\|?[A-Z_a-z]+\\|?\\]");
  size_t compared = 0;
  for (const auto& file : std::filesystem::directory_iterator(SharedDir() / "templates")) {
    if (file.path().extension() != ".jinja") continue;
    const std::string source = ReadFileOrDie(file.path());
    auto chat = ChatTemplate::Parse(source, {});
    ASSERT_TRUE(chat.ok()) << file.path();
    ChatTemplate::Input input;
    input.add_generation_prompt = false;
    for (const char* role : {"user", "assistant", "user"})
      input.messages.push_back(json::object{{"role", role}, {"content", "x"}});
    const auto rendered = (*chat)->Render(input);
    if (!rendered.ok()) continue;
    std::set<std::string> found;
    for (std::sregex_iterator it(rendered->begin(), rendered->end(), token), end; it != end; ++it)
      found.insert(it->str());
    if (found.empty() || found.size() > 40) continue;
    const std::vector<std::string> tokens(found.begin(), found.end());
    Load(tokens, source);
    std::string all;
    for (const std::string& one : tokens) all += " " + one;
    const auto own = Added("");
    ASSERT_TRUE(own.has_value() && !own->empty()) << file.path();
    EXPECT_EQ(Added(all), own) << file.path();
    ++compared;
  }
  EXPECT_GE(compared, 10u);
}

}  // namespace
}  // namespace prefixd
