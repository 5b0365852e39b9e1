// Working memory that grows to the largest request and stays. One owner.
#pragma once

#include <cstddef>

#include "base/check.h"
#include "kernels/host_memory.h"

namespace prefixd {

class Scratch {
 public:
  // At least n floats, 64-byte aligned, of any content. What an earlier call returned is gone.
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
