// How calls are written: as the chat templates of the models render them.
#include "text/call_writing.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using testing_support::ReadFileOrDie;
using testing_support::SharedDir;
using Kind = CallPart::Kind;

// The writing with NAME, ARGS, ID and # for the parts.
std::string Text(const std::vector<CallPart>& parts) {
  std::string text;
  for (const CallPart& part : parts)
    text += part.kind == Kind::kText     ? part.text
            : part.kind == Kind::kName   ? "NAME"
            : part.kind == Kind::kId     ? "ID"
            : part.kind == Kind::kNumber ? "#"
                                         : "ARGS";
  return text;
}

std::string Text(const std::optional<CallWriting>& writing) {
  if (!writing) return "none";
  return Text(writing->first) + "|" + Text(writing->next) + "|" + Text(writing->last);
}

std::unique_ptr<ChatTemplate> Parse(const std::string& source) {
  auto parsed = ChatTemplate::Parse(source, {.bos_token = "<s>", .eos_token = "</s>"});
  EXPECT_TRUE(parsed.ok()) << parsed.status().ToString();
  return *std::move(parsed);
}

constexpr const char* kHermes =
    "<tool_call>\n{\"name\": \"NAME\", \"arguments\": ARGS|}\n</tool_call>\n<tool_call>\n"
    "{\"name\": \"NAME\", \"arguments\": ARGS|}\n</tool_call>";

TEST(CallWriting, OfFormats) {
  const auto of = [](std::string_view name) { return Text(WritingOf(*FindToolFormat(name))); };
  EXPECT_EQ(of("hermes"), kHermes);
  EXPECT_EQ(of("llama3"),
            "{\"name\": \"NAME\", \"parameters\": ARGS|}; {\"name\": \"NAME\", \"parameters\": ARGS|}");
  EXPECT_EQ(of("mistral-v7"),
            "[TOOL_CALLS][{\"name\": \"NAME\", \"arguments\": ARGS|}, {\"name\": \"NAME\", \"arguments\": "
            "ARGS|}]");
  EXPECT_EQ(of("mistral"), "[TOOL_CALLS]NAME[ARGS]ARGS|\n[TOOL_CALLS]NAME[ARGS]ARGS|");
  EXPECT_EQ(of("qwen3-coder"),
            "<tool_call>\n<function=NAME>\nARGS|</function>\n</tool_call>\n<tool_call>\n<function=NAME>\n"
            "ARGS|</function>\n</tool_call>");
  EXPECT_EQ(of("harmony"), "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>ARGS||");
  EXPECT_EQ(of("kimi"),
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:#<|tool_call_argument_begin|>ARGS|"
            "<|tool_call_end|>\n<|tool_call_begin|>functions.NAME:#<|tool_call_argument_begin|>ARGS|"
            "<|tool_call_end|><|tool_calls_section_end|>");
  EXPECT_EQ(of("pythonic"), "[NAME(ARGS|), NAME(ARGS|)]");
}

// A template that writes calls in its own way: without spaces, with the id behind the arguments.
TEST(CallWriting, IsThatOfTheTemplate) {
  const auto own = Parse(
      "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% if m.tool_calls %}[TOOL_CALLS] ["
      "{% for c in m.tool_calls %}{\"name\":\"{{ c.function.name }}\",\"arguments\": {{ "
      "c.function.arguments | tojson }},\"id\": \"{{ c.id }}\"}{% if not loop.last %},{% endif %}{% endfor %}"
      "]{% endif %}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}");
  const std::vector<std::string> ends = {"</s>"};
  const ToolFormat& format = *FindToolFormat("mistral-v7");
  EXPECT_EQ(Text(WritingOf(format, *own, ends)),
            "[TOOL_CALLS] [{\"name\":\"NAME\",\"arguments\": ARGS|,\"id\": \"ID\"},{\"name\":\"NAME\","
            "\"arguments\": ARGS|,\"id\": \"ID\"}]");
  // Where nothing shows the end of the answer, or the format does not understand it, as the format has it.
  EXPECT_EQ(WritingOf(format, *own, std::vector<std::string>{"<end>"}), WritingOf(format));
  EXPECT_EQ(WritingOf(*FindToolFormat("hermes"), *own, ends), WritingOf(*FindToolFormat("hermes")));
}

TEST(CallWriting, OfPublishedTemplates) {
  PREFIXD_NEED_SHARED("templates");
  const auto of = [](const std::string& file, const std::string& end) {
    const std::string source = ReadFileOrDie(SharedDir() / "templates" / (file + ".jinja"));
    return Text(WritingOf(ToolFormatOf(source), *Parse(source), std::vector<std::string>{end}));
  };
  EXPECT_EQ(of("Qwen-Qwen2.5-7B-Instruct", "<|im_end|>"), kHermes);
  EXPECT_EQ(of("Qwen-Qwen3-0.6B", "<|im_end|>"), kHermes);
  EXPECT_EQ(of("mistralai-Mistral-Nemo-Instruct-2407", "</s>"),
            "[TOOL_CALLS][{\"name\": \"NAME\", \"arguments\": ARGS|, \"id\": \"ID\"}, {\"name\": \"NAME\", "
            "\"arguments\": ARGS|, \"id\": \"ID\"}]");
  EXPECT_EQ(of("openai-gpt-oss-120b", "<|call|>"),
            " to=functions.NAME<|channel|>commentary json<|message|>ARGS||");
  EXPECT_EQ(of("deepseek-ai-DeepSeek-V3.1", "<｜end▁of▁sentence｜>"),
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGS|<｜tool▁call▁end｜>"
            "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGS|<｜tool▁call▁end｜><｜tool▁calls▁end｜>");
  EXPECT_EQ(of("meetkai-functionary-medium-v3.1", "<|eom_id|>"),
            "<function=NAME>ARGS|</function><function=NAME>ARGS|</function>");
}

}  // namespace
}  // namespace prefixd
