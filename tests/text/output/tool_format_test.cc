#include "text/output/tool_format.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

TEST(ToolFormat, NamesAreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const ToolFormat& format : ToolFormats()) {
    EXPECT_TRUE(names.insert(format.name).second) << format.name;
    EXPECT_EQ(FindToolFormat(format.name), &format);
    EXPECT_TRUE(!format.open.empty() || format.bare != 0 || format.channels ||
                format.call[0].kind == StepKind::kText)
        << format.name;
  }
  EXPECT_EQ(FindToolFormat("none such"), nullptr);
}

TEST(ToolFormat, IsChosenByTheTextOfTheTemplate) {
  EXPECT_EQ(ToolFormatOf("{% for m in messages %}{{ m }}{% endfor %}").name, "generic");
  EXPECT_EQ(ToolFormatOf("<tool_call>\\n{\"name\", \"arguments\"").name, "hermes");
  EXPECT_EQ(ToolFormatOf("[TOOL_CALLS] [").name, "mistral-v7");
  EXPECT_EQ(ToolFormatOf("[TOOL_CALLS]x[ARGS]{}").name, "mistral");
  EXPECT_EQ(ToolFormatOf("{{ '<|python_tag|>' }}").name, "llama3");
  EXPECT_EQ(ToolFormatOf("<|tool_calls_section_begin|>").name, "kimi");
  EXPECT_EQ(ToolFormatOf("[func_name1(params_name1=params_value1, ...)]").name, "pythonic");
}

TEST(ToolFormat, OfThePublishedTemplates) {
  const std::map<std::string, std::string_view> expected = {
      {"Bielik-11B-v3.0-Instruct", "hermes"},
      {"GLM-4.6", "glm"},
      {"HuggingFaceTB-SmolLM3-3B", "generic"},
      {"Qwen-Qwen2.5-7B-Instruct", "hermes"},
      {"Qwen-Qwen3-0.6B", "hermes"},
      {"Qwen3-Coder", "qwen3-coder"},
      {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-v3"},
      {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"},
      {"ibm-granite-granite-3.3-2B-Instruct", "granite"},
      {"meetkai-functionary-medium-v3.1", "functionary"},
      {"microsoft-Phi-3.5-mini-instruct", "generic"},
      {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-v7"},
      {"openai-gpt-oss-120b", "harmony"},
  };
  PREFIXD_NEED_SHARED("templates");
  for (const auto& [file, format] : expected)
    EXPECT_EQ(ToolFormatOf(ReadFileOrDie(SharedDir() / "templates" / (file + ".jinja"))).name, format)
        << file;
}

TEST(ToolFormat, IdsDifferByAnswerAndNumber) {
  std::set<std::string> ids;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (size_t number = 0; number < 20; ++number) {
      EXPECT_TRUE(ids.insert(MakeCallId(CallIdStyle::kOpenAi, seed, number)).second);
      EXPECT_TRUE(ids.insert(MakeCallId(CallIdStyle::kNineCharacters, seed, number)).second);
    }
  }
  const std::string id = MakeCallId(CallIdStyle::kOpenAi, 7, 0);
  EXPECT_TRUE(id.starts_with("call_") && id.size() == 29) << id;
  EXPECT_EQ(MakeCallId(CallIdStyle::kNineCharacters, 7, 0).size(), 9u);
}

TEST(ToolFormat, MarkersAreWhatControlTokensMaySpell) {
  const auto markers = MarkersOf(FindToolFormat("mistral-v7"), ReasoningTagsOf("[THINK] [/THINK]"));
  const std::set<std::string_view> all(markers.begin(), markers.end());
  EXPECT_EQ(all, (std::set<std::string_view>{"[TOOL_CALLS]", "[THINK]", "[/THINK]"}));
}

}  // namespace
}  // namespace prefixd
