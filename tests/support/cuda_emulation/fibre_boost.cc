#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <utility>

#include "tests/support/cuda_emulation/fibre.h"

namespace prefixd::cuda_emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;

// Remembers the last stack that it gave. Boost makes copies of it.
class Stacks {
 public:
  boost::context::stack_context allocate() { return *last_ = pool_.allocate(); }
  void deallocate(boost::context::stack_context& stack) { pool_.deallocate(stack); }
  const boost::context::stack_context& last() const { return *last_; }

 private:
  boost::context::pooled_fixedsize_stack pool_{kStackBytes};
  std::shared_ptr<boost::context::stack_context> last_ = std::make_shared<boost::context::stack_context>();
};
Stacks& OwnStacks() {
  static thread_local Stacks stacks;
  return stacks;
}

}  // namespace

struct Fibre::State {
  boost::context::stack_context stack;
  boost::context::fiber fiber;
  boost::context::fiber caller;
};

Fibre::Fibre() = default;
Fibre::~Fibre() = default;
Fibre::Fibre(Fibre&&) noexcept = default;
Fibre& Fibre::operator=(Fibre&&) noexcept = default;

void Fibre::Prepare(std::function<void()> body) {
  state_ = std::make_unique<State>();
  State* const state = state_.get();
  state->fiber = boost::context::fiber(std::allocator_arg, OwnStacks(),
                                       [state, body = std::move(body)](boost::context::fiber&& caller) {
                                         state->caller = std::move(caller);
                                         body();
                                         return std::move(state->caller);
                                       });
  state->stack = OwnStacks().last();
}

void Fibre::Resume() { state_->fiber = std::move(state_->fiber).resume(); }
void Fibre::GoBack() { state_->caller = std::move(state_->caller).resume(); }

const void* Fibre::stack() const {
  return static_cast<const std::byte*>(state_->stack.sp) - state_->stack.size;
}
size_t Fibre::stack_bytes() const { return state_->stack.size; }

}  // namespace prefixd::cuda_emulation
