// The engine thread: the one thread that loops Engine::Step. Started and stopped by the lifecycle; progress() from any thread.
//
// Invariant: progress() grows at least once per step and once per idle tick, so that a value that stands still for
// longer than the longest step means a hang. The watchdog rests on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/engine.h"

namespace prefixd {

class EngineThread {
 public:
  // `engine` outlives this object; from now on no one else calls Step.
  explicit EngineThread(Engine* engine);
  // Joins after the step that is running. Requests that are left in the engine get no more events.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  void Run();

  Engine* const engine_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> progress_{0};
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace prefixd
