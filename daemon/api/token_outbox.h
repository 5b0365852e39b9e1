// The way of a sequence's news from the engine thread to the io thread of its exchange: one box per sequence,
// one job at a time.
//
// Threads: OnEvent on the engine thread, the handler on the exchange's io thread.
//
// Invariants
//   1. At most one job per box is posted and not yet run, whatever the io thread's delay; what comes
//   meanwhile is added to it.
//      So a box never holds more than the sequence's max_tokens tokens.
//   2. The handler hears every token once, in order, and the finish once, last.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "daemon/http/exchange.h"
#include "engine/request.h"

namespace prefixd {

class TokenOutbox final : public RequestListener, public std::enable_shared_from_this<TokenOutbox> {
 public:
  using Handler = std::function<void(RequestEvent)>;
  TokenOutbox(std::shared_ptr<Exchange> exchange, Handler handler)
      : exchange_(std::move(exchange)), handler_(std::move(handler)) {}

  void OnEvent(RequestEvent event) override;

 private:
  void Deliver();

  const std::shared_ptr<Exchange> exchange_;
  const Handler handler_;
  std::mutex mutex_;
  std::optional<RequestEvent> waiting_;  // a job is posted exactly while there is something
};

}  // namespace prefixd
