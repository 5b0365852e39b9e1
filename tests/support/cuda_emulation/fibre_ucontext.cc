// With its checks, longjmp takes a jump to another stack for an error.
#undef _FORTIFY_SOURCE
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "tests/support/cuda_emulation/fibre.h"

namespace prefixd::cuda_emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;
using Stack = std::unique_ptr<std::byte[]>;

// Stacks that no fibre has.
std::vector<Stack>& FreeStacks() {
  static thread_local std::vector<Stack> stacks;
  return stacks;
}

}  // namespace

struct Fibre::State {
  ~State() { FreeStacks().push_back(std::move(stack)); }
  // The arguments of makecontext are of type int: two halves of the address of a State.
  static void Run(unsigned high, unsigned low) {
    auto* const state = reinterpret_cast<State*>(uint64_t{high} << 32 | low);
    state->body();
    state->ended = true;
    _longjmp(state->caller, 1);
  }

  Stack stack;
  std::function<void()> body;
  bool began = false, ended = false;
  ucontext_t begin = {};  // of the stack; used once
  jmp_buf fibre, caller;  // where it and its caller go on: without the system calls of swapcontext
};

Fibre::Fibre() = default;
Fibre::~Fibre() = default;
Fibre::Fibre(Fibre&&) noexcept = default;
Fibre& Fibre::operator=(Fibre&&) noexcept = default;

void Fibre::Prepare(std::function<void()> body) {
  state_ = std::make_unique<State>();
  if (std::vector<Stack>& free = FreeStacks(); free.empty()) {
    state_->stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  } else {
    state_->stack = std::move(free.back());
    free.pop_back();
  }
  state_->body = std::move(body);
  PREFIXD_CHECK(getcontext(&state_->begin) == 0);
  state_->begin.uc_stack.ss_sp = state_->stack.get();
  state_->begin.uc_stack.ss_size = kStackBytes;
  const auto address = reinterpret_cast<uint64_t>(state_.get());
  makecontext(&state_->begin, reinterpret_cast<void (*)()>(&State::Run), 2,
              static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
}

void Fibre::Resume() {
  State* const state = state_.get();
  PREFIXD_CHECK(!state->ended);
  if (_setjmp(state->caller) != 0) return;
  if (state->began) _longjmp(state->fibre, 1);
  state->began = true;
  setcontext(&state->begin);
  PREFIXD_CHECK(false) << "setcontext failed";
}
void Fibre::GoBack() {
  State* const state = state_.get();
  if (_setjmp(state->fibre) == 0) _longjmp(state->caller, 1);
}

const void* Fibre::stack() const { return state_->stack.get(); }
size_t Fibre::stack_bytes() const { return kStackBytes; }

}  // namespace prefixd::cuda_emulation
