// Writes the rows of a tensor in another type and in another order, for files that prefixd makes. Pure
// functions; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "kernels/stored_type.h"
#include "model/weight_files.h"

namespace prefixd {

// How a file stores a tensor.
struct TensorForm {
  StoredType type = StoredType::kF32;
  int paired_rows = 0;  // as TensorView::paired_rows
};

// Rows of a tensor; the numbers of a vector are rows of one number.
int64_t RowsOf(const TensorView& tensor);
// Bytes of a row in a type. Requires whole blocks.
size_t RowBytes(const TensorView& tensor, StoredType type);

// Appends the rows [first, first + count) of the form, of a tensor with one or two dimensions whose type is
// set. A type that is none of numbers is q8_0 or q4_0 (kernels/quantize.h), or the tensor's own. Numbers are
// rounded to the nearest, ties to even. kCorrupt: a number of the tensor is not finite. kUnsupported: a
// number that the type does not have. The message names the tensor.
Status AppendRows(const TensorView& tensor, TensorForm form, int64_t first, int64_t count, std::string* out);

}  // namespace prefixd
