#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace prefixd {
namespace {

namespace json = boost::json;

// The common frame; `content` is an expression for the content of `message`, `before` what comes ahead of the
// messages.
std::string Frame(const std::string& content, const std::string& before = "") {
  return before + "{% for message in messages %}<{{ message.role }}>{{ " + content +
         " }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
}

std::unique_ptr<ChatTemplate> Load(const std::string& source) {
  auto parsed = ChatTemplate::Parse(source, {.bos_token = "<s>"});
  EXPECT_TRUE(parsed.ok()) << parsed.status().ToString();
  return std::move(parsed).value();
}

Result<std::string> Render(const ChatTemplate& chat, std::string_view messages) {
  ChatTemplate::Input input;
  input.messages = json::parse(messages).as_array();
  return chat.Render(input);
}

TEST(ChatTemplate, VariablesAreThoseOfTransformers) {
  auto chat = ChatTemplate::Parse(
      "{{ bos_token }}{{ eos_token is defined }}{{ pad_token }}{{ tools }}{{ documents }}{{ "
      "add_generation_prompt }}"
      "{{ enable_thinking }}{{ messages|length }}",
      {.bos_token = "<s>", .special_tokens = {{"pad_token", "<pad>"}}});
  ASSERT_TRUE(chat.ok());
  ChatTemplate::Input input;
  input.add_generation_prompt = false;
  input.extra = {{"enable_thinking", false}};
  EXPECT_EQ(*chat.value()->Render(input), "<s>False<pad>NoneNoneFalseFalse0");
}

TEST(ChatTemplate, KwargsMayNotReplaceTheConversation) {
  const auto chat = Load(Frame("message.content"));
  ChatTemplate::Input input;
  input.extra = {{"messages", json::array()}};
  const auto result = chat->Render(input);
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_NE(result.status().message().find("'messages'"), std::string::npos);
}

TEST(ChatTemplate, TextPartsAreJoinedWhenListsAreNotAccepted) {
  const std::string_view messages =
      R"([{"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}])";
  const auto plain = Load(Frame("'' + message.content"));
  EXPECT_FALSE(plain->caps().accepts_content_lists);
  EXPECT_EQ(*Render(*plain, messages), "<user>A\nB\n<assistant>");
  const auto printing = Load(Frame("message.content"));
  EXPECT_FALSE(printing->caps().accepts_content_lists) << "a printed list is not support for lists";
  EXPECT_EQ(*Render(*printing, messages), "<user>A\nB\n<assistant>");
  const auto taking = Load(Frame(
      "message.content if message.content is string else message.content|map(attribute='text')|join('+')"));
  EXPECT_TRUE(taking->caps().accepts_content_lists);
  EXPECT_EQ(*Render(*taking, messages), "<user>A+B\n<assistant>");
  const auto image =
      Render(*plain, R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])");
  EXPECT_EQ(image.status().code(), Code::kInvalidArgument);
  EXPECT_NE(image.status().message().find("messages[0].content[0]"), std::string::npos);
}

TEST(ChatTemplate, NullContentIsKeptOnlyWhenTheTemplateAcceptsIt) {
  const std::string_view messages =
      R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": null}, {"role": "assistant"}])";
  const auto failing = Load(Frame("'' + message.content"));
  EXPECT_TRUE(failing->caps().requires_non_null_content);
  EXPECT_EQ(*Render(*failing, messages), "<user>u\n<assistant>\n<assistant>\n<assistant>");
  const auto printing = Load(Frame("message.content"));
  EXPECT_TRUE(printing->caps().requires_non_null_content);
  const auto knowing = Load(Frame("'(nothing)' if message.content is none else message.content"));
  EXPECT_FALSE(knowing->caps().requires_non_null_content);
  EXPECT_EQ(*Render(*knowing, messages), "<user>u\n<assistant>(nothing)\n<assistant>(nothing)\n<assistant>");
}

