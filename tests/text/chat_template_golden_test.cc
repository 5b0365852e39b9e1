// Compares real chat templates with the renderings of Jinja2 3.1.6, and checks the chats of the golden
// checkpoints.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <ctime>

#include "tests/support/shared_data.h"
#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

// The reference was rendered with the clock at noon, 2026-07-01, local time.
int64_t ReferenceSeconds() {
  std::tm fields{};
  fields.tm_year = 126;
  fields.tm_mon = 6;
  fields.tm_mday = 1;
  fields.tm_hour = 12;
  fields.tm_isdst = -1;
  return std::mktime(&fields);
}

json::value ReadJson(const std::filesystem::path& path) { return json::parse(ReadFileOrDie(path)); }

TEST(ChatTemplateGolden, EveryTemplateRendersEveryConversationAsTheReference) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  const auto folder = SharedDir() / "templates";
  const json::value renders = ReadJson(folder / "renders.json"),
                    conversations = ReadJson(folder / "conversations.json");
  const json::value bos("<s>"), eos("</s>"), none, yes(true);
  size_t compared = 0;
  for (const auto& [name, expected] : renders.as_object()) {
    auto parsed = jinja::Template::Parse(ReadFileOrDie(folder / (std::string(name) + ".jinja")));
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.status().ToString();
    for (const auto& [conversation, text] : expected.as_object()) {
      jinja::Template::Variables variables = {{"bos_token", &bos},
                                              {"eos_token", &eos},
                                              {"tools", &none},
                                              {"documents", &none},
                                              {"add_generation_prompt", &yes}};
      for (const auto& [key, value] : conversations.at(conversation).as_object())
        variables.emplace_back(key, &value);
      const auto rendered = parsed.value()->Render(variables, ReferenceSeconds());
      const std::string want(text.as_string());
      if (want.starts_with("EXC ")) {
        EXPECT_EQ(rendered.status().code(), Code::kInvalidArgument)
            << name << " " << conversation << " must raise " << want;
        EXPECT_EQ(rendered.status().message(), want.substr(want.find(": ") + 2))
            << "the message of Python without the type";
      } else {
        ASSERT_TRUE(rendered.ok()) << name << " " << conversation << ": " << rendered.status().ToString();
        EXPECT_EQ(*rendered, want) << name << " " << conversation;
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 100u);
}

// Every template of the collection renders every conversation once the messages are fitted to it.
TEST(ChatTemplateGolden, FittedConversationsAreRenderedByEveryTemplate) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  const auto folder = SharedDir() / "templates";
  const json::value renders = ReadJson(folder / "renders.json"),
                    conversations = ReadJson(folder / "conversations.json");
  for (const auto& [name, expected] : renders.as_object()) {
    auto chat = ChatTemplate::Parse(ReadFileOrDie(folder / (std::string(name) + ".jinja")),
                                    {.bos_token = "<s>", .eos_token = "</s>"});
    ASSERT_TRUE(chat.ok()) << name;
    EXPECT_TRUE(chat.value()->caps().supports_system_role) << name;
    for (const auto& [conversation, body] : conversations.as_object()) {
      ChatTemplate::Input input;
      input.messages = body.at("messages").as_array();
      if (const auto* tools = body.as_object().if_contains("tools")) input.tools = *tools;
      if (const auto* generate = body.as_object().if_contains("add_generation_prompt")) {
        input.add_generation_prompt = generate->as_bool();
      }
      if (const auto* thinking = body.as_object().if_contains("enable_thinking"))
        input.extra["enable_thinking"] = *thinking;
      input.unix_seconds = ReferenceSeconds();
      const auto rendered = chat.value()->Render(input);
      ASSERT_TRUE(rendered.ok()) << name << " " << conversation << ": " << rendered.status().ToString();
      const std::string want(expected.at(conversation).as_string());
      const bool fitted = conversation == "parts" ||
                          (conversation == "nullcontent" && chat.value()->caps().requires_non_null_content);
      if (fitted) continue;  // the reference raises on it, or prints a list or None
      EXPECT_EQ(*rendered, want) << name << " " << conversation;
    }
  }
}

struct CapsCase {
  const char* name;
  bool lists, non_null, objects, developer;
};

