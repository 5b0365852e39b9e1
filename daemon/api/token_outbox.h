// TokenOutbox: passes the events of one sequence from the engine thread to the io thread of its exchange. It
// merges events when the io thread is slower than the engine.
//
// Threads: the engine thread calls OnEvent; the handler runs on the exchange's io thread.
//
// Invariants
//   1. At most one job per outbox is posted and not yet run. Events that arrive meanwhile are merged into the
//      pending one.
//   2. The handler receives every token once, in order, and the finish once, last.
//   3. All tokens and log probabilities are reserved from the byte budget, and the handler receives the
//      reservation with them. When the budget has no room, the outbox drops these tokens and all later ones,
//      and the handler receives `over_budget`.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "daemon/http/byte_budget.h"
#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

class TokenOutbox final : public RequestListener, public std::enable_shared_from_this<TokenOutbox> {
 public:
  struct Delivery {
    RequestEvent event;
    ByteBudget::Reservation reserved;  // of the event's tokens
    bool over_budget = false;
    size_t dropped = 0;  // generated tokens for which the budget had no room
  };
  using Handler = std::function<void(Delivery)>;
  TokenOutbox(std::shared_ptr<Exchange> exchange, Handler handler)
      : exchange_(std::move(exchange)),
        handler_(std::move(handler)),
        reserved_(exchange_->budget(), ByteBudget::Use::kAnswer) {}

  void OnEvent(RequestEvent event) override EXCLUDES(mutex_);

 private:
  void Reserve(RequestEvent* event) REQUIRES(mutex_);
  void Deliver() EXCLUDES(mutex_);

  const std::shared_ptr<Exchange> exchange_;
  const Handler handler_;
  Mutex mutex_;
  std::optional<RequestEvent> pending_ GUARDED_BY(mutex_);  // a job is posted if and only if this is set
  ByteBudget::Reservation reserved_ GUARDED_BY(mutex_);     // of the pending event
  bool over_budget_ GUARDED_BY(mutex_) = false;
  size_t dropped_ GUARDED_BY(mutex_) = 0;  // since the last delivery
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
