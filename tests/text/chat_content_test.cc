// The content of messages and the arguments of tool calls reach every template in a form that it shows.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "tests/support/shared_data.h"
#include "text/chat_template.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using Content = ChatTemplate::Content;
using Role = ChatTemplate::Role;
using testing_support::ReadFileOrDie;
using testing_support::SharedDir;

std::unique_ptr<ChatTemplate> Load(const std::string& source) {
  auto parsed = ChatTemplate::Parse(source, {.bos_token = "<s>", .eos_token = "</s>"});
  EXPECT_TRUE(parsed.ok()) << parsed.status().ToString();
  return std::move(parsed).value();
}

std::string Render(const ChatTemplate& chat, std::string_view messages, const char* tools = nullptr) {
  ChatTemplate::Input input;
  input.messages = json::parse(messages).as_array();
  if (tools != nullptr) input.tools = json::parse(tools);
  const auto rendered = chat.Render(input);
  return rendered.ok() ? *rendered : "ERROR " + rendered.status().ToString();
}

Content FormOf(const ChatTemplate& chat, Role role) { return chat.caps().content[static_cast<size_t>(role)]; }

constexpr char kTools[] = R"([{"type": "function", "function": {"name": "f", "description": "d",
    "parameters": {"type": "object", "properties": {}}}}])";

// A conversation with a message of every role; PARTS(x) is replaced by the content x, in one of two forms.
std::string Conversation(bool parts) {
  const auto text = [&](std::string_view word) {
    const json::string value(word);
    return json::serialize(parts ? json::value(json::array{json::object{{"type", "text"}, {"text", value}}})
                                 : json::value(value));
  };
  return R"([{"role": "system", "content": )" + text("SSS") + R"(}, {"role": "user", "content": )" +
         text("UUU") + R"(}, {"role": "assistant", "content": )" + text("AAA") +
         R"(, "tool_calls": [{"id": "abcdefghi", "type": "function",
              "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
             {"role": "tool", "tool_call_id": "abcdefghi", "name": "f", "content": )" +
         text("TTT") + R"(}, {"role": "assistant", "content": )" + text("BBB") +
         R"(}, {"role": "user", "content": )" + text("VVV") + "}]";
}

TEST(ChatContent, OneTextPartIsRenderedAsTheTextInEveryRoleOfEveryTemplate) {
  PREFIXD_NEED_SHARED("templates/renders.json");
  size_t compared = 0;
  for (const char* folder : {"templates", "cases/system-parts", "cases/tool-result-parts"}) {
    for (const auto& file : std::filesystem::directory_iterator(SharedDir() / folder)) {
      if (file.path().extension() != ".jinja") continue;
      const auto chat = Load(ReadFileOrDie(file.path()));
      const std::string text = Render(*chat, Conversation(false), kTools);
      EXPECT_EQ(Render(*chat, Conversation(true), kTools), text) << file.path();
      EXPECT_EQ(Render(*chat, Conversation(true)), Render(*chat, Conversation(false))) << file.path();
      EXPECT_NE(text.find("UUU"), std::string::npos) << file.path() << text;
      ++compared;
    }
  }
  EXPECT_GE(compared, 16u);
}

TEST(ChatContent, PartsOfToolResultsAreTextWhereTheTemplatePrintsThem) {
  PREFIXD_NEED_SHARED("cases/tool-result-parts");
  for (const auto& file : std::filesystem::directory_iterator(SharedDir() / "cases/tool-result-parts")) {
    const auto chat = Load(ReadFileOrDie(file.path()));
    const std::string text = Render(*chat, R"([{"role": "user", "content": "u"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function",
          "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": [{"type": "text", "text": "TTT"}]}])");
    EXPECT_NE(text.find("]TTT["), std::string::npos) << file.path() << text;
    EXPECT_EQ(text.find("'type'"), std::string::npos) << file.path() << text;
  }
}

// A template of one role that treats lists in its own way; all other roles print their content.
std::string OneRole(const std::string& role, const std::string& content) {
  return "{% for m in messages %}<{{ m.role }}>{% if m.role == '" + role + "' %}{{ " + content +
         " }}{% elif m.content is string %}{{ m.content }}{% else %}{% for p in m.content or [] %}{{ p.text "
         "}}"
         "{% endfor %}{% endif %}{% for c in m.tool_calls or [] %}{{ c.function.arguments|tojson }}{% endfor "
         "%}"
         "\n{% endfor %}";
}

