#include "kernels/kv_staging.h"

#include "base/check.h"

namespace prefixd {

KvStaging::KvStaging(std::byte* memory, size_t buffers, size_t block_bytes) : buffers_(buffers) {
  MutexLock lock(mutex_);
  for (size_t i = buffers; i-- > 0;) free_.push_back(memory + i * block_bytes);
}

KvStaging::~KvStaging() {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(free_.size() == buffers_) << buffers_ - free_.size() << " buffers are lent";
}

std::shared_ptr<std::byte> KvStaging::Lend() {
  std::byte* buffer = nullptr;
  {
    MutexLock lock(mutex_);
    while (free_.empty()) given_back_.Wait(mutex_);
    buffer = free_.back();
    free_.pop_back();
  }
  return {buffer, [this](std::byte* lent) { GiveBack(lent); }};
}

void KvStaging::GiveBack(std::byte* buffer) {
  MutexLock lock(mutex_);
  free_.push_back(buffer);
  given_back_.NotifyOne();  // within the lock: after it, the owner may have destroyed this
}

}  // namespace prefixd
