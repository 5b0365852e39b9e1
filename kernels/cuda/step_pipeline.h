// StepPipeline: one thread that begins pieces of work and waits for their ends, for an owner that does not
// wait. Up to kMost pieces are in flight. A piece that has begun runs elsewhere, on a device, and is waited
// for in parts. The thread begins a piece between two such waits, also while earlier pieces run.
//
// Threads: one owner calls every member; any thread may call Done().
//
//   Start--> begin --> advance, until it says so --> ended --Wait--> gone
//
// Invariants
//   1. All functions run on the thread, one at a time. `begin` of the pieces are called in the order of their
//      starts, and so are all calls of `advance`, piece after piece.
//   2. A piece ends with the first error of its functions, before or after the pieces around it. Its on_done
//      is called once, after that.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"

namespace prefixd::cuda {

class StepPipeline {
 public:
  static constexpr size_t kMost = 2;
  struct Work {
    std::function<Status()> begin;
    std::function<Result<bool>()> advance;  // waits for a part of the work; whether that was the last one
    std::function<void()> on_done;          // may be empty
  };

  StepPipeline();
  ~StepPipeline();  // waits for the work in flight
  StepPipeline(const StepPipeline&) = delete;
  StepPipeline& operator=(const StepPipeline&) = delete;

  // Requires fewer than kMost pieces in flight.
  void Start(Work work);
  // Whether the oldest piece in flight has ended.
  bool Done() const;
  // Waits until the oldest piece has ended and its on_done has returned, and returns its status. Requires a
  // piece in flight.
  Status Wait();

 private:
  struct Piece {
    Work work;
    bool begun = false, ended = false;
    bool told = false;  // on_done has returned
    Status status;
  };
  void Run();
  // The piece to begin or to advance; null: there is none.
  Piece* Next() REQUIRES(mutex_);
  static bool Advance(Piece& piece, Status* status);

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Piece> pieces_ GUARDED_BY(mutex_);  // in flight, the oldest first
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace prefixd::cuda