TEST(ChatContent, ListsAreDecidedForEachRole) {
  const std::pair<const char*, Role> roles[] = {{"system", Role::kSystem},
                                                {"user", Role::kUser},
                                                {"assistant", Role::kAssistant},
                                                {"tool", Role::kTool}};
  for (const auto& [name, role] : roles) {
    for (const char* content : {"m.content|string", "'' + m.content", "m.content|tojson", "m.content[0]",
                                "m.content[0].text", "m.content if m.content is string",
                                "m.content|trim if m.content is string else m.content[0].text"}) {
      const auto chat = Load(OneRole(name, content));
      for (const auto& [other_name, other] : roles) {
        if (other == role) continue;
        EXPECT_EQ(FormOf(*chat, other), Content::kTextOrList) << name << " " << content << other_name;
      }
      EXPECT_NE(FormOf(*chat, role), Content::kTextOrList) << name << " " << content;
      EXPECT_EQ(Render(*chat, Conversation(true)), Render(*chat, Conversation(false)))
          << name << " " << content;
    }
  }
}

TEST(ChatContent, StringsBecomeListsWhereTheTemplateDropsStrings) {
  for (const char* role : {"system", "user", "assistant", "tool"}) {
    const auto chat =
        Load(OneRole(role, "m.content|selectattr('type', 'defined')|map(attribute='text')|join('+')"));
    const std::string text = Render(*chat, Conversation(false));
    EXPECT_EQ(text, Render(*chat, Conversation(true)));
    for (const char* word : {"SSS", "UUU", "AAA", "TTT", "BBB", "VVV"})
      EXPECT_NE(text.find(word), std::string::npos) << role << " " << word << text;
  }
  const auto chat = Load(
      "{% for m in messages %}{% for p in m.content if p.type == 'text' %}[{{ p.text }}]"
      "{% endfor %}{% endfor %}");
  EXPECT_EQ(FormOf(*chat, Role::kUser), Content::kList);
  EXPECT_EQ(Render(*chat, R"([{"role": "user", "content": ["a", {"type": "refusal", "refusal": "b"}]}])"),
            "[a][b]")
      << "every part has the form that templates know";
}

TEST(ChatContent, TextThatIsDroppedInBothFormsIsReported) {
  const auto chat = Load("{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}");
  EXPECT_EQ(FormOf(*chat, Role::kTool), Content::kDropped);
  EXPECT_EQ(FormOf(*chat, Role::kUser), Content::kText);
}

TEST(ChatContent, TemplatesThatRejectTheSimplestConversationAreUnderstood) {
  const std::string body =
      "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% elif m.content %}"
      "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% for c in m.tool_calls or [] %}"
      "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v|tojson }}{% endfor %}{% endfor %}{% endfor "
      "%}";
  const std::pair<const char*, const char*> guards[] = {
      {"needs tools", "{% if not tools %}{{ raise_exception('no tools') }}{% endif %}"},
      {"needs a system message",
       "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"},
      {"needs both",
       "{% if messages[0].role != 'system' or not tools %}{{ raise_exception('both') }}{% endif %}"},
      {"needs two turns", "{% if messages|length < 3 %}{{ raise_exception('short') }}{% endif %}"},
      {"needs all of it",
       "{% if messages|length < 4 or messages[0].role != 'system' or not tools %}"
       "{{ raise_exception('all') }}{% endif %}"}};
  for (const auto& [name, guard] : guards) {
    const auto chat = Load(guard + body);
    EXPECT_EQ(FormOf(*chat, Role::kUser), Content::kTextOrList) << name;
    EXPECT_EQ(FormOf(*chat, Role::kTool), Content::kTextOrList) << name;
    EXPECT_TRUE(chat->caps().supports_system_role) << name;
    EXPECT_TRUE(chat->caps().needs_object_arguments) << name;
    EXPECT_FALSE(chat->caps().requires_non_null_content) << name;
    const std::string text = Render(*chat, Conversation(true), kTools);
    EXPECT_EQ(text, "<system>SSS<user>UUU<assistant>AAAx=1<tool>TTT<assistant>BBB<user>VVV") << name;
  }
}

std::string WithCall(const std::string& arguments) {
  return R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": null, "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": )" +
         arguments + "}}]}]";
}

