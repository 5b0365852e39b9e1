#include "text/output/tool_format.h"

#include <algorithm>

#include "base/prng.h"

namespace prefixd {
namespace {

constexpr ArgumentTags kQwenTags{"<parameter=", ">", "", "</parameter>", /*line_feeds=*/true};
constexpr ArgumentTags kGlmTags{"<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};

using enum StepKind;

const ToolFormat kFormats[] = {
    {.name = "harmony",
     .signatures = {{"<|channel|>", "<|message|>"}},
     .call = {{kArguments}},
     .channels = true},
    {.name = "qwen3-coder",
     .signatures = {{"<function=", "<parameter="}},
     .open = "<tool_call>",
     .call = {{kText, "<function="},
              {kName},
              {kText, ">"},
              {kSpace, "\n"},
              {kTags, "", &kQwenTags},
              {kText, "</function>"},
              {kSpace, "\n"}},
     .close = "</tool_call>",
     .each = true},
    {.name = "functionary",
     .signatures = {{"<function=", "</function>"}},
     .call = {{kText, "<function="},
              {kName},
              {kText, ">"},
              {kSpace, ""},
              {kArguments},
              {kSpace, ""},
              {kText, "</function>"}}},
    {.name = "glm",
     .signatures = {{"<arg_key>"}},
     .call = {{kText, "<tool_call>"},
              {kSpace, ""},
              {kName},
              {kSpace, "\n"},
              {kTags, "", &kGlmTags},
              {kText, "</tool_call>"}}},
    {.name = "kimi",
     .signatures = {{"<|tool_calls_section_begin|>"}},
     .open = "<|tool_calls_section_begin|>",
     .call = {{kText, "<|tool_call_begin|>"},
              {kSpace, ""},
              {kNameAsId},
              {kSpace, ""},
              {kText, "<|tool_call_argument_begin|>"},
              {kSpace, ""},
              {kArguments},
              {kSpace, ""},
              {kText, "<|tool_call_end|>"}},
     .close = "<|tool_calls_section_end|>"},
    {.name = "deepseek-v3",
     .signatures = {{"<｜tool▁call▁begin｜>", "```json"}},
     .open = "<｜tool▁calls▁begin｜>",
     .call = {{kText, "<｜tool▁call▁begin｜>"},
              {kText, "function<｜tool▁sep｜>"},
              {kName},
              {kSpace, "\n"},
              {kText, "```json"},
              {kSpace, "\n"},
              {kArguments},
              {kSpace, "\n"},
              {kText, "```"},
              {kText, "<｜tool▁call▁end｜>"}},
     .close = "<｜tool▁calls▁end｜>"},
    {.name = "deepseek-v3.1",
     .signatures = {{"<｜tool▁call▁begin｜>"}},
     .open = "<｜tool▁calls▁begin｜>",
     .call = {{kText, "<｜tool▁call▁begin｜>"},
              {kName},
              {kText, "<｜tool▁sep｜>"},
              {kSpace, ""},
              {kArguments},
              {kSpace, ""},
              {kText, "<｜tool▁call▁end｜>"}},
     .close = "<｜tool▁calls▁end｜>"},
    {.name = "mistral",
     .signatures = {{"[TOOL_CALLS]", "[ARGS]"}},
     .call = {{kText, "[TOOL_CALLS]"},
              {kName},
              {kMaybe, "[CALL_ID]"},
              {kId},
              {kMaybe, "[ARGS]"},
              {kSpace, ""},
              {kArguments}},
     .ids = CallIdStyle::kNineCharacters},
    {.name = "mistral-v7",
     .signatures = {{"[TOOL_CALLS]"}},
     .open = "[TOOL_CALLS]",
     .call = {{kSpace, ""}, {kMaybe, "["}, {kSpace, ""}, {kCall, "arguments"}},
     .between = ",",
     .close = "]",
     .ids = CallIdStyle::kNineCharacters},
    {.name = "granite",
     .signatures = {{"<|tool_call|>"}},
     .open = "<|tool_call|>",
     .call = {{kSpace, ""}, {kMaybe, "["}, {kSpace, ""}, {kCall, "arguments"}},
     .between = ",",
     .close = "]"},
    {.name = "hermes",
     .signatures = {{"<tool_call>", "arguments"}},
     .call = {{kText, "<tool_call>"},
              {kSpace, "\n"},
              {kCall, "arguments"},
              {kSpace, "\n"},
              {kText, "</tool_call>"}}},
    {.name = "llama3",
     .signatures = {{"<|python_tag|>"}, {"\"parameters\": dictionary of argument name"}},
     .open = "<|python_tag|>",
     .call = {{kSpace, ""}, {kCall, "parameters"}},
     .between = ";",
     .bare = '{'},
    {.name = "pythonic",
     .signatures = {{"[func_name1(params_name1=params_value1"}},
     .open = "<|python_start|>",
     .call = {{kSpace, ""}, {kMaybe, "["}, {kSpace, ""}, {kPython}},
     .between = ",",
     .close = "]",
     .bare = '['},
    {.name = "generic",
     .call = {{kText, "{"},
              {kSpace, ""},
              {kText, "\"tool_call\""},
              {kSpace, ""},
              {kText, ":"},
              {kSpace, " "},
              {kCall, "arguments"},
              {kSpace, ""},
              {kText, "}"}},
     .bare = '{'},
};

constexpr ReasoningTags kReasoningTags[] = {{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}};

bool Has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

std::span<const ToolFormat> ToolFormats() { return kFormats; }

const ToolFormat* FindToolFormat(std::string_view name) {
  for (const ToolFormat& format : kFormats)
    if (format.name == name) return &format;
  return nullptr;
}

const ToolFormat& ToolFormatOf(std::string_view chat_template) {
  for (const ToolFormat& format : kFormats) {
    for (const auto& texts : format.signatures) {
      if (std::all_of(texts.begin(), texts.end(),
                      [&](std::string_view text) { return Has(chat_template, text); }))
        return format;
    }
  }
  return std::end(kFormats)[-1];
}

const ReasoningTags* ReasoningTagsOf(std::string_view chat_template) {
  for (const ReasoningTags& tags : kReasoningTags)
    if (Has(chat_template, tags.end)) return &tags;
  return nullptr;
}

std::vector<std::string_view> MarkersOf(const ToolFormat* format, const ReasoningTags* reasoning) {
  std::vector<std::string_view> markers;
  const auto add = [&](std::string_view text) {
    if (text.size() > 1) markers.push_back(text);
  };
  if (reasoning != nullptr) {
    add(reasoning->begin);
    add(reasoning->end);
  }
  if (format == nullptr) return markers;
  add(format->open);
  add(format->close);
  for (const FormatStep& step : format->call) {
    if (step.kind == kText || step.kind == kMaybe) add(step.text);
    if (step.tags == nullptr) continue;
    for (const std::string_view tag :
         {step.tags->key, step.tags->key_end, step.tags->value, step.tags->value_end})
      add(tag);
  }
  if (format->channels) {
    for (const std::string_view text :
         {"<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|call|>", "<|return|>"})
      add(text);
  }
  return markers;
}

std::string MakeCallId(CallIdStyle style, uint64_t seed, size_t number) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  Prng prng(RandomAt(seed, number));
  std::string id = style == CallIdStyle::kOpenAi ? "call_" : "";
  for (int i = style == CallIdStyle::kOpenAi ? 24 : 9; i > 0; --i) id += kDigits[prng.Below(kDigits.size())];
  return id;
}

}  // namespace prefixd
