// ProductChoices: the ways that Products found right, in a file. The next start takes the same ones, also
// where the library would offer others in another order, and asks it for none.
//
//   prefixd products 1
//   NVIDIA H200; driver 13.0, runtime 13.0; cuBLASLt 13.1.0
//   bf16 5 16 6144 4096 plain 1 0 2a 0 0 0 0 0
//   sum 0123456789abcdef
//
// The second line says whose ways they are: the device, its versions and the library. Then a line for each
// way: the type, the fewest and the most rows, n and k, whether the product is plain, has a bias or is added
// to y, and the words of the way in hexadecimal. The sum is FNV-1a over all lines before it.
//
// A file is a hint. Its ways are tried as the others are (products.h, 2), so one that is wrong costs time and
// no bit. A file that is damaged, or of another version, device or library, is ignored with a line in the
// log, and replaced.
//
// One owner, on one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/product_library.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

// A way with the bits of the kernel, for numbers of rows from fewest_rows to shape.rows.
struct CheckedWay {
  ProductShape shape;
  int fewest_rows;
  ProductWay way;
};

class ProductChoices {
 public:
  static constexpr size_t kMost = 1024;  // ways of a file; then the oldest ones go

  // Without a file: nothing is found or written.
  ProductChoices() = default;
  // Reads the file `path`, if there is one; "": as above.
  ProductChoices(std::string path, const DeviceFacts& facts, const ProductLibrary& library);

  // Null: it has none. Valid until Keep.
  const ProductWay* Find(const ProductShape& shape, int fewest_rows) const;
  // In the place of one for the same numbers of rows of the same product.
  void Keep(const CheckedWay& way);
  // Writes the file if Keep has changed something. What fails is logged.
  void Write();

 private:
  std::string Text() const;
  Status Read();
  Status WriteFile() const;

  std::string path_, owner_;
  std::vector<CheckedWay> ways_;
  bool changed_ = false;
};

}  // namespace prefixd::cuda
