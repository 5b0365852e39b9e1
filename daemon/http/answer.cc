#include "daemon/http/answer.h"

#include <array>
#include <charconv>
#include <utility>

#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

constexpr std::array<std::pair<int, std::string_view>, 18> kReasons = {
    {{200, "OK"},
     {204, "No Content"},
     {400, "Bad Request"},
     {401, "Unauthorized"},
     {403, "Forbidden"},
     {404, "Not Found"},
     {405, "Method Not Allowed"},
     {408, "Request Timeout"},
     {409, "Conflict"},
     {413, "Content Too Large"},
     {415, "Unsupported Media Type"},
     {417, "Expectation Failed"},
     {429, "Too Many Requests"},
     {431, "Request Header Fields Too Large"},
     {500, "Internal Server Error"},
     {501, "Not Implemented"},
     {503, "Service Unavailable"},
     {505, "HTTP Version Not Supported"}}};

std::string_view Reason(int status) {
  for (const auto& [number, text] : kReasons) {
    if (number == status) return text;
  }
  return "Unknown";
}

// A value must not be able to end its line.
void AppendField(std::string* out, std::string_view name, std::string_view value) {
  out->append(name).append(": ");
  for (const char c : value) out->push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c);
  out->append("\r\n");
}

std::string Chunk(std::string_view bytes) {
  char size[2 * sizeof(size_t)];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  std::string chunk(size, end);
  return chunk.append("\r\n").append(bytes).append("\r\n");
}

}  // namespace

Answer::Answer(AnswerTraits traits, std::shared_ptr<ExchangeHost> host)
    : traits_(std::move(traits)), host_(std::move(host)), keep_alive_(traits_.keep_alive) {}

std::string Answer::Head(const HttpResponse& response, bool stream) {
  if (host_->closing() || (stream && traits_.http_1_0)) keep_alive_ = false;
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head.append(Reason(response.status)).append("\r\n");
  AppendField(&head, "Server", "prefixd");
  AppendField(&head, "Content-Type", response.content_type);
  for (const auto& [name, value] : response.headers) AppendField(&head, name, value);
  AppendField(&head, "x-request-id", traits_.request_id);
  if (!stream) AppendField(&head, "Content-Length", std::to_string(response.body.size()));
  if (stream && !traits_.http_1_0) AppendField(&head, "Transfer-Encoding", "chunked");
  if (!keep_alive_) AppendField(&head, "Connection", "close");
  if (keep_alive_ && traits_.http_1_0) AppendField(&head, "Connection", "keep-alive");
  return head.append("\r\n");
}

void Answer::PushLocked(std::string bytes) {
  waiting_bytes_ += bytes.size();
  pieces_.push_back(std::move(bytes));
}

void Answer::Respond(HttpResponse response) {
  {
    std::lock_guard lock(mutex_);
    if (started_ || gone_) return;
    started_ = ended_ = true;
    on_disconnect_ = nullptr;
    PushLocked(Head(response, false));
    if (!traits_.head_only && !response.body.empty()) PushLocked(std::move(response.body));
  }
  host_->Wake();
}

void Answer::StartStream(HttpResponse head) {
  {
    std::lock_guard lock(mutex_);
    if (started_ || gone_) return;
    started_ = true;
    PushLocked(Head(head, true));
    if (!head.body.empty()) PushLocked(traits_.http_1_0 ? std::move(head.body) : Chunk(head.body));
  }
  host_->Wake();
}

bool Answer::Write(std::string piece) {
  {
    std::lock_guard lock(mutex_);
    if (!started_ || ended_ || gone_ || overflow_) return false;
    if (piece.empty()) return true;  // an empty chunk would end the stream
    if (waiting_bytes_ > traits_.backlog_limit) {
      overflow_ = true;
    } else {
      PushLocked(traits_.http_1_0 ? std::move(piece) : Chunk(piece));
    }
  }
  host_->Wake();
  std::lock_guard lock(mutex_);
  return !overflow_;
}

void Answer::EndStream() {
  {
    std::lock_guard lock(mutex_);
    if (!started_ || ended_ || gone_) return;
    ended_ = true;
    on_disconnect_ = nullptr;
    if (!traits_.http_1_0) PushLocked("0\r\n\r\n");
  }
  host_->Wake();
}

void Answer::OnDisconnect(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!gone_) {
      on_disconnect_ = std::move(callback);
      return;
    }
  }
  host_->Post(std::move(callback));
}

void Answer::Abandon() {
  bool started;
  {
    std::lock_guard lock(mutex_);
    if (ended_ || gone_) return;
    started = started_;
    if (started) overflow_ = true;
  }
  if (started) return host_->Wake();
  Respond(ErrorResponse({.status = 500,
                         .type = "server_error",
                         .code = "internal_error",
                         .message = "The request got no answer."}));
}

std::string Answer::Take(size_t limit) {
  std::lock_guard lock(mutex_);
  std::string bytes;
  while (!pieces_.empty() && !overflow_ && bytes.size() < limit) {
    std::string& piece = pieces_.front();
    if (bytes.empty() && piece.size() <= limit) {
      bytes = std::move(piece);
      pieces_.pop_front();
    } else if (piece.size() <= limit - bytes.size()) {
      bytes += piece;
      pieces_.pop_front();
    } else if (bytes.empty()) {
      bytes = piece.substr(0, limit);
      piece.erase(0, limit);
    } else {
      break;
    }
  }
  return bytes;
}

void Answer::Written(size_t bytes) {
  std::lock_guard lock(mutex_);
  waiting_bytes_ -= bytes;
}

bool Answer::finished() const {
  std::lock_guard lock(mutex_);
  return gone_ || overflow_ || (ended_ && pieces_.empty());
}

bool Answer::cut() const {
  std::lock_guard lock(mutex_);
  return gone_ || overflow_;
}

bool Answer::ended() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

bool Answer::keep_alive() const {
  std::lock_guard lock(mutex_);
  return ended_ && pieces_.empty() && !gone_ && !overflow_ && keep_alive_;
}

void Answer::MarkGone() {
  std::function<void()> callback;
  {
    std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_ = true;
    if (!ended_) callback = std::move(on_disconnect_);
    on_disconnect_ = nullptr;
    pieces_.clear();
  }
  if (callback) callback();
}

}  // namespace prefixd
