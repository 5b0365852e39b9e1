// Fork and join for the compute threads of a backend: Run() spreads numbered units over the calling thread
// and the workers.
//
// One owner calls Run(). Workers spin for some tens of microseconds after a round, for the next one is mostly
// near, then sleep; a machine that is shared gets its cores back. A round never waits for a worker that has
// not begun: the owner takes the units itself. It does wait for units that a worker holds.
//
// Invariants
//   1. Run() returns after every unit has been run exactly once; what the units wrote is seen by the caller.
//   2. `worker` is 0 .. threads()-1 and no two units run at once under the same number.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace prefixd {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // the caller's included, so 1 starts none
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(unit, worker) for unit = 0 .. units-1, in any order.
  template <typename Fn>
  void Run(int units, const Fn& fn) {
    if (workers_.empty() || units <= 1) {
      for (int unit = 0; unit < units; ++unit) fn(unit, 0);
      return;
    }
    RunShared(
        units, [](const void* f, int unit, int worker) { (*static_cast<const Fn*>(f))(unit, worker); }, &fn);
  }

 private:
  using Call = void (*)(const void* fn, int unit, int worker);

  void RunShared(int units, Call call, const void* fn);
  bool RunOneUnit(int worker);
  void WorkerLoop(int worker);

  // Of the current round. Written by the owner before it publishes the ticket, read only by holders of a
  // unit.
  Call call_ = nullptr;
  const void* fn_ = nullptr;
  int units_ = 0;

  alignas(64) std::atomic<uint64_t> ticket_{0};  // round number << 32 | units not yet taken
  alignas(64) std::atomic<int> finished_{0};     // units done in this round
  alignas(64) std::atomic<uint32_t> round_{0};   // what workers wait on
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace prefixd
