// EngineThread: the one thread that calls Engine::Advance in a loop.
//
// Threads: the main thread constructs and destroys it. Any thread may call progress().
//
// Invariant: progress() grows at least about every 100 ms while no step is in flight, and with every part of
// a layer while one is; on a device, a step in which every row decodes may be one such part. So the engine
// hangs when progress() does not change for longer than a layer of a step takes. The watchdog relies on this.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "engine/engine.h"

namespace prefixd {

class EngineThread {
 public:
  // Starts the thread. `engine` must outlive this object. No other thread may call Advance or Step from now
  // on.
  explicit EngineThread(Engine* engine);
  // Joins the thread. Requests that are still in the engine get no more
  // events from it.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  uint64_t progress() const { return engine_->progress(); }

 private:
  void Run();

  Engine* const engine_;
  std::atomic<bool> stop_{false};
  std::thread thread_;  // last member: it starts when the others are constructed
};

}  // namespace prefixd
