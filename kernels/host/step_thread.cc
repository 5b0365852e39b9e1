#include "kernels/host/step_thread.h"

#include <pthread.h>

#include <utility>

#include "base/check.h"

namespace prefixd {

StepThread::StepThread() : thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "prefixd-step");
}

StepThread::~StepThread() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void StepThread::Start(std::function<Status()> work, std::function<void()> on_done) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(!work_) << "a step is in flight already";
    work_ = std::move(work);
    on_done_ = std::move(on_done);
    started_ = true;
  }
  changed_.NotifyAll();
}

Status StepThread::Wait() {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(work_) << "no step is in flight";
  while (!finished_) changed_.Wait(mutex_);
  finished_ = false;
  done_.store(false, std::memory_order_release);
  work_ = nullptr;
  on_done_ = nullptr;
  return std::exchange(result_, Status::Ok());
}

void StepThread::Run() {
  for (;;) {
    std::function<Status()>* work = nullptr;
    std::function<void()>* on_done = nullptr;
    {
      MutexLock lock(mutex_);
      while (!started_ && !stopping_) changed_.Wait(mutex_);
      if (!started_) return;
      started_ = false;
      work = &work_;  // Wait changes neither before `finished_`
      on_done = &on_done_;
    }
    Status result = (*work)();
    {
      MutexLock lock(mutex_);
      result_ = std::move(result);
    }
    done_.store(true, std::memory_order_release);
    if (*on_done) (*on_done)();
    {
      MutexLock lock(mutex_);
      finished_ = true;
    }
    changed_.NotifyAll();
  }
}

}  // namespace prefixd
