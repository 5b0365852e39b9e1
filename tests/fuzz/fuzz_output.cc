// Parses any text as the output of a model, in every format. The events do not depend on how the text is cut.
// Calls name a tool, and their arguments are JSON objects. Content and reasoning are parts of the text, in
// its order.
//
// Input: the number of the format, flags, a seed for the cuts, and the text.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "base/utf8.h"
#include "text/output/output_parser.h"

namespace {

using namespace prefixd;
using Kind = OutputEvent::Kind;

constexpr uint8_t kTrusted = 1, kReasoning = 2, kBeginsInReasoning = 4;

OutputOptions OptionsOf(uint8_t format, uint8_t flags) {
  static const auto tools = std::make_shared<const ToolNames>(
      ToolNames{{"f", {{{"city", {"string"}}, {"days", {"integer", "null"}}}}}, {"now", {}}});
  OutputOptions options;
  options.format = &ToolFormats()[format % ToolFormats().size()];
  options.tools = tools;
  options.trusted = (flags & kTrusted) != 0;
  if ((flags & (kReasoning | kBeginsInReasoning)) != 0) options.reasoning = ReasoningTagsOf("</think>");
  options.begins_in_reasoning = (flags & kBeginsInReasoning) != 0;
  return options;
}

// The events, with adjacent texts joined.
std::vector<OutputEvent> Parse(const OutputOptions& options, std::string_view text, uint64_t seed) {
  const auto parser = MakeOutputParser(options);
  std::vector<OutputEvent> joined;
  const auto take = [&] {
    for (OutputEvent& event : parser->Take()) {
      const bool is_text = event.kind != Kind::kCall && event.kind != Kind::kCallEnd;
      if (is_text && !joined.empty() && joined.back().kind == event.kind &&
          joined.back().call == event.call) {
        joined.back().text += event.text;
      } else {
        joined.push_back(std::move(event));
      }
    }
  };
  Prng prng(seed);
  while (seed != 0 && !text.empty()) {
    const size_t length = std::min<size_t>(text.size(), 1 + prng.Below(1 + seed % 16));
    parser->Push(text.substr(0, length));
    text.remove_prefix(length);
    take();
  }
  parser->Push(text);
  parser->Finish();
  take();
  return joined;
}

void CheckCall(const std::string& name, const std::string& arguments) {
  PREFIXD_CHECK(name == "f" || name == "now") << name;
  boost::system::error_code failed;
  boost::json::parse_options deep;
  deep.max_depth = 1000;
  const boost::json::value value = boost::json::parse(arguments, failed, {}, deep);
  PREFIXD_CHECK(!failed && value.is_object()) << arguments;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const OutputOptions options = OptionsOf(data[0], data[1]);
  const std::string text = RepairUtf8({reinterpret_cast<const char*>(data) + 3, size - 3});
  const std::vector<OutputEvent> events = Parse(options, text, 0);
  PREFIXD_CHECK(events == Parse(options, text, data[2])) << text;
  size_t at = 0;  // behind the content and reasoning so far
  for (size_t i = 0; i < events.size(); ++i) {
    const OutputEvent& event = events[i];
    if (event.kind == Kind::kContent || event.kind == Kind::kReasoning) {
      for (const char c : event.text) {
        at = text.find(c, at);
        PREFIXD_CHECK(at++ != std::string_view::npos) << event.text;
      }
    } else if (event.kind == Kind::kCall && !options.trusted) {
      const bool has = i + 1 < events.size() && events[i + 1].kind == Kind::kArguments;
      CheckCall(event.text, has ? events[i + 1].text : "");
    }
  }
  return 0;
}
