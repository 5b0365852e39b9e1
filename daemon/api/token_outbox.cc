#include "daemon/api/token_outbox.h"

#include <iterator>

#include "base/check.h"

namespace prefixd {

namespace {

// Puts the elements of *first before those of *second.
void Prepend(std::vector<GeneratedToken>* first, std::vector<GeneratedToken>* second) {
  std::move(second->begin(), second->end(), std::back_inserter(*first));
  second->swap(*first);
}

}  // namespace

void TokenOutbox::OnEvent(RequestEvent event) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!finished_) << exchange_->request_id() << ": an event after the finish";
    finished_ = event.finish.has_value();
    if (pending_) {
      // The lists are joined. The other members are those of the latest event.
      Prepend(&pending_->prompt_logprobs, &event.prompt_logprobs);
      Prepend(&pending_->tokens, &event.tokens);
      pending_ = std::move(event);
      return;
    }
    pending_ = std::move(event);
  }
  exchange_->Post([self = shared_from_this()] { self->Deliver(); });
}

void TokenOutbox::Deliver() {
  std::optional<RequestEvent> event;
  {
    MutexLock lock(mutex_);
    event.swap(pending_);
  }
  if (event) handler_(*std::move(event));
}

}  // namespace prefixd