TEST(ChatTemplateGolden, ProbingFindsWhatTheTemplatesAccept) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  const CapsCase cases[] = {{"Qwen-Qwen3-0.6B", false, true, false, false},
                            {"Qwen-Qwen2.5-7B-Instruct", false, false, true, false},
                            {"GLM-4.6", true, true, true, false},
                            {"openai-gpt-oss-120b", false, true, true, true},
                            {"Qwen3-Coder", false, false, true, false},
                            {"microsoft-Phi-3.5-mini-instruct", false, true, false, false},
                            {"Bielik-11B-v3.0-Instruct", false, true, false, false}};
  for (const auto& c : cases) {
    auto chat =
        ChatTemplate::Parse(ReadFileOrDie(SharedDir() / "templates" / (std::string(c.name) + ".jinja")), {});
    ASSERT_TRUE(chat.ok()) << c.name;
    const auto& caps = chat.value()->caps();
    EXPECT_EQ(caps.accepts_content_lists, c.lists) << c.name;
    EXPECT_EQ(caps.requires_non_null_content, c.non_null) << c.name;
    EXPECT_EQ(caps.needs_object_arguments, c.objects) << c.name;
    EXPECT_EQ(caps.knows_developer_role, c.developer) << c.name;
  }
}

TEST(ChatTemplateGolden, RewritesOfRealTemplatesAreFound) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  using Kind = ChatTemplate::Rewrite::Kind;
  const auto rewrites = [](const std::string& name) {
    auto chat = ChatTemplate::Parse(ReadFileOrDie(SharedDir() / "templates" / (name + ".jinja")),
                                    {.bos_token = "<s>", .eos_token = "</s>"});
    std::vector<std::pair<std::string, Kind>> found;
    for (const auto& r : chat.value()->rewrites()) found.emplace_back(r.conversation, r.kind);
    return found;
  };
  using Found = std::vector<std::pair<std::string, Kind>>;
  EXPECT_EQ(rewrites("Qwen-Qwen2.5-7B-Instruct"), Found());
  EXPECT_EQ(rewrites("Qwen3-Coder"), Found());
  EXPECT_EQ(rewrites("Qwen-Qwen3-0.6B"),
            (Found{{"a plain conversation", Kind::kHistory},
                   {"a plain conversation with enable_thinking = false", Kind::kGeneration}}));
  EXPECT_EQ(rewrites("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"),
            (Found{{"a plain conversation", Kind::kGeneration}}));
  const Found nemo = rewrites("mistralai-Mistral-Nemo-Instruct-2407");
  EXPECT_TRUE(std::count(nemo.begin(), nemo.end(),
                         Found::value_type("a conversation with tools", Kind::kHistory)) == 1)
      << "it puts the tools before the last question";
}

TEST(ChatTemplateGolden, ChatsOfTheGoldenCheckpoints) {
  PREFIXD_NEED_SHARED("golden");
  size_t compared = 0;
  for (const auto& folder : std::filesystem::directory_iterator(SharedDir() / "golden")) {
    if (!std::filesystem::exists(folder.path() / "expected.json")) continue;
    const json::value config = ReadJson(folder.path() / "tokenizer_config.json");
    const auto token = [&](const char* name) {
      const json::value* value = config.as_object().if_contains(name);
      if (value && value->is_object()) value = &value->at("content");
      return value && value->is_string() ? std::string(value->as_string()) : std::string();
    };
    const auto file = folder.path() / "chat_template.jinja";
    const std::string source = std::filesystem::exists(file)
                                   ? ReadFileOrDie(file)
                                   : std::string(config.at("chat_template").as_string());
    auto chat =
        ChatTemplate::Parse(source, {.bos_token = token("bos_token"), .eos_token = token("eos_token")});
    ASSERT_TRUE(chat.ok()) << folder << chat.status().ToString();
    const json::value expected = ReadJson(folder.path() / "expected.json").at("chat");
    ChatTemplate::Input input;
    input.messages = expected.at("messages").as_array();
    input.add_generation_prompt = expected.at("add_generation_prompt").as_bool();
    const auto rendered = chat.value()->Render(input);
    ASSERT_TRUE(rendered.ok()) << folder << rendered.status().ToString();
    EXPECT_EQ(*rendered, std::string(expected.at("rendered").as_string())) << folder;
    ++compared;
  }
  EXPECT_GE(compared, 7u);
}

}  // namespace
}  // namespace prefixd
