#include "daemon/http/response_buffer.h"

#include <array>
#include <charconv>
#include <utility>

#include "base/check.h"
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

constexpr std::string_view kLastChunk = "0\r\n\r\n";
// What a piece takes in addition to its bytes: the string, its reference count and the frame of a chunk.
constexpr size_t kPieceBytes = 96;
// A body up to this size, such as that of an error, is sent however full the budget is.
constexpr size_t kAlwaysSentBytes = 4096;

// Replaces control characters, so that a value cannot end its line and add a header.
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

ResponseBuffer::ResponseBuffer(ResponseOptions options, std::shared_ptr<Connection> connection)
    : options_(std::move(options)),
      connection_(std::move(connection)),
      reserved_(connection_->budget(), ByteBudget::Use::kAnswer),
      keep_alive_(options_.keep_alive),
      request_id_(options_.request_id) {}

std::string ResponseBuffer::HeadLocked(const HttpResponse& response, bool stream) {
  if (connection_->closing() || (stream && options_.http_1_0)) keep_alive_ = false;
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head.append(Reason(response.status)).append("\r\n");
  AppendField(&head, "Server", "prefixd");
  const bool has_content = response.status != 204;
  if (has_content) AppendField(&head, "Content-Type", response.content_type);
  for (const auto& [name, value] : response.headers) AppendField(&head, name, value);
  for (const auto& [name, value] : headers_) AppendField(&head, name, value);
  for (const auto& [name, value] : options_.headers) AppendField(&head, name, value);
  AppendField(&head, "x-request-id", request_id_);
  if (!options_.errors->id_header.empty()) AppendField(&head, options_.errors->id_header, request_id_);
  if (!stream && has_content) AppendField(&head, "Content-Length", std::to_string(response.body.size()));
  if (stream && !options_.http_1_0) AppendField(&head, "Transfer-Encoding", "chunked");
  if (!keep_alive_) AppendField(&head, "Connection", "close");
  if (keep_alive_ && options_.http_1_0) AppendField(&head, "Connection", "keep-alive");
  return head.append("\r\n");
}

void ResponseBuffer::PushLocked(std::string bytes, size_t reserved) {
  unsent_bytes_ += bytes.size();
  pieces_.push_back({std::make_shared<const std::string>(std::move(bytes)), reserved});
}

void ResponseBuffer::PushSmallLocked(std::string bytes) {
  const size_t reserved = bytes.size() + kPieceBytes;
  reserved_.Add(reserved);
  PushLocked(std::move(bytes), reserved);
}

void ResponseBuffer::PopLocked() {
  reserved_popped_ += pieces_.front().reserved;
  pieces_.pop_front();
  front_taken_ = 0;
}

// Lets the source write the next piece, or ends the body.
void ResponseBuffer::PullLocked(size_t limit) {
  constexpr size_t kChunkFrame = 2 * sizeof(size_t) + 4;
  std::string part;
  source_->Next(limit > kChunkFrame ? limit - kChunkFrame : 1, &part);
  if (!part.empty()) return PushLocked(chunked() ? Chunk(part) : std::move(part), 0);
  source_ = nullptr;
  if (chunked()) PushLocked(std::string(kLastChunk), 0);
}

void ResponseBuffer::RespondLocked(HttpResponse response) {
  started_ = ended_ = true;
  on_disconnect_ = nullptr;
  const size_t size = options_.head_only ? 0 : response.body.size();
  reserved_.Absorb(std::move(response.reserved));
  reserved_.ShrinkTo(size > kAlwaysSentBytes ? size : 0);
  if (size > kAlwaysSentBytes && !reserved_.TryGrow(size - reserved_.bytes())) {
    reserved_.ShrinkTo(0);
    response = ErrorLocked(NoRoomError(connection_->budget()));
  }
  const size_t reserved = reserved_.bytes();  // 0: a small body, which PushSmallLocked reserves
  PushSmallLocked(HeadLocked(response, response.source != nullptr));
  if (options_.head_only) return;
  source_ = std::move(response.source);
  if (response.body.empty()) return;
  if (source_ != nullptr && chunked()) response.body = Chunk(response.body);
  if (reserved == 0) return PushSmallLocked(std::move(response.body));
  PushLocked(std::move(response.body), reserved);
}

