// Scratch is working memory of a fixed size. Reserve allocates it once, before the first step. One owner uses
// it, on one thread at a time.
//
// Invariant
//   1. Only Reserve allocates.
#pragma once

#include <cstddef>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "kernels/host_memory.h"

namespace prefixd {

class Scratch {
 public:
  // Makes room for n floats, with unspecified content. Returns kResourceExhausted, with the size, when the
  // memory is not available; the scratch is then as before.
  Status Reserve(size_t n) {
    if (n <= capacity_) return Status::Ok();
    PREFIXD_ASSIGN_OR_RETURN(memory_, HostMemory::Allocate(n * sizeof(float)));
    capacity_ = n;
    return Status::Ok();
  }

  // Returns n floats, 64-byte aligned. Every call returns the same memory. Requires that Reserve made room.
  float* Floats(size_t n) const {
    PREFIXD_CHECK(n <= capacity_) << n << " floats, " << capacity_ << " are reserved";
    return reinterpret_cast<float*>(memory_.data());
  }

 private:
  HostMemory memory_;
  size_t capacity_ = 0;
};

// The floats of GemmJob::x for up to `rows` rows of up to `terms` terms, in any chain.
constexpr size_t PackedRowsFloats(int rows, int terms) {
  return static_cast<size_t>(rows) * static_cast<size_t>(terms + terms % 2);
}

}  // namespace prefixd
