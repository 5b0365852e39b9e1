// Reads server-sent events and, from them, one streamed answer of an OpenAI-style server. Plain values; one
// thread each.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace prefixd::bench {

// Splits a byte stream into events (WHATWG HTML, "Server-sent events"). The bytes may be cut anywhere. Lines
// end with LF, CR or CRLF. Comments and all fields but `data` are skipped; several `data` lines of an event
// are joined by LF.
class SseReader {
 public:
  using OnData = std::function<void(std::string_view data)>;

  explicit SseReader(OnData on_data) : on_data_(std::move(on_data)) {}
  // Calls on_data for each event that `bytes` completes.
  void Append(std::string_view bytes);
  // The stream has ended: delivers an event without the empty line that ends it.
  void Finish();

 private:
  void EndLine();
  void EndEvent();

  OnData on_data_;
  std::string line_, data_;
  bool has_data_ = false;
  bool after_cr_ = false;   // skip an LF that comes next
  bool first_line_ = true;  // may begin with a byte order mark
};

// One streamed answer: its text, when its parts arrived, and its usage.
class Answer {
 public:
  // An event that arrived `seconds` after the request was sent.
  void OnData(std::string_view data, double seconds);

  const std::string& text() const { return text_; }
  // Arrival of each chunk that carries text.
  const std::vector<double>& arrivals() const { return arrivals_; }
  // The stream said [DONE] or gave a finish reason.
  bool complete() const { return complete_; }
  // Message of an error event or of an event that is not JSON; empty when there was none.
  const std::string& error() const { return error_; }
  // From the usage chunk; -1 where the server gives none.
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t completion_tokens() const { return completion_tokens_; }
  int64_t cached_tokens() const { return cached_tokens_; }

 private:
  std::string text_, error_;
  std::vector<double> arrivals_;
  bool complete_ = false;
  int64_t prompt_tokens_ = -1, completion_tokens_ = -1, cached_tokens_ = -1;
};

// The message of an OpenAI-style error body, or the beginning of the body if it is something else.
std::string ErrorMessage(std::string_view body);

}  // namespace prefixd::bench
