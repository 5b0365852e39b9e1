#include "bench/serve_sse.h"

#include <boost/json.hpp>

namespace prefixd::bench {
namespace {

namespace json = boost::json;

// Member `name` of `value`; null when `value` is no object or has no such member.
const json::value* Member(const json::value* value, std::string_view name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  return object == nullptr ? nullptr : object->if_contains({name.data(), name.size()});
}

int64_t Integer(const json::value* value) {
  if (value == nullptr) return -1;
  if (const int64_t* number = value->if_int64()) return *number;
  return -1;
}

std::string_view Text(const json::value* value) {
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string_view() : std::string_view(text->data(), text->size());
}

// Text of a chunk: `text` of a completion, `delta` of a chat. Reasoning is output as well.
std::string ChunkText(const json::value& choice) {
  std::string text(Text(Member(&choice, "text")));
  const json::value* delta = Member(&choice, "delta");
  for (const char* name : {"reasoning_content", "reasoning", "content"}) text += Text(Member(delta, name));
  return text;
}

std::string Shortened(std::string_view body) {
  constexpr size_t kLongest = 300;
  return std::string(body.substr(0, kLongest)) + (body.size() > kLongest ? "..." : "");
}

}  // namespace

void SseReader::Append(std::string_view bytes) {
  for (const char c : bytes) {
    const bool skip = after_cr_ && c == '\n';
    after_cr_ = c == '\r';
    if (skip) continue;
    if (c == '\n' || c == '\r') {
      EndLine();
    } else {
      line_ += c;
    }
  }
}

void SseReader::Finish() {
  if (!line_.empty()) EndLine();
  EndEvent();
}

void SseReader::EndLine() {
  std::string_view line = line_;
  if (first_line_ && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  first_line_ = false;
  if (line.empty()) {
    EndEvent();
  } else {
    const size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    std::string_view value = colon == line.npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (name == "data") {
      if (has_data_) data_ += '\n';
      data_ += value;
      has_data_ = true;
    }
  }
  line_.clear();
}

void SseReader::EndEvent() {
  if (has_data_) on_data_(data_);
  data_.clear();
  has_data_ = false;
}

void Answer::OnData(std::string_view data, double seconds) {
  if (data == "[DONE]") {
    complete_ = true;
    return;
  }
  boost::system::error_code parse_error;
  const json::value event = json::parse({data.data(), data.size()}, parse_error);
  if (parse_error) {
    if (error_.empty()) error_ = "an event of the stream is not JSON: " + Shortened(data);
    return;
  }
  const json::value* failure = Member(&event, "error");
  if (failure != nullptr && !failure->is_null()) {
    if (error_.empty()) error_ = ErrorMessage(data);
    return;
  }
  const json::value* choices = Member(&event, "choices");
  std::string text;
  if (choices != nullptr && choices->is_array()) {
    for (const json::value& choice : choices->get_array()) {
      text += ChunkText(choice);
      if (!Text(Member(&choice, "finish_reason")).empty()) complete_ = true;
    }
  }
  if (!text.empty()) {
    text_ += text;
    arrivals_.push_back(seconds);
  }
  if (const json::value* usage = Member(&event, "usage"); usage != nullptr && usage->is_object()) {
    prompt_tokens_ = Integer(Member(usage, "prompt_tokens"));
    completion_tokens_ = Integer(Member(usage, "completion_tokens"));
    const int64_t cached = Integer(Member(Member(usage, "prompt_tokens_details"), "cached_tokens"));
    if (cached >= 0) cached_tokens_ = cached;
  }
  // llama.cpp's server reports its cache here; the usage chunk of some versions does not.
  if (cached_tokens_ < 0) cached_tokens_ = Integer(Member(Member(&event, "timings"), "cache_n"));
}

std::string ErrorMessage(std::string_view body) {
  boost::system::error_code parse_error;
  const json::value value = json::parse({body.data(), body.size()}, parse_error);
  if (!parse_error) {
    const json::value* error = Member(&value, "error");
    for (const json::value* message :
         {Member(error, "message"), error, Member(&value, "message"), Member(&value, "detail")}) {
      if (!Text(message).empty()) return std::string(Text(message));
    }
  }
  return body.empty() ? "(no text)" : Shortened(body);
}

}  // namespace prefixd::bench
