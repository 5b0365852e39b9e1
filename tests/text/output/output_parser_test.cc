#include "text/output/output_parser.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "tests/text/output/output_cases.h"
#include "text/output/json_scanner.h"

namespace prefixd {
namespace {

using Kind = OutputEvent::Kind;

std::shared_ptr<const ToolNames> Tools() {
  static const auto tools = std::make_shared<const ToolNames>(ToolNames{
      {"get_weather",
       {{{"city", {"string"}}, {"days", {"integer"}}, {"note", {"null", "string"}}, {"tags", {"array"}}}}},
      {"now", {}},
      {"get", {}}});
  return tools;
}

OutputOptions OptionsOf(const OutputCase& one) {
  OutputOptions options{.tools = Tools(), .begins_in_reasoning = one.begins_in_reasoning, .id_seed = 7};
  options.format = one.format.empty() ? nullptr : FindToolFormat(one.format);
  if (one.format != "harmony") options.reasoning = ReasoningTagsOf("</think>");
  return options;
}

// Everything that the events say, with what must hold of their order checked.
struct Parsed {
  std::string content, reasoning;
  std::vector<ExpectedCall> calls;
  std::vector<std::string> ids;
  bool cut = false;  // the last call has no complete arguments
  bool operator==(const Parsed&) const = default;
};

class Collector {
 public:
  void Add(const std::vector<OutputEvent>& events) {
    for (const OutputEvent& event : events) {
      if (event.kind == Kind::kContent) parsed_.content += event.text;
      if (event.kind == Kind::kReasoning) parsed_.reasoning += event.text;
      if (event.kind == Kind::kContent || event.kind == Kind::kReasoning) {
        EXPECT_FALSE(open_) << "a text within a call";
        EXPECT_FALSE(event.text.empty());
        continue;
      }
      EXPECT_EQ(open_, event.kind != Kind::kCall);
      if (event.kind == Kind::kCall) {
        parsed_.calls.push_back({event.text, ""});
        parsed_.ids.push_back(event.id);
      }
      EXPECT_EQ(event.call + 1, parsed_.calls.size());
      if (event.kind == Kind::kArguments) parsed_.calls.back().arguments += event.text;
      open_ = event.kind != Kind::kCallEnd;
    }
  }
  Parsed Done(const OutputParser& parser) {
    EXPECT_FALSE(open_) << "a call without an end";
    parsed_.cut = parser.calls() < parsed_.calls.size();
    EXPECT_EQ(parser.calls() + (parsed_.cut ? 1 : 0), parsed_.calls.size());
    return parsed_;
  }