std::string CallFrame(const std::string& arguments) {
  return Frame("message.content or ''",
               "{% for m in messages %}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ " +
                   arguments + " }}]{% endfor %}{% endfor %}");
}
constexpr std::string_view kCall =
    R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": null, "tool_calls": [
        {"id": "1", "type": "function",
        "function": {"name": "f", "arguments": "{\"b\":1.0,\"a\":\"<é>\"}"}}]}])";

TEST(ChatTemplate, ArgumentsBecomeAnObjectWhenTheTemplateRequiresOne) {
  for (const char* arguments : {"c.function.arguments|tojson",
                                "c.function.arguments.items()|list|length ~ (c.function.arguments|tojson)"}) {
    const auto chat = Load(CallFrame(arguments));
    EXPECT_TRUE(chat->caps().needs_object_arguments) << arguments;
    EXPECT_TRUE(chat->caps().supports_tool_calls);
    const auto rendered = Render(*chat, kCall);
    ASSERT_TRUE(rendered.ok()) << rendered.status().ToString();
    EXPECT_NE(rendered->find(R"({"b": 1.0, "a": "<é>"})"), std::string::npos) << *rendered;
  }
  const auto chat = Load(CallFrame("c.function.arguments|tojson"));
  const auto empty = Render(
      *chat, R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]}])");
  EXPECT_NE(empty->find("[f {}]"), std::string::npos) << *empty;
  const auto broken = Render(
      *chat, R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}])");
  EXPECT_EQ(broken.status().code(), Code::kInvalidArgument);
  EXPECT_NE(broken.status().message().find("messages[0].tool_calls[0].function.arguments"),
            std::string::npos);
}

TEST(ChatTemplate, ArgumentsStayTextWhenTheTemplateConcatenatesThem) {
  const auto chat = Load(CallFrame("'' + c.function.arguments"));
  EXPECT_FALSE(chat->caps().needs_object_arguments);
  EXPECT_FALSE(chat->caps().accepts_object_arguments);
  EXPECT_NE(Render(*chat, kCall)->find(R"([f {"b":1.0,"a":"<é>"}])"), std::string::npos);
  const auto object = Render(
      *chat,
      R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}])");
  EXPECT_NE(object->find(R"([f {"a": 1}])"), std::string::npos) << *object;
}

TEST(ChatTemplate, DeveloperBecomesSystemUnlessTheTemplateKnowsIt) {
  const std::string_view messages =
      R"([{"role": "developer", "content": "d"}, {"role": "function", "content": "r"}])";
  EXPECT_EQ(*Render(*Load(Frame("message.content")), messages), "<system>d\n<tool>r\n<assistant>");
  const auto knowing =
      Load(Frame("message.content if message.role != 'developer' else 'DEV ' + message.content"));
  EXPECT_TRUE(knowing->caps().knows_developer_role);
  EXPECT_EQ(*Render(*knowing, messages), "<developer>DEV d\n<tool>r\n<assistant>");
}

TEST(ChatTemplate, SystemTextMovesToTheFirstUserMessageWhenThereIsNoSystemRole) {
  const auto chat =
      Load(Frame("message.content",
                 "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"));
  EXPECT_FALSE(chat->caps().supports_system_role);
  EXPECT_EQ(*Render(*chat,
                    R"([{"role": "system", "content": "S"}, {"role": "user", "content": "u"},
                             {"role": "user", "content": "v"}])"),
            "<user>S\n\nu\n<user>v\n<assistant>");
  EXPECT_EQ(*Render(*chat, R"([{"role": "developer", "content": "S"}])"), "<user>S\n<assistant>");
}

