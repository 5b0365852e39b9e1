#include "base/executor.h"

namespace prefixd {

ThreadExecutor::ThreadExecutor(size_t threads, size_t capacity) : jobs_(capacity) {
  PREFIXD_CHECK(threads > 0);
  workers_.reserve(threads);
  for (size_t i = 0; i < threads; ++i) {
    workers_.emplace_back([this] {
      while (auto job = jobs_.Pop()) (*job)();
    });
  }
}

ThreadExecutor::~ThreadExecutor() {
  jobs_.Close();
  for (auto& worker : workers_) worker.join();
}

}  // namespace prefixd
