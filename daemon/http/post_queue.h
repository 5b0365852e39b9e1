// PostQueue: the jobs that other threads give to the connections of a server. Each connection runs its jobs
// on its strand. One io thread takes the jobs of many connections, as those of all streams after a step of
// the engine: to wake a thread for each of them takes longer than most of them do.
// Only source files of the server that use Asio include this header.
//
// Threads: any.
//
// Invariants
//   1. At most one Drain is posted or takes jobs. One is if and only if running_.
//   2. The jobs of a strand run in the order of Post, never two at the same time.
//   3. Once a Drain has taken kNanosAlone, it leaves the jobs that wait to all io threads. When one job takes
//      as long, the next call of Post or Nudge does so.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace prefixd {

class PostQueue final : public std::enable_shared_from_this<PostQueue> {
 public:
  using Executor = boost::asio::any_io_executor;
  static constexpr int64_t kNanosAlone = 1'000'000;

  PostQueue(Executor io, std::unique_ptr<const Clock> clock) : io_(std::move(io)), clock_(std::move(clock)) {}

  // Runs `job` on the strand, after this call or, on another thread, during it. The job throws nothing.
  void Post(Executor strand, std::function<void()> job) EXCLUDES(mutex_);
  // Says that a job still waits, which may be behind a long one.
  void Nudge() EXCLUDES(mutex_);
  // Drops the jobs that have not begun, and all later ones: nobody runs `io` any more.
  void Close() EXCLUDES(mutex_);

 private:
  struct Job {
    Executor strand;
    std::function<void()> run;
    uint64_t number = 0;
  };
  static constexpr int64_t kNever = INT64_MAX;

  void Drain() EXCLUDES(mutex_);
  // Says that the strand has the job, and runs it now.
  void Begin(uint64_t number) EXCLUDES(mutex_);
  // The next job of a Drain that ends alone at `end`. Where there is none, running_ is false afterwards.
  std::optional<Job> Take(int64_t end) EXCLUDES(mutex_);
  // Leaves the jobs that wait to all io threads. Requires that the strands have all earlier ones.
  void PostAll() REQUIRES(mutex_);
  void PostAllIfLate() REQUIRES(mutex_);

  const Executor io_;
  const std::unique_ptr<const Clock> clock_;
  Mutex mutex_;
  std::deque<Job> jobs_ GUARDED_BY(mutex_);
  uint64_t posted_ GUARDED_BY(mutex_) = 0;     // jobs ever
  uint64_t taken_ GUARDED_BY(mutex_) = 0;      // the number of the job that the Drain has taken; 0: none
  int64_t begun_ GUARDED_BY(mutex_) = kNever;  // when it began; kNever: its strand may not have it
  bool running_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
