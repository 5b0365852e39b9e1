// Fibre: a function that runs on a stack of its own, and gives the processor back in its midst. Two
// implementations: fibre_boost.cc, on Boost.Context, and fibre_ucontext.cc, on the C library alone. The build
// links one of them.
//
// Stacks are kept by the thread that makes fibres. A fibre is used and destroyed by that thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace prefixd::cuda_emulation {

class Fibre {
 public:
  Fibre();
  ~Fibre();
  Fibre(Fibre&&) noexcept;
  Fibre& operator=(Fibre&&) noexcept;

  // Gives it a stack and its function, which begins with the first Resume. Once.
  void Prepare(std::function<void()> body);
  // Runs the function until it calls GoBack or ends. Requires that it has not ended.
  void Resume();
  // Called by the function: returns from Resume.
  void GoBack();

  // Of Prepare: the lowest address of the stack.
  const void* stack() const;
  size_t stack_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prefixd::cuda_emulation