TEST(ChatTemplate, SystemTextInPartsMovesToTheUserMessage) {
  const auto chat = Load(
      Frame("message.content if message.content is string else message.content|map(attribute='text')|join",
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"));
  EXPECT_TRUE(chat->caps().accepts_content_lists);
  EXPECT_EQ(*Render(*chat, R"([{"role": "system", "content": [{"type": "text", "text": "S"}]},
                               {"role": "user", "content": [{"type": "text", "text": "u"}]}])"),
            "<user>S\n\nu\n<assistant>");
}

TEST(ChatTemplate, ToolsAreReportedAsShownOrNot) {
  EXPECT_FALSE(Load(Frame("message.content"))->caps().supports_tools);
  EXPECT_TRUE(
      Load(Frame("message.content", "{% if tools %}{{ tools|tojson }}{% endif %}"))->caps().supports_tools);
}

TEST(ChatTemplate, MalformedMessagesAreNamed) {
  const auto chat = Load(Frame("message.content"));
  for (const auto& [messages, named] :
       {std::pair(R"(["x"])", "messages[0] must be an object"),
        std::pair(R"([{"role": "user"}, {"role": 5}])", "messages[1].role must be a string")}) {
    const auto result = Render(*chat, messages);
    EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
    EXPECT_EQ(result.status().message(), named);
  }
}

TEST(ChatTemplate, WhatTheTemplateRaisesIsTheMessage) {
  const auto chat = Load(Frame(
      "message.content if message.role != 'tool' else raise_exception('Only user and assistant roles!')"));
  const auto result = Render(*chat, R"([{"role": "tool", "content": "x"}])");
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(result.status().message(), "Only user and assistant roles!");
}

TEST(ChatTemplate, LimitsOfTheOptionsHold) {
  jinja::Limits limits;
  limits.string_bytes = 2000;
  auto chat = ChatTemplate::Parse(Frame("message.content"), {.limits = limits});
  ASSERT_TRUE(chat.ok());
  ChatTemplate::Input input;
  input.messages = {json::object{{"role", "user"}, {"content", std::string(3000, 'x')}}};
  EXPECT_EQ(chat.value()->Render(input).status().code(), Code::kResourceExhausted);
}

TEST(ChatTemplate, TheToolUseTemplateRendersRequestsWithTools) {
  auto chat = ChatTemplate::Parse(Frame("message.content"),
                                  {.tool_use = "TOOLS " + Frame("message.content", "{{ tools|tojson }}")});
  ASSERT_TRUE(chat.ok());
  EXPECT_TRUE(chat.value()->caps().supports_tools);
  ChatTemplate::Input input;
  input.messages = json::parse(R"([{"role": "user", "content": "u"}])").as_array();
  EXPECT_EQ(*chat.value()->Render(input), "<user>u\n<assistant>");
  input.tools = json::array();
  EXPECT_EQ(*chat.value()->Render(input), "<user>u\n<assistant>")
      << "an empty list of tools does not select the template";
  input.tools = json::array{"t"};
  EXPECT_EQ(*chat.value()->Render(input), "TOOLS [\"t\"]<user>u\n<assistant>");
  const auto broken = ChatTemplate::Parse("x", {.tool_use = "{{ x|random }}"});
  EXPECT_EQ(broken.status().code(), Code::kUnsupported);
  EXPECT_NE(broken.status().message().find("tool_use"), std::string::npos);
}

TEST(ChatTemplate, ReasoningIsAvailableUnderTheNamesThatTemplatesUse) {
  for (const char* template_name : {"reasoning_content", "thinking"}) {
    const auto chat = Load(Frame("message." + std::string(template_name)));
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      const std::string message = R"([{"role": "assistant", "content": "a", "reasoning": null, ")" +
                                  std::string(name) + R"(": "why"}])";
      EXPECT_EQ(*Render(*chat, message), "<assistant>why\n<assistant>") << name << " as " << template_name;
    }
  }
  EXPECT_EQ(
      *Render(*Load(Frame("message.reasoning_content is defined")), R"([{"role": "user", "content": "u"}])"),
      "<user>False\n<assistant>");
}

TEST(ChatTemplate, TheDateAndTheBeginningOfTextAreReported) {
  const auto plain = Load(Frame("message.content"));
  EXPECT_FALSE(plain->caps().shows_date);
  EXPECT_FALSE(plain->caps().emits_bos);
  const auto dated = Load(Frame("message.content", "{{ bos_token }}{{ strftime_now('%d %b') }}"));
  EXPECT_TRUE(dated->caps().shows_date);
  EXPECT_TRUE(dated->caps().emits_bos);
  EXPECT_TRUE(dated->BeginsWithBos("<s>01 Jan"));
  EXPECT_FALSE(dated->BeginsWithBos("01 Jan<s>"));
}

