// StepThread: one thread that runs pieces of work, one at a time, for an owner that does not wait.
//
// Threads: one owner calls every member; any thread may call Done().
//
//   idle --Start--> running --work ends--> done --Wait--> idle
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"

namespace prefixd {

class StepThread {
 public:
  StepThread();
  ~StepThread();  // waits for running work
  StepThread(const StepThread&) = delete;
  StepThread& operator=(const StepThread&) = delete;

  // Runs `work` on the thread, then calls `on_done`, if it is not empty. Requires the state idle.
  void Start(std::function<Status()> work, std::function<void()> on_done);
  // Returns whether the state is done.
  bool Done() const { return done_.load(std::memory_order_acquire); }
  // Waits until the work and its on_done have returned, and returns the result of the work. Requires the
  // state running or done.
  Status Wait();

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::function<Status()> work_ GUARDED_BY(mutex_);  // empty: idle
  std::function<void()> on_done_ GUARDED_BY(mutex_);
  bool started_ GUARDED_BY(mutex_) = false;   // and not yet taken by the thread
  bool finished_ GUARDED_BY(mutex_) = false;  // on_done has returned
  bool stopping_ GUARDED_BY(mutex_) = false;
  Status result_ GUARDED_BY(mutex_);
  std::atomic<bool> done_{false};  // the work has returned; true before on_done is called
  std::thread thread_;
};

}  // namespace prefixd
