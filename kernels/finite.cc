#include "kernels/finite.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace prefixd {
namespace {

// An element is not finite when all bits of its exponent are set. Counts instead of stopping, so that the
// compiler can use vectors.
template <typename Word>
bool NoneHasAll(std::span<const std::byte> bytes, Word exponent) {
  PREFIXD_CHECK(bytes.size() % sizeof(Word) == 0) << bytes.size();
  size_t found = 0;
  for (size_t i = 0; i < bytes.size(); i += sizeof(Word)) {
    Word word;
    std::memcpy(&word, bytes.data() + i, sizeof(Word));
    found += static_cast<Word>(word & exponent) == exponent ? 1 : 0;
  }
  return found == 0;
}

}  // namespace

bool AllFinite(std::span<const std::byte> bytes, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return NoneHasAll<uint32_t>(bytes, 0x7f800000);
    case DType::kF16:
      return NoneHasAll<uint16_t>(bytes, 0x7c00);
    case DType::kBF16:
      return NoneHasAll<uint16_t>(bytes, 0x7f80);
  }
  return false;
}

}  // namespace prefixd