void ResponseBuffer::Respond(HttpResponse response) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!std::exchange(answered_, true)) << request_id_ << ": a second response";
    if (started_ || disconnected_) return;
    RespondLocked(std::move(response));
  }
  connection_->Wake();
}

void ResponseBuffer::RespondIfUnanswered(HttpResponse response) {
  {
    MutexLock lock(mutex_);
    if (started_ || disconnected_) return;
    RespondLocked(std::move(response));
  }
  connection_->Wake();
}

void ResponseBuffer::StartStream(HttpResponse head) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!std::exchange(answered_, true)) << request_id_ << ": a second response";
    if (started_ || disconnected_) return;
    started_ = true;
    event_stream_ = head.content_type.starts_with("text/event-stream");
    PushSmallLocked(HeadLocked(head, true));
    if (!head.body.empty()) PushSmallLocked(chunked() ? Chunk(head.body) : std::move(head.body));
  }
  connection_->Wake();
}

bool ResponseBuffer::Write(std::string piece, ByteBudget::Reservation reserved) {
  bool written;
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(answered_) << request_id_ << ": Write before StartStream";
    if (!started_ || ended_ || disconnected_ || overflow_ || room_ == Room::kExplained) return false;
    if (piece.empty()) return true;  // an empty chunk would end the stream
    written = room_ == Room::kFound ? WriteLocked(std::move(piece), std::move(reserved))
                                    : ExplainLocked(std::move(piece));
  }
  connection_->Wake();
  return written;
}

bool ResponseBuffer::WriteLocked(std::string piece, ByteBudget::Reservation given) {
  const size_t reserved = piece.size() + kPieceBytes;
  overflow_ = unsent_bytes_ > options_.backlog_limit;
  if (overflow_) return false;
  given.ShrinkTo(reserved);
  const size_t before = reserved_.bytes(), missing = reserved - given.bytes();
  reserved_.Absorb(std::move(given));
  // Many small reservations together must not take the room for short requests.
  if (!reserved_.WithinShare() || !reserved_.TryGrow(missing)) {
    reserved_.ShrinkTo(before);
    room_ = Room::kMissing;
    return false;
  }
  PushLocked(chunked() ? Chunk(piece) : std::move(piece), reserved);
  return true;
}

// The last piece of a stream that found no room.
bool ResponseBuffer::ExplainLocked(std::string piece) {
  if (piece.size() > kAlwaysSentBytes) return false;
  room_ = Room::kExplained;
  PushSmallLocked(chunked() ? Chunk(piece) : std::move(piece));
  return true;
}

void ResponseBuffer::EndStream() {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(answered_) << request_id_ << ": EndStream before StartStream";
    if (!started_ || ended_ || disconnected_) return;
    on_disconnect_ = nullptr;
    ended_ = room_ != Room::kMissing;
    if (!ended_) {
      overflow_ = true;  // a part is missing, and the client must not take the rest for a whole answer
    } else if (chunked())
      PushSmallLocked(std::string(kLastChunk));
  }
  connection_->Wake();
}

void ResponseBuffer::OnDisconnect(std::function<void()> callback) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!std::exchange(has_callback_, true)) << request_id_ << ": a second OnDisconnect";
    if (ended_ && !interrupted_) return;
    if (!disconnected_ && !interrupted_) {
      on_disconnect_ = std::move(callback);
      return;
    }
  }
  connection_->Post(std::move(callback));
}

void ResponseBuffer::Abandon() {
  bool started;
  {
    MutexLock lock(mutex_);
    if (ended_ || disconnected_) return;
    started = started_;
    if (started) overflow_ = true;
  }
  if (started) return connection_->Wake();
  RespondIfUnanswered(ErrorResponse({.status = 500,
                                     .type = "server_error",
                                     .code = "internal_error",
                                     .message = "The server produced no response to this request."},
                                    errors(), request_id()));
}

void ResponseBuffer::SetRequestId(std::string id) {
  MutexLock lock(mutex_);
  if (!started_) request_id_ = std::move(id);
}

void ResponseBuffer::SetHeaders(HttpHeaders headers) {
  MutexLock lock(mutex_);
  headers_ = std::move(headers);
}

std::string ResponseBuffer::request_id() const {
  MutexLock lock(mutex_);
  return request_id_;
}

