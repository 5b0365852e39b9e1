// The grammars of calls: what they match is what the parser of the format reads, with arguments that the
// schema allows and that a template renders again as they are.
#include "grammar/call_grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grammar/constraint_cache.h"
#include "grammar/json_schema.h"
#include "grammar/text_until.h"
#include "tests/grammar/random_text.h"
#include "tests/support/rounds.h"
#include "text/jinja/template.h"
#include "text/output/output_parser.h"

namespace prefixd::grammar {
namespace {

using testing_support::Matches;
using testing_support::RandomText;
using Event = OutputEvent::Kind;

const Vocabulary kVocabulary({"", "a", "b"}, {0}, 3);

std::vector<CalledFunction> Functions() {
  return {{"get_weather", boost::json::parse(R"({"type":"object","properties":{
             "city":{"type":"string"},"days":{"type":"integer","minimum":1,"maximum":14},
             "unit":{"type":"string","enum":["C","F"]},"wind":{"type":"number"},
             "tags":{"type":"array","items":{"type":"string"},"maxItems":2},
             "where":{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["a"]}},
             "required":["city","unit"]})")},
          {"get", boost::json::parse(R"({"type":"object","properties":{"id":{"type":"integer"}},
             "required":["id"]})")},
          {"now", nullptr}};
}

Result<Grammar> Compiled(const CallSpec& spec, std::vector<std::string>* ignored = nullptr) {
  Expressions to;
  std::vector<std::string> none;
  PREFIXD_ASSIGN_OR_RETURN(const RuleId root,
                           WriteCalls(spec, kVocabulary, &to, ignored == nullptr ? &none : ignored));
  return Grammar::Compile(to, root);
}

struct Call {
  std::string name, arguments;
};

// The calls in a text; reasoning and other text go to *rest.
std::vector<Call> Read(const ToolFormat& format, std::string_view text, std::string* rest,
                       const ReasoningTags* reasoning = nullptr) {
  ToolNames names;
  for (const CalledFunction& function : Functions()) {
    ToolTypes types;
    if (function.parameters.is_object())
      for (const auto& [name, schema] : function.parameters.at("properties").get_object()) {
        const boost::json::value& type = schema.at("type");
        for (const auto& one : type.is_array() ? type.get_array() : boost::json::array{type})
          types.arguments[std::string(name)].emplace(one.get_string());
      }
    names.emplace(function.name, types);
  }
  const auto parser = MakeOutputParser({.format = &format,
                                        .reasoning = reasoning,
                                        .tools = std::make_shared<const ToolNames>(names),
                                        .trusted = true});
  parser->Push(text);
  parser->Finish();
  std::vector<Call> calls;
  for (const OutputEvent& event : parser->Take()) {
    if (event.kind == Event::kCall) calls.push_back({event.text, ""});
    if (event.kind == Event::kArguments) calls.back().arguments += event.text;
    if (event.kind == Event::kContent || event.kind == Event::kReasoning) *rest += event.text;
  }
  EXPECT_EQ(parser->calls(), calls.size()) << text;
  return calls;
}

// The texts that a schema allows, however they are spelled.
std::map<std::string, Grammar> SchemaGrammars() {
  std::map<std::string, Grammar> grammars;
  for (const CalledFunction& function : Functions()) {
    Expressions to;
    const boost::json::value any = boost::json::object{{"type", "object"}};
    const Result<SchemaRead> read =
        ReadJsonSchema(function.parameters.is_null() ? any : function.parameters, {}, &to);
    EXPECT_TRUE(read.ok());
    Result<Grammar> grammar = Grammar::Compile(to, read->root);
    EXPECT_TRUE(grammar.ok());
    grammars.emplace(function.name, *std::move(grammar));
  }
  return grammars;
}

TEST(CallGrammar, ItsTextsAreCallsInEveryFormat) {
  Prng prng(5);
  const std::map<std::string, Grammar> schemas = SchemaGrammars();
  size_t formats = 0;
  int several = 0;
  for (const ToolFormat& format : ToolFormats()) {
    const CallWriting writing = WritingOf(format);
    ++formats;
    SCOPED_TRACE(std::string(format.name));
    const Result<Grammar> grammar = Compiled({.functions = Functions(), .writing = writing, .most_calls = 3});
    ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
    for (int round = 0; round < prefixd::testing_support::Rounds(30); ++round) {
      const std::string text = RandomText(*grammar, prng);
      if (text.empty()) continue;
      std::string rest;
      const std::vector<Call> calls = Read(format, text, &rest);
      ASSERT_TRUE(!calls.empty() && calls.size() <= 3) << text;
      EXPECT_EQ(rest, "") << text;
      several += calls.size() > 1 ? 1 : 0;
      for (const Call& call : calls) {
        EXPECT_TRUE(Matches(schemas.at(call.name), call.arguments)) << call.arguments << " in " << text;
        const auto value = jinja::ParseJsonText(call.arguments);
        ASSERT_TRUE(value.has_value()) << call.arguments;
        EXPECT_EQ(*jinja::JsonText(*value), call.arguments);
      }
    }
  }
  EXPECT_EQ(formats, ToolFormats().size());
  EXPECT_GT(several, prefixd::testing_support::Rounds(30));
}

TEST(CallGrammar, OneCallIsOneCall) {
  CallSpec spec{.functions = {Functions()[2]}, .writing = WritingOf(*FindToolFormat("hermes"))};
  const std::string call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
  const Result<Grammar> one = Compiled(spec);
  ASSERT_TRUE(one.ok());
  EXPECT_TRUE(Matches(*one, call));
  for (const std::string& text : {call + "\n" + call, "\n" + call, call + "\n", std::string("now"),
                                  std::string("<tool_call>\n{\"name\": \"get\", \"arguments\": {\"id\": 1}}"),
                                  std::string("<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n")})
    EXPECT_FALSE(Matches(*one, text)) << text;
  spec.most_calls = 2;
  const Result<Grammar> two = Compiled(spec);
  ASSERT_TRUE(two.ok());
  EXPECT_TRUE(Matches(*two, call + "\n" + call));
  EXPECT_FALSE(Matches(*two, call + "\n" + call + "\n" + call));
}

TEST(CallGrammar, TextMayComeBefore) {
  Prng prng(9);
  for (const std::string_view name :
       {"hermes", "qwen3-coder", "deepseek-v3", "mistral-v7", "pythonic", "generic"}) {
    SCOPED_TRACE(std::string(name));
    const ToolFormat& format = *FindToolFormat(name);
    CallSpec spec{.functions = Functions(), .writing = WritingOf(format), .most_calls = 2, .optional = true};
    const Result<Grammar> grammar = Compiled(spec);
    ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
    spec.optional = false;
    const Result<Grammar> forced = Compiled(spec);
    for (int round = 0; round < prefixd::testing_support::Rounds(20); ++round) {
      const std::string calls = RandomText(*forced, prng);
      if (calls.empty()) continue;
      EXPECT_TRUE(Matches(*grammar, calls)) << calls;
      const bool anywhere = !spec.writing.trigger.empty();
      const std::string text = "I < look. é\n" + calls;
      EXPECT_TRUE(Matches(*grammar, text)) << text;
      std::string rest;
      const std::vector<Call> found = Read(format, text, &rest);
      EXPECT_EQ(!found.empty(), anywhere) << text;
      if (anywhere) {
        EXPECT_EQ(rest, "I < look. é") << text;
      }
      // A call that has begun goes on.
      EXPECT_FALSE(Matches(*grammar, calls.substr(0, calls.size() - 1))) << calls;
      EXPECT_FALSE(Matches(*grammar, calls.substr(0, calls.size() - 1) + "?!")) << calls;
    }
    EXPECT_TRUE(Matches(*grammar, "It is {sunny}: <b>[1]</b>\n"));
    EXPECT_TRUE(Matches(*grammar, ""));
  }
}

TEST(CallGrammar, ReasoningMayComeBefore) {
  const ToolFormat& format = *FindToolFormat("hermes");
  const ReasoningTags* const tags = ReasoningTagsOf("</think>");
  CallSpec spec{.functions = {Functions()[2]}, .writing = WritingOf(format)};
  const std::string call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
  const std::string thought = "\nI < you é. </thi\n</think>\n\n";
  spec.reasoning = {CallReasoning::Place::kMay, std::string(tags->begin), std::string(tags->end), ""};
  const Result<Grammar> may = Compiled(spec);
  ASSERT_TRUE(may.ok());
  EXPECT_TRUE(Matches(*may, call));
  EXPECT_TRUE(Matches(*may, "<think>" + thought + call));
  EXPECT_FALSE(Matches(*may, thought + call));
  EXPECT_FALSE(Matches(*may, "<think>" + thought));
  std::string rest;
  EXPECT_EQ(Read(format, "<think>" + thought + call, &rest, tags).size(), 1u);
  EXPECT_EQ(rest, "I < you é. </thi");
  spec.reasoning.place = CallReasoning::Place::kBegun;
  const Result<Grammar> begun = Compiled(spec);
  ASSERT_TRUE(begun.ok());
  EXPECT_TRUE(Matches(*begun, thought + call));
  EXPECT_FALSE(Matches(*begun, call));
}

TEST(CallGrammar, SchemasAreRefusedByTheNameOfTheFunction) {
  CallSpec spec{.functions = Functions(), .writing = WritingOf(*FindToolFormat("llama3"))};
  spec.functions[1].parameters = boost::json::parse(R"({"type":"object","properties":{"a":{"not":{}}}})");
  std::vector<std::string> ignored;
  EXPECT_TRUE(Compiled(spec, &ignored).ok());
  EXPECT_EQ(ignored, std::vector<std::string>{"'not'"});
  spec.functions[1].strict = true;
  EXPECT_EQ(Compiled(spec).status().message(),
            "the parameters of 'get': #/properties/a: 'not' is not supported");
  spec.functions[1].parameters = boost::json::parse(R"({"type":"object","properties":{"a":{"type":"x"}}})");
  EXPECT_EQ(Compiled(spec).status().code(), Code::kInvalidArgument);
  spec.functions[1].parameters = boost::json::parse(R"({"type":"string"})");
  EXPECT_EQ(Compiled(spec).status().message(),
            "the parameters of 'get' must be an object, not of type \"string\"");
}

TEST(CallGrammar, AControlTokenIsTheTokenAndNothingElse) {
  Vocabulary plain({"", "<", "\xFF<c>\xFF", "c", ">", "{"}, {0}, 6);
  EXPECT_EQ(plain.Spelled("a<c>"), "a<c>");  // no control token is named
}

// Texts are compared with a search.
TEST(TextUntil, IsASearch) {
  Prng prng(7);
  const std::vector<std::string> alphabet = {"<", "/", "a", "\n", "é", "😀"};
  for (const std::string word : {"</a", "<<a", "<a<a/", "a"}) {
    std::map<TextEnds, ByteAutomaton> automata;
    for (const TextEnds ends : {TextEnds::kWithWord, TextEnds::kBefore, TextEnds::kWithLineAndWord}) {
      AutomatonBudget budget;
      Result<ByteAutomaton> made = TextUntil(word, ends, &budget);
      ASSERT_TRUE(made.ok());
      automata[ends] = *std::move(made);
    }
    size_t with = 0, lines = 0;
    for (int round = 0; round < 20000; ++round) {
      std::string text;
      for (uint64_t n = prng.Below(7); n > 0; --n) text += alphabet[prng.Below(alphabet.size())];
      if (prng.Chance(0.3)) text += "\n";
      if (prng.Chance(0.5)) text += word;
      const size_t at = text.find(word);
      const bool ends = at != std::string::npos && at + word.size() == text.size();
      const bool with_line = ends && at > 0 && text[at - 1] == '\n';
      with += ends ? 1 : 0;
      lines += with_line ? 1 : 0;
      EXPECT_EQ(automata[TextEnds::kWithWord].Matches(text), ends) << text;
      EXPECT_EQ(automata[TextEnds::kBefore].Matches(text), at == std::string::npos) << text;
      EXPECT_EQ(automata[TextEnds::kWithLineAndWord].Matches(text), with_line) << text;
    }
    EXPECT_GT(with, 1000u);
    EXPECT_GT(lines, 300u);
  }
  AutomatonBudget budget;
  const Result<ByteAutomaton> before = TextUntil("<", TextEnds::kBefore, &budget);
  for (const char* text : {"\xC3", "\xFF", "\xED\xA0\x80", "\xC0\x80", "\xF4\x90\x80\x80"})
    EXPECT_FALSE(before->Matches(text));
  EXPECT_TRUE(before->Matches("\xF4\x8F\xBF\xBF\xE0\xA0\x80"));
}

}  // namespace
}  // namespace prefixd::grammar
