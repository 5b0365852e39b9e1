#include "kernels/stored_type.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/finite.h"
#include "kernels/quant_run.h"
#include "kernels/quantize.h"

namespace prefixd {
namespace {

constexpr std::array<std::string_view, StoredType::kKinds> kNames = {
    "F32",    "F16",   "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
    "IQ4_NL", "MXFP4", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"};

// Whether all numbers of a block are finite. Where its fractions are, the numbers are too small to overflow;
// but a scale of eight bits may be close to the largest number of f32.
bool BlockFinite(WeightFormat format, const QuantFormat& of, const std::byte* block) {
  constexpr uint16_t kExponent = 0x7C00;  // all ones: infinite, or a NaN
  const auto half_is_finite = [&](size_t at) {
    return (GetLittle<uint16_t>(block + at) & kExponent) != kExponent;
  };
  if (!of.exponent) return half_is_finite(of.scale_at) && (!of.offset || half_is_finite(of.offset_at));
  std::array<float, kQuantBlock> numbers;
  WidenRun(of, ReadRun(format, block, 0), numbers.data());
  return std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

std::string_view StoredType::name() const { return kNames[kind()]; }

size_t StoredType::Bytes(size_t elements) const {
  PREFIXD_CHECK(elements % block() == 0) << elements << " elements of " << name();
  return elements / block() * block_bytes();
}

std::optional<DType> StoredType::dtype() const {
  return format_.quantized() ? std::nullopt : std::optional(format_.dtype());
}

std::string NamesOfStoredTypes() {
  std::string names;
  for (const std::string_view name : kNames) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

void WidenStored(StoredType type, const std::byte* from, size_t elements, float* to) {
  PREFIXD_CHECK(elements % type.block() == 0) << elements << " elements of " << type.name();
  // A tensor may have more elements than an int counts.
  constexpr size_t kAtOnce = size_t{1} << 20;  // whole blocks of every type
  for (size_t at = 0; at < elements; at += kAtOnce) {
    const size_t count = std::min(kAtOnce, elements - at);
    WidenRow(type.format(), from + type.Bytes(at), static_cast<int>(count), to + at);
  }
}

bool StoredFinite(StoredType type, std::span<const std::byte> bytes) {
  const size_t block_bytes = type.block_bytes();  // a look-up: not one for each block
  PREFIXD_CHECK(bytes.size() % block_bytes == 0) << bytes.size() << " bytes of " << type.name();
  if (const std::optional<DType> dtype = type.dtype()) return AllFinite(bytes, *dtype);
  const QuantFormat of = QuantFormatOf(type.format());
  for (size_t at = 0; at < bytes.size(); at += block_bytes) {
    if (!BlockFinite(type.format(), of, bytes.data() + at)) return false;
  }
  return true;
}

}  // namespace prefixd
