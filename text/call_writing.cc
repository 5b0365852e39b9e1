#include "text/call_writing.h"

#include <algorithm>
#include <boost/json.hpp>
#include <tuple>
#include <utility>

#include "text/output/output_parser.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using Parts = std::vector<CallPart>;
using Kind = CallPart::Kind;

bool HasArguments(const CallPart& part) {
  return part.kind == Kind::kArguments || part.kind == Kind::kTags || part.kind == Kind::kKeywords;
}

void AddText(std::string_view text, Parts* parts) {
  if (text.empty()) return;
  if (parts->empty() || parts->back().kind != Kind::kText) parts->push_back({Kind::kText});
  parts->back().text.append(text);
}

void AddParts(const Parts& more, Parts* parts) {
  for (const CallPart& part : more) {
    if (part.kind == Kind::kText) {
      AddText(part.text, parts);
    } else {
      parts->push_back(part);
    }
  }
}

// The parts up to the arguments, with them, and the others.
std::pair<Parts, Parts> CutAtArguments(const Parts& parts) {
  const auto end = std::find_if(parts.begin(), parts.end(), HasArguments);
  const auto after = end == parts.end() ? end : end + 1;
  return {Parts(parts.begin(), after), Parts(after, parts.end())};
}

// The parts of one step.
void AddStep(const FormatStep& step, Parts* parts) {
  switch (step.kind) {
    case StepKind::kText:
    case StepKind::kMaybe:
    case StepKind::kSpace:
      AddText(step.text, parts);
      break;
    case StepKind::kName:
      parts->push_back({Kind::kName});
      break;
    case StepKind::kNameAsId:
      AddText("functions.", parts);
      parts->push_back({Kind::kName});
      AddText(":", parts);
      parts->push_back({Kind::kNumber});
      break;
    case StepKind::kId:
      parts->push_back({Kind::kId});
      break;
    case StepKind::kCall:
      AddText("{\"name\": \"", parts);
      parts->push_back({Kind::kName});
      AddText("\", \"" + std::string(step.text) + "\": ", parts);
      parts->push_back({Kind::kArguments});
      AddText("}", parts);
      break;
    case StepKind::kArguments:
      parts->push_back({Kind::kArguments});
      break;
    case StepKind::kTags:
      parts->push_back({.kind = Kind::kTags, .tags = step.tags});
      break;
    case StepKind::kPython:
      parts->push_back({Kind::kName});
      AddText("(", parts);
      parts->push_back({Kind::kKeywords});
      AddText(")", parts);
      break;
  }
}

// What a template is asked to render. No template contains these words itself.
constexpr std::string_view kNames[] = {"qzxfirst", "qzxsecond"};
constexpr std::string_view kIds[] = {"qzxcall01", "qzxcall02"};
constexpr std::string_view kArguments[] = {R"({"qzxkey": "qzxvalue"})", R"({"qzxkey": "qzxother"})"};

json::array Tools() {
  json::array tools;
  for (const std::string_view name : kNames) {
    const json::object schema = {{"type", "object"},
                                 {"properties", {{"qzxkey", json::object{{"type", "string"}}}}}};
    const json::object function = {{"name", name}, {"description", "d"}, {"parameters", schema}};
    tools.push_back(json::object{{"type", "function"}, {"function", function}});
  }
  return tools;
}

