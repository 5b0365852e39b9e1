#include "daemon/api/token_outbox.h"

#include <iterator>

namespace prefixd {

namespace {

// *more becomes *begun and what it was.
void Append(std::vector<GeneratedToken>* begun, std::vector<GeneratedToken>* more) {
  std::move(more->begin(), more->end(), std::back_inserter(*begun));
  more->swap(*begun);
}

}  // namespace

void TokenOutbox::OnEvent(RequestEvent event) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_) {
      // The lists go on, the rest is as of the latest event.
      Append(&waiting_->prompt_logprobs, &event.prompt_logprobs);
      Append(&waiting_->tokens, &event.tokens);
      waiting_ = std::move(event);
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
