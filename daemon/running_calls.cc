#include "daemon/running_calls.h"

namespace prefixd {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

}  // namespace

std::string RunningCalls::SlowerThan(int64_t nanos) const {
  MutexLock lock(mutex_);
  if (running_.empty()) return "";
  const Running& oldest = running_.front();
  const int64_t age = clock_->NowNanos() - oldest.began;
  if (age < nanos) return "";
  return (oldest.kind == Kind::kRead ? "a read has taken " : "a write has taken ") +
         std::to_string(age / kSecond) + " s";
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
