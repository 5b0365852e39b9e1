#include "model/tensor_conversion.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/numerics.h"
#include "kernels/quantize.h"

namespace prefixd {
namespace {

size_t Columns(const TensorView& tensor) {
  return tensor.shape.size() == 2 ? static_cast<size_t>(tensor.shape[1]) : 1;
}

// The row of a form with `paired_rows` at which row `row` of transformers belongs.
int64_t PairedRow(int64_t row, int64_t rows_of_head) {
  const int64_t in_head = row % rows_of_head, half = rows_of_head / 2;
  return row - in_head + in_head % half * 2 + in_head / half;
}

// The row of the tensor that becomes row `row` of a form.
int64_t SourceRow(const TensorView& tensor, int paired_rows, int64_t row) {
  if (tensor.paired_rows == paired_rows) return row;
  const int64_t plain = paired_rows == 0 ? row : UnpairedRow(row, paired_rows);
  return tensor.paired_rows == 0 ? plain : PairedRow(plain, tensor.paired_rows);
}

// Narrows numbers to 16 bits. Returns false where one is too large.
template <typename Narrow>
bool AppendHalves(const std::vector<float>& numbers, uint16_t infinity, const Narrow& narrow,
                  std::string* out) {
  bool fits = true;
  for (const float number : numbers) {
    const uint16_t half = narrow(number);
    fits &= (half & 0x7FFF) != infinity;
    PutLittle(out, half);
  }
  return fits;
}

// Returns false where the type has no such number.
bool AppendRow(const std::vector<float>& numbers, StoredType type, std::string* out) {
  if (type == StoredType::kBF16) return AppendHalves(numbers, 0x7F80, numerics::F32ToBF16, out);
  if (type == StoredType::kF16) return AppendHalves(numbers, 0x7C00, numerics::F32ToF16, out);
  if (type == StoredType::kF32) {
    out->append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
    return true;
  }
  PREFIXD_CHECK(type.format().quantized()) << type.name();
  const size_t at = out->size();
  out->resize(at + type.Bytes(numbers.size()));
  return QuantizeRow(type.format(), numbers.data(), static_cast<int>(numbers.size()),
                     reinterpret_cast<std::byte*>(out->data() + at));
}

}  // namespace

int64_t RowsOf(const TensorView& tensor) { return tensor.shape.empty() ? 1 : tensor.shape[0]; }

size_t RowBytes(const TensorView& tensor, StoredType type) { return type.Bytes(Columns(tensor)); }

Status AppendRows(const TensorView& tensor, TensorForm form, int64_t first, int64_t count, std::string* out) {
  PREFIXD_CHECK(tensor.dtype.has_value() && !tensor.shape.empty() && tensor.shape.size() <= 2) << tensor.name;
  const std::string what = "tensor '" + tensor.shown_name() + "'";
  const size_t row_bytes = RowBytes(tensor, *tensor.dtype);
  std::vector<float> numbers(Columns(tensor));
  for (int64_t row = first; row < first + count; ++row) {
    const auto source = static_cast<size_t>(SourceRow(tensor, form.paired_rows, row));
    const auto bytes = tensor.bytes.subspan(source * row_bytes, row_bytes);
    if (!StoredFinite(*tensor.dtype, bytes))
      return Corrupt(what + " has a number in row " + std::to_string(source) +
                     " that is not finite; the file is damaged: download it again");
    if (form.type == *tensor.dtype) {
      out->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      continue;
    }
    WidenStored(*tensor.dtype, bytes.data(), numbers.size(), numbers.data());
    if (!AppendRow(numbers, form.type, out))
      return Unsupported(what + " has a number in row " + std::to_string(source) + " that is too large for " +
                         std::string(form.type.name()) + "; choose --type f32 or bf16");
  }
  return Status::Ok();
}

}  // namespace prefixd
