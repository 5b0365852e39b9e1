// EngineThread: the one thread that calls Engine::Step in a loop.
//
// Threads: the main thread constructs and destroys it. Any thread may call progress().
//
// Invariant: progress() grows after every step, and at least about every 100 ms while the engine is idle. So
// the thread hangs when progress() does not change for longer than the longest step takes. The watchdog
// relies on this.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/engine.h"

namespace prefixd {

class EngineThread {
 public:
  // Starts the thread. `engine` must outlive this object. No other thread may call Step from now on.
  explicit EngineThread(Engine* engine);
  // Waits for the current step to end and joins the thread. Requests that are still in the engine get no more
  // events from it.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // Counts the steps and the idle waits.
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  void Run();

  Engine* const engine_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> progress_{0};
  std::thread thread_;  // last member: it starts when the others are constructed
};

}  // namespace prefixd
