// ThreadPool is a fork-join pool for the compute threads of a backend. Run() spreads numbered units of work
// over the calling thread and the workers. One call of Run() is a round.
//
// The pool has one owner, which calls Run() from one thread at a time. A worker spins for some tens of
// microseconds after a round, because the next round usually follows soon. Then it sleeps, so that other
// processes get the core. Threads take units one by one, so one that is slow, or that has lost its core to
// another process, takes fewer. A round never waits for a worker that has not taken a unit: the caller takes
// the remaining units itself. A round does wait for units that a worker has taken; then the caller spins and
// sleeps in the same way.
//
// Invariants
//   1. Run() returns after every unit has run exactly once. The caller then sees everything that the units
//      wrote.
//   2. The argument `worker` of a unit is in 0 .. threads()-1. Units that run at the same time have different
//      values of `worker`.
//   3. A thread that waits asks at most kMostSpins times whether it has to; then it sleeps until it has
//      something to do.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace prefixd {

class ThreadPool {
 public:
  // `threads` includes the thread that calls Run(), so 1 starts no worker. Requires threads > 0.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  static constexpr int kMostSpins = 2000;  // some tens of microseconds

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Any thread: how many threads of the pool sleep now, the caller of Run() included, and how often threads
  // have asked in vain before they slept.
  int sleeping() const { return sleeping_.load(); }
  uint64_t spins() const { return spins_.load(); }

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
  template <typename Number>
  void WaitForChange(const std::atomic<Number>& of, Number from);
  void WorkerLoop(int worker);

  // The current round. The owner writes these fields before it publishes the ticket. A thread reads them only
  // while it holds a unit of the round.
  Call call_ = nullptr;
  const void* fn_ = nullptr;
  int units_ = 0;

  alignas(64) std::atomic<uint64_t> ticket_{0};  // round number << 32 | units not yet taken
  alignas(64) std::atomic<int> finished_{0};     // units done in this round
  alignas(64) std::atomic<uint32_t> round_{0};   // round number; workers wait for it to change
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleeping_{0};
  std::atomic<uint64_t> spins_{0};
  std::vector<std::thread> workers_;
};

}  // namespace prefixd
