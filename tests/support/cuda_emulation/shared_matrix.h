// SharedMatrix: where the elements of a matrix of 16 rows lie in shared memory that WarpgroupMma multiplies
// by, as the hardware finds them: a reading of "matrix descriptor" in the manual of PTX, for 16-bit elements
// and the swizzle of 128 bytes. In 8 rows of 128 bytes, which begin at a multiple of 1024, the 16 bytes
// number c of row r lie at c ^ r. Values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prefixd::cuda_emulation {

class SharedMatrix {
 public:
  // rows_together: "MN-major", the elements of one of the 16 rows lie together; else those of a column.
  SharedMatrix(uint64_t descriptor, bool rows_together)
      : descriptor_(descriptor), rows_together_(rows_together) {}

  // Another swizzle and another phase of it are not known here.
  bool is_known() const { return descriptor_ >> 62 == 1 && Field(49) % 8 == 0; }
  // The address of the element (k, n).
  size_t ByteOf(int k, int n) const {
    const int row = rows_together_ ? k : n, column = rows_together_ ? n : k;
    const size_t at = Field(0) * 16 + Size(row / 8) * Field(32) * 16 + Size(row % 8) * 128 +
                      Size(column / 64) * Field(16) * 16 + Size(column % 64) * 2;
    return at ^ (at >> 7 & 7) << 4;
  }

 private:
  static size_t Size(int n) { return static_cast<size_t>(n); }
  size_t Field(int bit) const { return descriptor_ >> bit & 0x3FFF; }

  const uint64_t descriptor_;
  const bool rows_together_;
};

}  // namespace prefixd::cuda_emulation
