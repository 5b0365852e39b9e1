#include "daemon/api/prompt_marks.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <utility>

#include "daemon/api/cache_request.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr std::string_view kSpace = " \t\r\n\f\v";
constexpr double kControlLifetime = 5 * kMinute;  // of a cache_control without one
constexpr std::string_view kMembers[] = {"prompt_cache_breakpoint", "cache_control"};

// The lifetime that a member says; nothing where it is absent.
Parsed<std::optional<double>> LifetimeOf(const json::object& holder, const std::string& place) {
  std::optional<double> seconds;
  for (const std::string_view name : kMembers) {
    const json::value* found = holder.if_contains(name);
    if (found == nullptr || found->is_null()) continue;
    const std::string path = place + "." + std::string(name);
    const json::object* object = found->if_object();
    if (object == nullptr) return BadParameter(path, "'" + path + "' must be an object.", "invalid_type");
    double own = name == kMembers[0] ? 0 : kControlLifetime;
    const json::value* ttl = object->if_contains("ttl");
    if (ttl != nullptr && !ttl->is_null()) {
      const auto parsed = ttl->is_string() ? ParseLifetime(ttl->get_string()) : std::nullopt;
      if (!parsed)
        return BadParameter(path + ".ttl",
                            "'" + path +
                                ".ttl' must be a number of minutes or hours up to 24h, such as '5m' or "
                                "'1h', not " +
                                QuoteJson(*ttl) + ".",
                            "invalid_value");
      own = *parsed;
    }
    seconds = std::max(seconds.value_or(0), own);
  }
  return seconds;
}

void DropMembers(json::object* holder) {
  for (const std::string_view name : kMembers) holder->erase(name);
}

// The text of a part, before its last white space, which a template may strip.
void AppendTo(json::value* text, const std::string& mark) {
  if (text == nullptr || !text->is_string()) return;
  json::string& bytes = text->get_string();
  const size_t end = std::string_view(bytes).find_last_not_of(kSpace);
  bytes.insert(end == std::string_view::npos ? bytes.size() : end + 1, mark);
}

json::value* TextIn(json::value* part) {
  json::object* object = part->if_object();
  return object == nullptr ? part : object->if_contains("text");
}

json::value* NameOfTool(json::value* tool) {
  json::object* object = tool->if_object();
  json::value* function = object == nullptr ? nullptr : object->if_contains("function");
  if (function == nullptr) function = tool;
  return function->is_object() ? function->get_object().if_contains("name") : nullptr;
}

}  // namespace

void CopyMark(const json::object& from, json::object* to) {
  for (const std::string_view name : kMembers) {
    const json::value* found = from.if_contains(name);
    if (found != nullptr && !found->is_null()) to->emplace(name, *found);
  }
}

std::string PromptMarks::MarkOf(size_t place) const { return mark_ + std::to_string(place) + "Zq"; }

std::optional<ApiError> PromptMarks::Take(ChatTemplate::Input* input) {
  const auto take = [&](json::value& holder, Where where, const std::string& at) -> std::optional<ApiError> {
    json::object* object = holder.if_object();
    if (object == nullptr) return std::nullopt;
    Parsed<std::optional<double>> seconds = LifetimeOf(*object, at);
    if (!seconds.ok()) return seconds.error();
    DropMembers(object);
    if (!*seconds) return std::nullopt;
    where.seconds = **seconds;
    places_.push_back(where);
    return std::nullopt;
  };
  if (input->tools.is_array()) {
    json::array& tools = input->tools.get_array();
    for (size_t i = 0; i < tools.size(); ++i) {
      const std::string at = "tools[" + std::to_string(i) + "]";
      if (auto error = take(tools[i], {.tool = true, .message = i}, at)) return error;
    }
  }
  for (size_t i = 0; i < input->messages.size(); ++i) {
    json::object* message = input->messages[i].if_object();
    json::value* content = message == nullptr ? nullptr : message->if_contains("content");
    if (content == nullptr || !content->is_array()) continue;
    for (size_t j = 0; j < content->get_array().size(); ++j) {
      const std::string at = "messages[" + std::to_string(i) + "].content[" + std::to_string(j) + "]";
      if (auto error = take(content->get_array()[j], {.message = i, .part = j}, at)) return error;
    }
  }
  if (places_.size() > kMostBreakpoints) places_.erase(places_.begin(), places_.end() - kMostBreakpoints);
  return std::nullopt;
}

ChatTemplate::Input PromptMarks::Marked(ChatTemplate::Input input, std::string_view prompt) {
  for (int number = 0; mark_.empty() || prompt.find(mark_) != std::string_view::npos; ++number)
    mark_ = "QzBreakpoint" + std::to_string(number) + "at";
  for (size_t i = 0; i < places_.size(); ++i) {
    const Where& where = places_[i];
    if (where.tool) {
      AppendTo(NameOfTool(&input.tools.get_array().at(where.message)), MarkOf(i));
      continue;
    }
    json::array& parts = input.messages.at(where.message).at("content").get_array();
    AppendTo(TextIn(&parts.at(where.part)), MarkOf(i));
  }
  return input;
}

Parsed<std::vector<Breakpoint>> PromptMarks::Place(const MarkedText& prompt, const MarkedText& marked,
                                                   const std::vector<TokenId>& ids,
                                                   const Encode& encode) const {
  const std::string_view bytes = marked.bytes();
  std::vector<std::pair<size_t, size_t>> found;  // where a mark begins, and its number
  for (size_t i = 0; i < places_.size(); ++i) {
    const size_t at = bytes.find(MarkOf(i));
    if (at != std::string_view::npos) found.emplace_back(at, i);
  }
  std::ranges::sort(found);
  std::string before;  // the text without marks, up to here
  size_t copied = 0;
  std::vector<std::pair<size_t, double>> ends;  // bytes of the prompt, seconds
  for (const auto& [at, number] : found) {
    before += bytes.substr(copied, at - copied);
    copied = at + MarkOf(number).size();
    size_t end = before.size();
    if (!std::string_view(prompt.bytes()).starts_with(before)) break;
    if (places_[number].tool) {  // the end of the whole tool: it is one text of the request
      for (const ByteRange& range : prompt.input())
        if (range.begin < end && end < range.end) end = range.end;
    }
    ends.emplace_back(end, places_[number].seconds);
  }
  std::vector<Breakpoint> breakpoints;
  for (const auto& [end, seconds] : ends) {
    Parsed<std::vector<TokenId>> part = encode(end);
    if (!part.ok()) return part.error();
    const auto differs = std::ranges::mismatch(*part, ids).in1;
    const int tokens = static_cast<int>(differs - part->begin());
    if (!breakpoints.empty() && breakpoints.back().tokens >= tokens) {
      breakpoints.back().seconds = std::max(breakpoints.back().seconds, seconds);
    } else if (tokens > 0) {
      breakpoints.push_back({tokens, seconds});
    }
  }
  return breakpoints;
}

}  // namespace prefixd
