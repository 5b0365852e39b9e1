#include "daemon/running_calls.h"

#include <algorithm>

namespace prefixd {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

}  // namespace

std::string RunningCalls::SlowerThan(int64_t read_nanos, int64_t write_nanos) const {
  const int64_t now = clock_->NowNanos();
  MutexLock lock(mutex_);
  const auto slow = std::ranges::find_if(running_, [&](const Running& call) {
    return now - call.began >= (call.kind == Kind::kRead ? read_nanos : write_nanos);
  });
  if (slow == running_.end()) return "";
  return (slow->kind == Kind::kRead ? "a read has taken " : "a write has taken ") +
         std::to_string((now - slow->began) / kSecond) + " s";
}

RunningCalls::Call::Call(RunningCalls* calls, Kind kind) : calls_(calls) {
  MutexLock lock(calls->mutex_);
  place_ = calls->running_.insert(calls->running_.end(), {kind, calls->clock_->NowNanos()});
}

RunningCalls::Call::~Call() {
  MutexLock lock(calls_->mutex_);
  calls_->running_.erase(place_);
}

}  // namespace prefixd
