#include "daemon/api/token_outbox.h"

#include <iterator>

namespace prefixd {

void TokenOutbox::OnEvent(RequestEvent event) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_) {
      std::vector<GeneratedToken> tokens = std::move(waiting_->tokens);
      std::move(event.tokens.begin(), event.tokens.end(), std::back_inserter(tokens));
      waiting_ = std::move(event);
      waiting_->tokens = std::move(tokens);
      return;
    }
    waiting_ = std::move(event);
  }
  exchange_->Post([self = shared_from_this()] { self->Deliver(); });
}

void TokenOutbox::Deliver() {
  std::optional<RequestEvent> event;
  {
    std::lock_guard lock(mutex_);
    event.swap(waiting_);
  }
  if (event) handler_(*std::move(event));
}

}  // namespace prefixd
