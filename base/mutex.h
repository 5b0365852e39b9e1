// Mutex, MutexLock and CondVar: those of the standard library with clang's thread-safety annotations, so that
// clang rejects code that accesses a guarded member without its mutex. Other compilers ignore the
// annotations. Any thread.
//
// Use:
//   mutable Mutex mutex_;
//   int count_ GUARDED_BY(mutex_) = 0;
//   void AddLocked() REQUIRES(mutex_);
//
// The analysis treats a lambda as a separate function that holds no mutex. Write a wait as a loop:
//   while (!ready_) changed_.Wait(mutex_);
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define PREFIXD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define PREFIXD_THREAD_ANNOTATION(x)
#endif

// The member may be read or written only while the mutex is held.
#define GUARDED_BY(x) PREFIXD_THREAD_ANNOTATION(guarded_by(x))
// The caller of the function holds the mutex, or must not hold it.
#define REQUIRES(...) PREFIXD_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) PREFIXD_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
// The function takes or releases the mutex.
#define ACQUIRE(...) PREFIXD_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) PREFIXD_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) PREFIXD_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
// The type is a mutex, or holds one for its lifetime.
#define CAPABILITY(x) PREFIXD_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY PREFIXD_THREAD_ANNOTATION(scoped_lockable)

namespace prefixd {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }
  [[nodiscard]] bool TryLock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds `mutex` from construction to destruction.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Each Wait releases the mutex while it sleeps and holds it again when it returns. It may return early: the
// caller checks its condition again.
class CondVar {
 public:
  void Wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    changed_.wait(held);
    held.release();
  }
  // Returns false when `deadline` has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    const bool in_time = changed_.wait_until(held, deadline) == std::cv_status::no_timeout;
    held.release();
    return in_time;
  }
  // Returns false when `timeout` has passed.
  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds timeout) REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    const bool in_time = changed_.wait_for(held, timeout) == std::cv_status::no_timeout;
    held.release();
    return in_time;
  }
  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace prefixd
