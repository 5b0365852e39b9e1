// Scratch is working memory that grows to the largest request and keeps that size. One owner uses it, on one
// thread at a time.
#pragma once

#include <cstddef>

#include "base/check.h"
#include "kernels/host_memory.h"

namespace prefixd {

class Scratch {
 public:
  // Returns at least n floats, 64-byte aligned, with unspecified content. Invalidates the result of an
  // earlier call. Stops the process when the memory is not available.
  float* Floats(size_t n) {
    if (n > capacity_) {
      auto memory = HostMemory::Allocate(n * sizeof(float));
      PREFIXD_CHECK(memory.ok()) << memory.status().ToString();
      memory_ = std::move(*memory);
      capacity_ = n;
    }
    return reinterpret_cast<float*>(memory_.data());
  }

 private:
  HostMemory memory_;
  size_t capacity_ = 0;
};

}  // namespace prefixd