json::object Answer(size_t calls) {
  json::array list;
  for (size_t i = 0; i < calls; ++i)
    list.push_back(json::object{{"id", kIds[i]},
                                {"type", "function"},
                                {"function", {{"name", kNames[i]}, {"arguments", kArguments[i]}}}});
  return {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", list}};
}

// How the template renders the answer: what follows the prompt for it, up to the token that ends it.
std::optional<std::string> RenderAnswer(const ChatTemplate& chat_template, std::span<const std::string> ends,
                                        size_t calls) {
  ChatTemplate::Input input;
  input.messages = {json::object{{"role", "user"}, {"content", "u"}}};
  input.tools = Tools();
  const Result<std::string> prompt = chat_template.Render(input);
  input.messages.push_back(Answer(calls));
  input.add_generation_prompt = false;
  const Result<std::string> whole = chat_template.Render(input);
  if (!prompt.ok() || !whole.ok() || !whole->starts_with(*prompt)) return std::nullopt;
  std::string answer = whole->substr(prompt->size());
  const size_t last = answer.rfind(kArguments[calls - 1]);
  if (last == std::string::npos) return std::nullopt;
  size_t end = std::string::npos;
  for (const std::string& text : ends) end = std::min(end, answer.find(text, last));
  if (end == std::string::npos) return std::nullopt;
  answer.resize(end);
  return answer;
}

// Whether the parser finds the calls, and nothing else.
bool IsUnderstood(const ToolFormat& format, std::string_view answer, size_t calls) {
  ToolNames names;
  for (const std::string_view name : kNames) names.emplace(name, ToolTypes());
  const auto parser =
      MakeOutputParser({.format = &format, .tools = std::make_shared<const ToolNames>(std::move(names))});
  parser->Push(answer);
  parser->Finish();
  std::string found, wanted;
  for (const OutputEvent& event : parser->Take()) found += event.text + ";";
  for (size_t i = 0; i < calls; ++i) wanted.append(kNames[i]).append(";").append(kArguments[i]).append(";;");
  return found == wanted;
}

Parts Split(std::string_view answer) {
  Parts parts;
  while (!answer.empty()) {
    const auto take = [&](std::span<const std::string_view> words, Kind kind) {
      for (const std::string_view word : words) {
        if (!answer.starts_with(word)) continue;
        parts.push_back({kind});
        answer.remove_prefix(word.size());
        return true;
      }
      return false;
    };
    if (take(kNames, Kind::kName) || take(kIds, Kind::kId) || take(kArguments, Kind::kArguments)) continue;
    AddText(answer.substr(0, 1), &parts);
    answer.remove_prefix(1);
  }
  return parts;
}

// Requires writing->first.
void SetTrigger(const ToolFormat& format, CallWriting* writing) {
  if (format.channels) return;
  std::string_view text = writing->first[0].text;
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \n")));
  const bool begins_with_text = format.call[0].kind == StepKind::kText && format.bare == 0;
  for (const std::string_view word : {format.open, begins_with_text ? format.call[0].text : ""})
    if (!word.empty() && format.bare == 0 && text.starts_with(word) && writing->trigger.empty())
      writing->trigger = word;
  if (writing->trigger.empty()) writing->opening = format.open;
}

}  // namespace

CallWriting WritingOf(const ToolFormat& format) {
  CallWriting writing{.ids = format.ids};
  if (format.channels) {
    AddText("<|channel|>commentary to=functions.", &writing.first);
    writing.first.push_back({Kind::kName});
    AddText(" <|constrain|>json<|message|>", &writing.first);
    writing.first.push_back({Kind::kArguments});
    return writing;
  }
  Parts call;
  for (size_t i = 0; i < format.call.size(); ++i) {
    const bool with_id = i + 1 < format.call.size() && format.call[i + 1].kind == StepKind::kId;
    if (format.call[i].kind == StepKind::kMaybe && with_id) {
      ++i;  // most models write none
    } else {
      AddStep(format.call[i], &call);
    }
  }
  const auto [head, tail] = CutAtArguments(call);
  const std::string open = format.bare != 0 ? "" : std::string(format.open) + (format.each ? "\n" : "");
  AddText(open, &writing.first);
  AddParts(head, &writing.first);
  AddParts(tail, &writing.next);
  AddText(format.each ? format.close : "", &writing.next);
  AddText(format.between.empty() ? "\n" : std::string(format.between) + " ", &writing.next);
  AddText(format.each ? open : "", &writing.next);
  Parts again = head;
  if (format.close == "]" && again[0].text.starts_with('[')) again[0].text.erase(0, 1);  // one list has all
  AddParts(again, &writing.next);
  AddParts(tail, &writing.last);
  AddText(format.close, &writing.last);
  SetTrigger(format, &writing);
  return writing;
}

CallWriting WritingOf(const ToolFormat& format, const ChatTemplate& chat_template,
                      std::span<const std::string> ends) {
  const std::optional<std::string> one = RenderAnswer(chat_template, ends, 1);
  if (!one || !IsUnderstood(format, *one, 1)) return WritingOf(format);
  CallWriting writing{.ids = format.ids};
  std::tie(writing.first, writing.last) = CutAtArguments(Split(*one));
  SetTrigger(format, &writing);
  const std::optional<std::string> two = RenderAnswer(chat_template, ends, 2);
  if (!two || !IsUnderstood(format, *two, 2)) return writing;
  const auto [first, others] = CutAtArguments(Split(*two));
  const auto [next, last] = CutAtArguments(others);
  if (first == writing.first && last == writing.last) writing.next = next;
  return writing;
}

}  // namespace prefixd