 private:
  Parsed parsed_;
  bool open_ = false;
};

// Parses a text cut before the given bytes.
Parsed Parse(const OutputOptions& options, const std::string& text, const std::set<size_t>& cuts) {
  const auto parser = MakeOutputParser(options);
  Collector collector;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    parser->Push(std::string_view(text).substr(begin, cut - begin));
    begin = cut;
    collector.Add(parser->Take());
  }
  parser->Push(std::string_view(text).substr(begin));
  parser->Finish();
  collector.Add(parser->Take());
  return collector.Done(*parser);
}

std::set<size_t> EveryByte(const std::string& text) {
  std::set<size_t> cuts;
  for (size_t i = 1; i < text.size(); ++i) cuts.insert(i);
  return cuts;
}

Parsed Expected(const OutputCase& one, const std::vector<std::string>& made_ids) {
  Parsed expected{one.content, one.reasoning, {}, {}};
  for (size_t i = 0; i < one.calls.size(); ++i) {
    expected.calls.push_back({one.calls[i].name, one.calls[i].arguments});
    const bool made = one.calls[i].id.empty() && i < made_ids.size();
    expected.ids.push_back(made ? made_ids[i] : one.calls[i].id);
  }
  return expected;
}

std::string Describe(const Parsed& parsed) {
  std::string text = "content '" + parsed.content + "' reasoning '" + parsed.reasoning + "'";
  for (const ExpectedCall& call : parsed.calls) text += " call " + call.name + " " + call.arguments;
  return text;
}

TEST(OutputParser, ReadsRecordedTextsHoweverTheyAreCut) {
  Prng prng(3);
  for (const OutputCase& one : OutputCases()) {
    const OutputOptions options = OptionsOf(one);
    SCOPED_TRACE(std::string(one.format) + ": " + one.text);
    const Parsed whole = Parse(options, one.text, {});
    ASSERT_EQ(whole, Expected(one, whole.ids)) << Describe(whole);
    ASSERT_EQ(Parse(options, one.text, EveryByte(one.text)), whole);
    for (size_t cut = 1; cut < one.text.size(); ++cut)
      ASSERT_EQ(Parse(options, one.text, {cut}), whole) << cut;
    for (int i = 0; i < 20; ++i) {
      std::set<size_t> cuts;
      for (uint64_t n = prng.Below(6); n > 0; --n) cuts.insert(prng.Below(one.text.size()));
      ASSERT_EQ(Parse(options, one.text, cuts), whole);
    }
  }
}

TEST(OutputParser, EveryFormatHasACase) {
  std::set<std::string_view> seen;
  for (const OutputCase& one : OutputCases())
    if (!one.calls.empty()) seen.insert(one.format);
  for (const ToolFormat& format : ToolFormats()) EXPECT_TRUE(seen.contains(format.name)) << format.name;
}

// A text that ends anywhere: its complete calls are those of the whole text, and what is left is content.
TEST(OutputParser, ATextThatEndsAnywhereLosesNothing) {
  for (const OutputCase& one : OutputCases()) {
    const OutputOptions options = OptionsOf(one);
    const Parsed whole = Parse(options, one.text, {});
    for (size_t length = 0; length < one.text.size(); ++length) {
      const std::string text = one.text.substr(0, length);
      SCOPED_TRACE(std::string(one.format) + ": " + text);
      const Parsed part = Parse(options, text, {});
      ASSERT_EQ(part, Parse(options, text, EveryByte(text)));
      ASSERT_LE(part.calls.size(), whole.calls.size());
      ASSERT_FALSE(part.cut);
      for (size_t i = 0; i < part.calls.size(); ++i) ASSERT_TRUE(part.calls[i] == whole.calls[i]);
      // The part of the text that belongs to no call is there, up to white space and tags.
      if (one.format != "harmony" && part.calls.empty() && part.reasoning.empty() && !part.content.empty()) {
        ASSERT_NE(text.find(part.content), std::string::npos);
      }
    }
  }
}

TEST(OutputParser, TrustedCallsComeAsTheyAreGenerated) {
  for (const OutputCase& one : OutputCases()) {
    if (one.calls.empty()) continue;
    OutputOptions options = OptionsOf(one);
    SCOPED_TRACE(std::string(one.format) + ": " + one.text);
    const Parsed whole = Parse(options, one.text, {});
    options.trusted = true;
    const Parsed trusted = Parse(options, one.text, EveryByte(one.text));
    ASSERT_EQ(trusted, Parse(options, one.text, {}));
    // A malformed call before a good one is the only difference.
    if (one.content.find("<tool_call>") == std::string::npos) {
      ASSERT_EQ(trusted.calls, whole.calls);  // an id that comes late is not awaited
      ASSERT_EQ(trusted.content + trusted.reasoning, whole.content + whole.reasoning);
    }
    for (size_t length = 0; length < one.text.size(); ++length) {
      const std::string text = one.text.substr(0, length);
      const Parsed part = Parse(options, text, {});
      ASSERT_EQ(part, Parse(options, text, EveryByte(text)));
      for (size_t i = 0; i < part.calls.size(); ++i) {
        const std::string& arguments = whole.calls[i].arguments;
        ASSERT_TRUE(arguments.starts_with(part.calls[i].arguments) || part.calls[i].arguments == arguments);
      }
    }
  }
}

TEST(OutputParser, ArgumentsOfATrustedCallComeInPieces) {
  OutputOptions options{.format = FindToolFormat("hermes"), .tools = Tools(), .trusted = true};
  options.prefix = "<tool_call>\n{\"name\": \"now\", \"arguments\": ";
  const auto parser = MakeOutputParser(options);
  const std::vector<OutputEvent> begin = parser->Take();
  ASSERT_EQ(begin.size(), 1u);
  EXPECT_EQ(begin[0].text, "now");
  for (const char c : std::string(R"({"a": 1})")) {
    parser->Push({&c, 1});
    const std::vector<OutputEvent> events = parser->Take();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].text, std::string(1, c));
  }
  EXPECT_EQ(parser->calls(), 0u);  // the outer object is still open
  parser->Push("}");
  EXPECT_EQ(parser->calls(), 1u);
}

TEST(OutputParser, HostileTextsTakeLinearMemory) {
  const OutputOptions options{.format = FindToolFormat("hermes"), .tools = Tools()};
  // A call of megabytes.
  const std::string big = R"({"a": ")" + std::string(4 << 20, 'x') + R"("})";
  Parsed parsed = Parse(options, "<tool_call>{\"name\": \"now\", \"arguments\": " + big + "}", {});
  ASSERT_EQ(parsed.calls.size(), 1u);
  EXPECT_EQ(parsed.calls[0].arguments, big);
  // Thousands of calls, and a thousand that are begun and never end.
  std::string many, begun;
  for (int i = 0; i < 5000; ++i) {
    many += "<tool_call>{\"name\": \"now\"}</tool_call>\n";
    begun += "<tool_call>";
  }
  EXPECT_EQ(Parse(options, many, {}).calls.size(), 5000u);
  EXPECT_EQ(Parse(options, begun, {}).content, begun);
  // Deep arguments.
  const size_t most = JsonScanner::kMostDepth;
  for (const size_t depth : {most - 1, most}) {
    const std::string deep = "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
    parsed = Parse(options, "<tool_call>{\"name\": \"now\", \"arguments\": " + deep + "}", {});
    EXPECT_EQ(parsed.calls.size(), depth < most ? 1u : 0u);
  }
  const std::string python = "[now(a=" + std::string(100'000, '[') + ")]";
  const OutputOptions pythonic{.format = FindToolFormat("pythonic"), .tools = Tools()};
  EXPECT_EQ(Parse(pythonic, python, {}).content, python);
}

TEST(OutputParser, HeldBytesCountWhatIsHeld) {
  const auto parser = MakeOutputParser({.format = FindToolFormat("hermes"), .tools = Tools()});
  parser->Push("<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"" + std::string(100'000, 'x'));
  EXPECT_FALSE(parser->has_events());
  EXPECT_GE(parser->held_bytes(), 200'000u);
}

}  // namespace
}  // namespace prefixd
