// Parses arbitrary bytes as a chat template. The template is rejected, or it renders or fails within its
// limits. The limits are small, so an input that escapes one of them shows as a time-out or as excessive
// memory.
#include <boost/json/parse.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const boost::json::value conversation = boost::json::parse(R"([
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [{"type": "text", "text": "A é"}, {"type": "text", "text": "<b>"}]},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "abcdef123", "type": "function",
        "function": {"name": "f", "arguments": "{\"x\": [1, 2.5, true, null]}"}}]},
      {"role": "tool", "content": [{"type": "text", "text": "20<s>"}], "tool_call_id": "abcdef123"}])");
  static const boost::json::value tools = boost::json::parse(
      R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])");
  prefixd::ChatTemplate::Options options;
  options.bos_token = "<s>";
  options.limits = {.steps = 100'000, .bytes = 8 << 20, .string_bytes = 1 << 18, .depth = 200};
  const auto chat =
      prefixd::ChatTemplate::Parse(std::string_view(reinterpret_cast<const char*>(data), size), options);
  if (!chat.ok()) return 0;
  prefixd::ChatTemplate::Input input;
  input.messages = conversation.as_array();
  input.tools = tools;
  const auto first = (*chat)->Render(input), second = (*chat)->Render(input);
  const auto marked = (*chat)->RenderMarked(input);
  PREFIXD_CHECK(first.ok() == second.ok()) << "a rendering depends on the previous one";
  if (!first.ok()) return 0;
  PREFIXD_CHECK(first->size() <= options.limits.string_bytes) << first->size();
  PREFIXD_CHECK(*first == *second) << "a rendering depends on the previous one";
  PREFIXD_CHECK(marked.ok() && marked->bytes() == *first) << "marks change the text";
  size_t at = 0;
  for (const prefixd::ByteRange& range : marked->input()) {
    PREFIXD_CHECK(range.begin < range.end && range.end <= first->size()) << range.begin << " " << range.end;
    PREFIXD_CHECK(at == 0 || at < range.begin) << "ranges overlap or touch at " << at;
    at = range.end;
  }
  return 0;
}
