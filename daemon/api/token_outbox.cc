#include "daemon/api/token_outbox.h"

#include <iterator>

#include "base/check.h"
#include "daemon/api/choice_decoder.h"

namespace prefixd {

namespace {

// Puts the elements of *first before those of *second.
void Prepend(std::vector<GeneratedToken>* first, std::vector<GeneratedToken>* second) {
  std::move(second->begin(), second->end(), std::back_inserter(*first));
  second->swap(*first);
}

}  // namespace

// Reserves the bytes of the event's tokens, or drops the tokens.
void TokenOutbox::Reserve(RequestEvent* event) {
  size_t bytes = 0;
  for (const GeneratedToken& token : event->tokens) bytes += HeldBytes(token);
  for (const GeneratedToken& token : event->prompt_logprobs) bytes += HeldBytes(token);
  over_budget_ = over_budget_ || !reserved_.TryGrow(bytes);
  if (!over_budget_) return;
  dropped_ += event->tokens.size();
  event->tokens.clear();
  event->prompt_logprobs.clear();
}

void TokenOutbox::OnEvent(RequestEvent event) {
  bool posts = false;
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!finished_) << exchange_->request_id() << ": an event after the finish";
    finished_ = event.finish.has_value();
    Reserve(&event);
    if (pending_) {
      // The lists are joined. The other members are those of the latest event; not each has the misses.
      if (event.misses == nullptr) event.misses = std::move(pending_->misses);
      Prepend(&pending_->prompt_logprobs, &event.prompt_logprobs);
      Prepend(&pending_->tokens, &event.tokens);
      pending_ = std::move(event);
    } else {
      pending_ = std::move(event);
      posts = true;
    }
  }
  if (!posts) return exchange_->Nudge();
  exchange_->Post([self = shared_from_this()] { self->Deliver(); });
}

void TokenOutbox::Deliver() {
  std::optional<RequestEvent> event;
  Delivery delivery;
  {
    MutexLock lock(mutex_);
    event.swap(pending_);
    std::swap(delivery.reserved, reserved_);
    reserved_ = ByteBudget::Reservation(exchange_->budget(), ByteBudget::Use::kAnswer);
    delivery.over_budget = over_budget_;
    delivery.dropped = std::exchange(dropped_, 0);
  }
  if (!event) return;
  delivery.event = *std::move(event);
  handler_(std::move(delivery));
}

}  // namespace prefixd