void ResponseBuffer::Interrupt(const ApiError& error) {
  std::function<void()> callback;
  {
    MutexLock lock(mutex_);
    if (ended_ || disconnected_ || overflow_) return;
    callback = std::move(on_disconnect_);
    keep_alive_ = false;
    interrupted_ = true;
    if (!started_) {
      RespondLocked(ErrorLocked(error));
    } else if (event_stream_) {
      on_disconnect_ = nullptr;
      std::string event = options_.errors->event(error, request_id_);
      PushSmallLocked(chunked() ? Chunk(event) : std::move(event));
      if (chunked()) PushSmallLocked(std::string(kLastChunk));
      ended_ = true;
    } else {
      on_disconnect_ = nullptr;
      overflow_ = true;
    }
  }
  connection_->Wake();
  if (callback) callback();
}

bool ResponseBuffer::interrupted() const {
  MutexLock lock(mutex_);
  return interrupted_;
}

bool ResponseBuffer::Probe() {
  {
    MutexLock lock(mutex_);
    if (ended_ || disconnected_ || overflow_) return true;  // what is sent anyway serves as well
    if (!started_ && options_.http_1_0) return false;
    constexpr std::string_view kComment = ": ping\n\n";
    if (!started_) PushLocked("HTTP/1.1 100 Continue\r\n\r\n", 0);
    if (started_ && event_stream_) PushLocked(chunked() ? Chunk(kComment) : std::string(kComment), 0);
  }
  connection_->Wake();
  return true;
}

OutgoingBytes ResponseBuffer::TakeBytes(size_t limit) {
  MutexLock lock(mutex_);
  if (overflow_ || disconnected_) return {};
  if (pieces_.empty() && source_ != nullptr) PullLocked(limit);
  if (pieces_.empty()) return {};
  writing_ = true;
  const std::string_view rest = std::string_view(*pieces_.front().text).substr(front_taken_);
  if (rest.size() >= limit || pieces_.size() == 1 || pieces_[1].text->size() > limit - rest.size()) {
    OutgoingBytes taken{pieces_.front().text, rest.substr(0, limit)};
    front_taken_ += taken.bytes.size();
    if (front_taken_ == pieces_.front().text->size()) PopLocked();
    return taken;
  }
  // Short pieces, as of a stream, are joined, so that each does not cost a write.
  std::string joined(rest);
  PopLocked();
  while (!pieces_.empty() && pieces_.front().text->size() <= limit - joined.size()) {
    joined += *pieces_.front().text;
    PopLocked();
  }
  const auto owner = std::make_shared<const std::string>(std::move(joined));
  return {owner, *owner};
}

void ResponseBuffer::MarkWritten(size_t bytes) {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(bytes <= unsent_bytes_) << bytes << " of " << unsent_bytes_;
  unsent_bytes_ -= bytes;
  writing_ = false;
  reserved_.Shrink(std::exchange(reserved_popped_, 0));
}

bool ResponseBuffer::drained() const {
  MutexLock lock(mutex_);
  return disconnected_ || overflow_ || (ended_ && pieces_.empty() && source_ == nullptr);
}

bool ResponseBuffer::aborted() const {
  MutexLock lock(mutex_);
  return disconnected_ || overflow_;
}

bool ResponseBuffer::ended() const {
  MutexLock lock(mutex_);
  return ended_;
}

bool ResponseBuffer::large() const {
  MutexLock lock(mutex_);
  return source_ != nullptr || reserved_.bytes() > ByteBudget::kSmallAnswerBytes;
}

bool ResponseBuffer::keep_alive() const {
  MutexLock lock(mutex_);
  return ended_ && pieces_.empty() && source_ == nullptr && !disconnected_ && !overflow_ && keep_alive_;
}

void ResponseBuffer::MarkDisconnected() {
  std::function<void()> callback;
  {
    MutexLock lock(mutex_);
    if (disconnected_) return;
    disconnected_ = true;
    if (!ended_) callback = std::move(on_disconnect_);
    on_disconnect_ = nullptr;
    // The connection still has the bytes that it is writing. MarkWritten returns their reservation.
    if (writing_ && front_taken_ > 0) reserved_popped_ += pieces_.front().reserved;
    if (!writing_) reserved_popped_ = 0;
    reserved_.ShrinkTo(reserved_popped_);
    pieces_.clear();
    source_ = nullptr;
    front_taken_ = 0;
  }
  if (callback) callback();
}

}  // namespace prefixd
