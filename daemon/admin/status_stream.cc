#include "daemon/admin/status_stream.h"

#include "base/log.h"
#include "daemon/http/error_response.h"
#include "daemon/limit_table.h"

namespace prefixd {

int StatusStreams::open() const {
  MutexLock lock(mutex_);
  return open_;
}

void StatusStreams::Start(const std::shared_ptr<Exchange>& exchange) {
  bool room;
  {
    MutexLock lock(mutex_);
    room = open_ < Limit("admin-streams");
    if (room) ++open_;
  }
  if (!room) {
    return RespondError(*exchange, {.status = 503,
                                    .type = "server_error",
                                    .code = "too_many_streams",
                                    .message = "There are " + std::to_string(Limit("admin-streams")) +
                                               " streams of the status; ask /admin/status instead.",
                                    .retry_after = 10});
  }
  exchange->StartStream({.headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}},
                         .content_type = "text/event-stream",
                         .body = Event()});
  exchange->PostAfter(kSeconds, [this, exchange] { Send(exchange); });
}

void StatusStreams::Send(const std::shared_ptr<Exchange>& exchange) {
  if (exchange->disconnected() || exchange->interrupted()) return End();
  if (exchange->Write(Event())) {
    exchange->PostAfter(kSeconds, [this, exchange] { Send(exchange); });
    return;
  }
  exchange->EndStream();
  ++counters_.dropped_streams;
  Log(LogLevel::kWarning, "a stream of the admin listener was dropped, because its client does not read",
      {{"request_id", exchange->request_id()}});
  End();
}

void StatusStreams::End() {
  MutexLock lock(mutex_);
  --open_;
}

std::string StatusStreams::Event() {
  const double now = clock_.NowSeconds();
  MutexLock lock(mutex_);
  if (event_.empty() || now >= made_ + kSeconds / 2) {
    event_ = "data: " + status_() + "\n\n";
    made_ = now;
  }
  return event_;
}

}  // namespace prefixd
