// EngineThread: the one thread that calls Engine::Step in a loop.
//
// Threads: the main thread constructs and destroys it. Any thread may call progress().
//
// Invariant: progress() grows at least once per step and once per idle tick. A value that does not change for
// longer than the longest step means a hang; the watchdog relies on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/engine.h"

namespace prefixd {

class EngineThread {
 public:
  // `engine` outlives this object. No other thread may call Step from now on.
  explicit EngineThread(Engine* engine);
  // Joins after the current step. Requests that are still in the engine get no more events.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  void Run();

  Engine* const engine_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> progress_{0};
  std::thread thread_;  // last member: it starts when the others are constructed
};

}  // namespace prefixd