TEST(ChatTemplate, ParallelToolCallsAreReported) {
  EXPECT_TRUE(Load(CallFrame("c.function.arguments|tojson"))->caps().supports_parallel_tool_calls);
  const auto single = Load(Frame("message.content or ''",
                                 "{% for m in messages if m.tool_calls %}{% if m.tool_calls|length > 1 %}"
                                 "{{ raise_exception('one call at a time') }}{% endif %}{{ "
                                 "m.tool_calls[0].function.name }}{% endfor %}"));
  EXPECT_TRUE(single->caps().supports_tool_calls);
  EXPECT_FALSE(single->caps().supports_parallel_tool_calls);
}

using Kind = ChatTemplate::Rewrite::Kind;

// "kind turn conversation" of each rewrite.
std::vector<std::string> Rewrites(const ChatTemplate& chat) {
  std::vector<std::string> found;
  for (const auto& r : chat.rewrites()) {
    EXPECT_LT(r.kept_bytes, r.bytes);
    found.push_back((r.kind == Kind::kHistory ? "history " : "generation ") + std::to_string(r.turn) + " " +
                    r.conversation);
  }
  return found;
}

TEST(ChatTemplate, ATemplateThatOnlyAppendsIsAppendOnly) {
  const auto chat = Load(Frame("message.content"));
  EXPECT_TRUE(chat->append_only());
  EXPECT_EQ(Rewrites(*chat), std::vector<std::string>());
}

TEST(ChatTemplate, RewritesOfWhatWasRenderedAreFound) {
  // The template marks the last answer, so the mark goes when another message follows.
  EXPECT_EQ(
      Rewrites(
          *Load("{% for message in messages %}<{{ message.role }}>{{ '*' if loop.last }}{{ message.content "
                "}}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")),
      (std::vector<std::string>{"generation 1 a plain conversation", "history 1 a plain conversation"}));
  // The prompt ends with an empty thought, which the rendering of the answer does not contain.
  EXPECT_EQ(Rewrites(*Load(
                "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
                "{% if add_generation_prompt %}<assistant>{% if enable_thinking is false %}<think></think>"
                "{% endif %}{% endif %}")),
            std::vector<std::string>{"generation 1 a plain conversation with enable_thinking = false"});
  // The template drops the reasoning of earlier turns.
  EXPECT_EQ(Rewrites(*Load("{% for message in messages %}<{{ message.role }}>{% if loop.last %}{{ "
                           "message.reasoning_content }}{% endif %}{{ message.content }}\n{% endfor %}"
                           "{% if add_generation_prompt %}<assistant>{% endif %}")),
            std::vector<std::string>{"history 1 a conversation with reasoning"});
  // The template puts the tools before the last question.
  EXPECT_EQ(
      Rewrites(*Load("{% for message in messages %}{% if tools and message.role == 'user' and "
                     "(messages|selectattr('role', 'eq', 'user')|list|last) == message %}{{ tools|tojson }}"
                     "{% endif %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
                     "{% if add_generation_prompt %}<assistant>{% endif %}")),
      (std::vector<std::string>{
          "generation 1 a conversation with tools", "history 1 a conversation with tools",
          "generation 2 a conversation with tool calls", "history 2 a conversation with tool calls"}));
}

TEST(ChatTemplate, ARewriteIsDescribedWithItsConsequence) {
  const ChatTemplate::Rewrite rewrite{"a plain conversation", Kind::kHistory, 1, 52, 84};
  EXPECT_EQ(rewrite.Describe(),
            "in a plain conversation, answer 1 is rendered differently once the next turn follows: 52 of 84 "
            "bytes stay the same, and a cached prefix ends there");
}

}  // namespace
}  // namespace prefixd
