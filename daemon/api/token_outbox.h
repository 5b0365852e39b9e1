// TokenOutbox: passes the events of one sequence from the engine thread to the io thread of its exchange. It
// merges events when the io thread is slower than the engine.
//
// Threads: the engine thread calls OnEvent; the handler runs on the exchange's io thread.
//
// Invariants
//   1. At most one job per outbox is posted and not yet run. Events that arrive meanwhile are merged into the
//      pending one, so an outbox never holds more than the sequence's max_tokens tokens.
//   2. The handler receives every token once, in order, and the finish once, last.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

class TokenOutbox final : public RequestListener, public std::enable_shared_from_this<TokenOutbox> {
 public:
  using Handler = std::function<void(RequestEvent)>;
  TokenOutbox(std::shared_ptr<Exchange> exchange, Handler handler)
      : exchange_(std::move(exchange)), handler_(std::move(handler)) {}

  void OnEvent(RequestEvent event) override EXCLUDES(mutex_);

 private:
  void Deliver() EXCLUDES(mutex_);

  const std::shared_ptr<Exchange> exchange_;
  const Handler handler_;
  Mutex mutex_;
  std::optional<RequestEvent> pending_ GUARDED_BY(mutex_);  // a job is posted if and only if this is set
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
