#include "kernels/cpu/thread_pool.h"

#include <pthread.h>

#include "base/check.h"

namespace prefixd {
namespace {

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  PREFIXD_CHECK(threads > 0) << threads;
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { WorkerLoop(worker); });
    pthread_setname_np(workers_.back().native_handle(), "prefixd-compute");
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  round_.fetch_add(1);
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunShared(int units, Call call, const void* fn) {
  call_ = call;
  fn_ = fn;
  units_ = units;
  finished_.store(0, std::memory_order_relaxed);
  const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
  ticket_.store(uint64_t{round} << 32 | static_cast<uint32_t>(units), std::memory_order_release);
  round_.store(round);
  round_.notify_all();
  while (RunOneUnit(0)) {
  }
  for (int finished; (finished = finished_.load(std::memory_order_acquire)) != units;)
    WaitForChange(finished_, finished);
}

template <typename Number>
void ThreadPool::WaitForChange(const std::atomic<Number>& of, Number from) {
  for (int spins = 0; spins < kMostSpins; ++spins) {
    if (of.load(std::memory_order_relaxed) != from) return;
    Pause();
  }
  spins_.fetch_add(kMostSpins, std::memory_order_relaxed);
  sleeping_.fetch_add(1);
  of.wait(from);
  sleeping_.fetch_sub(1);
}

bool ThreadPool::RunOneUnit(int worker) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (static_cast<uint32_t>(ticket) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                          std::memory_order_acquire));
  // The round cannot end before this unit does, so the fields of the round do not change.
  call_(fn_, units_ - static_cast<int>(static_cast<uint32_t>(ticket)), worker);
  finished_.fetch_add(1, std::memory_order_release);
  finished_.notify_one();
  return true;
}

void ThreadPool::WorkerLoop(int worker) {
  for (;;) {
    // Read the round first. The destructor sets stopping_ and then starts a round, so a worker always sees at
    // least one of the two.
    const uint32_t round = round_.load();
    if (stopping_.load()) return;
    while (RunOneUnit(worker)) {
    }
    WaitForChange(round_, round);
  }
}

}  // namespace prefixd