// The probes do not find these arguments: the template shows those of one function only.
TEST(ChatContent, ArgumentsReachTheTemplateWhereProbesShowNone) {
  const auto template_with = [](const std::string& shown) {
    return Load("{% for m in messages %}{% for c in m.tool_calls or [] if c.function.name == 'f' %}{{ " +
                shown + " }}{% endfor %}{% endfor %}");
  };
  for (const char* arguments : {R"("{\"b\": 1.5, \"a\": \"é\"}")", R"({"b": 1.5, "a": "é"})"}) {
    for (const char* shown :
         {"c.function.arguments|tojson",
          "c.function.arguments.items()|list|length ~ (c.function.arguments|tojson)",
          "'' + c.function.arguments", "c.function.arguments",
          "c.function.arguments if c.function.arguments is string else c.function.arguments|tojson"}) {
      const auto chat = template_with(shown);
      EXPECT_FALSE(chat->caps().shows_arguments) << shown;
      const std::string text = Render(*chat, WithCall(arguments));
      EXPECT_NE(text.find(R"({"b": 1.5, "a": "é"})"), std::string::npos) << shown << " " << text;
    }
  }
  EXPECT_EQ(Render(*template_with("'' + c.function.arguments"), WithCall(R"("not json")")), "not json");
}

TEST(ChatContent, ArgumentsAreSpelledAsPythonSpellsThem) {
  const auto as_text = Load(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '' + "
      "c.function.arguments }}{% endfor %}{% endfor %}");
  const auto as_object = Load(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{% for k, v in "
      "c.function.arguments.items() %}{{ k }}{% endfor %}{{ c.function.arguments|tojson "
      "}}{% endfor %}{% endfor %}");
  EXPECT_FALSE(as_text->caps().accepts_object_arguments);
  EXPECT_TRUE(as_object->caps().needs_object_arguments);
  const std::pair<const char*, const char*> numbers[] = {
      {"1.5", "1.5"},       {"-0.0", "-0.0"},
      {"1e5", "100000.0"},  {"1e16", "1e+16"},
      {"0.00001", "1e-05"}, {"7", "7"},
      {"512.0", "512.0"},   {"18446744073709551615", "18446744073709551615"}};
  for (const auto& [number, spelled] : numbers) {
    const std::string object = std::string(R"({"z":)") + number + R"(,"a":"é<&"})";
    const std::string want = std::string(R"({"z": )") + spelled + R"(, "a": "é<&"})";
    EXPECT_EQ(Render(*as_text, WithCall(object)), want);
    EXPECT_EQ(Render(*as_object, WithCall(object)), "za" + want);
    EXPECT_EQ(Render(*as_object, WithCall(json::serialize(json::string(object)))), "za" + want);
  }
}

TEST(ChatContent, IntegersOfArgumentsKeepTheirDigits) {
  const auto chat = Load(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments.items() %}"
      "{{ v }} {{ v|tojson }} {{ v is integer }} {{ [v] }};{% endfor %}{% endfor %}{% endfor %}");
  for (const std::string digits :
       {"1234567890123456789", "-9223372036854775809", "18446744073709551616",
        "100000000000000000000000000000", "-123456789012345678901234567890123456789012345678901234567890"}) {
    for (const std::string before : {R"({"z": )", R"({"z\\": )", R"({"z\"": )", R"({"5\\\"": )"}) {
      const std::string text = before + digits + "}";
      EXPECT_EQ(Render(*chat, WithCall(json::serialize(json::string(text)))),
                digits + " " + digits + " True [" + digits + "];")
          << text;
    }
  }
  // Digits in texts, fractions and exponents are no integers.
  const std::string others =
      R"({"a": "1234567890123456789012", "b": 0.1234567890123456789012, "c": 1e000000000000000000001})";
  EXPECT_EQ(Render(*chat, WithCall(json::serialize(json::string(others)))),
            "1234567890123456789012 \"1234567890123456789012\" False ['1234567890123456789012'];"
            "0.12345678901234568 0.12345678901234568 False [0.12345678901234568];10.0 10.0 False [10.0];");
  // The nearest double, as Python reads it.
  const std::string fractions =
      R"({"a": 158063.29320000001, "b": 3.141592653589793, "c": 1e400, "d": 9007199254740993.0, )"
      R"("e": -1e-400})";
  EXPECT_EQ(Render(*Load("{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.function.name %}{{ "
                         "c.function.arguments|tojson }}{% endif %}{% endfor %}{% endfor %}"),
                   WithCall(json::serialize(json::string(fractions)))),
            R"({"a": 158063.29320000001, "b": 3.141592653589793, "c": Infinity, "d": 9007199254740992.0, )"
            R"("e": -0.0})");
  for (const char* broken :
       {R"("{\"a\": 12345678901234567890123x}")", R"("{\"a\": 0012345678901234567890}")", R"("{\"a\": 1.}")",
        R"("{\"a\": 1.5.2}")", R"("{\"a\": 1e}")", R"("{\"a\": +1}")", R"("{1: 2}")",
        R"("12345678901234567890123")", R"("{\"a")", R"("{\"a\\")", R"("-")"})
    EXPECT_TRUE(Render(*chat, WithCall(broken)).starts_with("ERROR ")) << broken;
}

}  // namespace
}  // namespace prefixd
