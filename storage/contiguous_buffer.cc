#include "storage/contiguous_buffer.h"

#include <sys/mman.h>

#include <cstring>

namespace prefixd {

std::span<const char> ContiguousBuffer::Copy(std::span<const char> data) {
  if (data.empty() || data.size() > kBytes) return data;
  if (memory_ == nullptr) {
    memory_.reset(static_cast<char*>(std::aligned_alloc(kBytes, kBytes)));
    if (memory_ == nullptr) return data;
    (void)::madvise(memory_.get(), kBytes, MADV_HUGEPAGE);  // only advice: a failure costs time alone
  }
  std::memcpy(memory_.get(), data.data(), data.size());
  return {memory_.get(), data.size()};
}

}  // namespace prefixd
