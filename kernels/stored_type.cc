#include "kernels/stored_type.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/finite.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

constexpr size_t kSmall = 32, kLarge = 256;  // elements of a block

struct Row {
  std::string_view name;
  size_t block, bytes;
};
// By kind.
constexpr std::array<Row, StoredType::kKinds> kTable = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"Q8_0", kSmall, 2 + 32},
    {"Q4_0", kSmall, 2 + 16},
    {"Q4_1", kSmall, 2 + 2 + 16},
    {"Q5_0", kSmall, 2 + 4 + 16},
    {"Q5_1", kSmall, 2 + 2 + 4 + 16},
    {"IQ4_NL", kSmall, 2 + 16},
    {"MXFP4", kSmall, 1 + 16},
    {"Q2_K", kLarge, 16 + 64 + 2 + 2},
    {"Q3_K", kLarge, 32 + 64 + 12 + 2},
    {"Q4_K", kLarge, 2 + 2 + 12 + 128},
    {"Q5_K", kLarge, 2 + 2 + 12 + 32 + 128},
    {"Q6_K", kLarge, 128 + 64 + 16 + 2},
    {"IQ4_XS", kLarge, 2 + 2 + 4 + 128},
}};

// What four bits stand for.
constexpr int kUneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int kE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // doubled

// One block. Its fields are named by their offset.
class Block {
 public:
  explicit Block(const std::byte* bytes) : bytes_(bytes) {}
  unsigned At(size_t offset) const { return static_cast<unsigned>(bytes_[offset]); }
  int Signed(size_t offset) const { return static_cast<int8_t>(bytes_[offset]); }
  float Half(size_t offset) const { return numerics::F32FromF16(GetLittle<uint16_t>(bytes_ + offset)); }
  // Bit `bit` of the byte at `offset`.
  unsigned Bit(size_t offset, size_t bit) const { return At(offset) >> bit & 1; }
  // Element k of a block of 32 with four bits each: the low halves of 16 bytes, then the high ones.
  unsigned Four(size_t offset, size_t k) const { return At(offset + k % 16) >> (k / 16 * 4) & 15; }

 private:
  const std::byte* bytes_;
};

// The scale of an E8M0 byte, halved, because kE2M1 is doubled.
float HalfOfE8M0(unsigned exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
}

// Element k of a block of 256 with two bits each: a half of the block has 32 bytes, in which four runs of 32
// elements lie above one another.
unsigned TwoBits(const Block& b, size_t offset, size_t k) {
  return b.At(offset + k / 128 * 32 + k % 32) >> (k % 128 / 32 * 2) & 3;
}

// Element k of a block of 256 with four bits each: two runs of 32 elements above one another in 32 bytes.
unsigned FourBits(const Block& b, size_t offset, size_t k) {
  return b.At(offset + k / 64 * 32 + k % 32) >> (k % 64 / 32 * 4) & 15;
}

// Scale j of the sixteen with six bits each in the 12 bytes of a block of Q3_K.
int ScaleOfQ3(const Block& b, size_t offset, size_t j) {
  const unsigned low = b.At(offset + j % 8) >> (j / 8 * 4) & 15;
  const unsigned high = b.At(offset + 8 + j % 4) >> (j / 4 * 2) & 3;
  return static_cast<int>(low | high << 4) - 32;
}

// Scale and minimum j of the eight pairs with six bits each in the 12 bytes of a block of Q4_K or Q5_K.
struct ScaleAndMin {
  float scale, min;
};
ScaleAndMin PairOf(const Block& b, size_t offset, size_t j) {
  if (j < 4)
    return {static_cast<float>(b.At(offset + j) & 63), static_cast<float>(b.At(offset + 4 + j) & 63)};
  const unsigned low = b.At(offset + 4 + j);
  return {static_cast<float>((low & 15) | (b.At(offset + j - 4) >> 2 & 48)),
          static_cast<float>(low >> 4 | (b.At(offset + j) >> 2 & 48))};
}

// The functions below return element k of a block. Products and sums are f32, in the order that is written.

float OfQ8_0(const Block& b, size_t k) { return static_cast<float>(b.Signed(2 + k)) * b.Half(0); }
float OfQ4_0(const Block& b, size_t k) {
  return b.Half(0) * static_cast<float>(static_cast<int>(b.Four(2, k)) - 8);
}
float OfQ4_1(const Block& b, size_t k) { return b.Half(0) * static_cast<float>(b.Four(4, k)) + b.Half(2); }
float OfQ5_0(const Block& b, size_t k) {
  const unsigned q = b.Four(6, k) | b.Bit(2 + k / 8, k % 8) << 4;
  return b.Half(0) * static_cast<float>(static_cast<int>(q) - 16);
}
float OfQ5_1(const Block& b, size_t k) {
  const unsigned q = b.Four(8, k) | b.Bit(4 + k / 8, k % 8) << 4;
  return b.Half(0) * static_cast<float>(q) + b.Half(2);
}
float OfIQ4_NL(const Block& b, size_t k) { return b.Half(0) * static_cast<float>(kUneven[b.Four(2, k)]); }
float OfMXFP4(const Block& b, size_t k) {
  return HalfOfE8M0(b.At(0)) * static_cast<float>(kE2M1[b.Four(1, k)]);
}
float OfQ2_K(const Block& b, size_t k) {
  const unsigned pair = b.At(k / 16);
  const float scale = b.Half(80) * static_cast<float>(pair & 15);
  const float min = b.Half(82) * static_cast<float>(pair >> 4);
  return scale * static_cast<float>(TwoBits(b, 16, k)) - min;
}
float OfQ3_K(const Block& b, size_t k) {
  const float scale = b.Half(108) * static_cast<float>(ScaleOfQ3(b, 96, k / 16));
  const int q = static_cast<int>(TwoBits(b, 32, k)) - (b.Bit(k % 32, k / 32) != 0 ? 0 : 4);
  return scale * static_cast<float>(q);
}
float OfQ4_K(const Block& b, size_t k) {
  const ScaleAndMin pair = PairOf(b, 4, k / 32);
  const float scale = b.Half(0) * pair.scale, min = b.Half(2) * pair.min;
  return scale * static_cast<float>(FourBits(b, 16, k)) - min;
}
float OfQ5_K(const Block& b, size_t k) {
  const ScaleAndMin pair = PairOf(b, 4, k / 32);
  const float scale = b.Half(0) * pair.scale, min = b.Half(2) * pair.min;
  return scale * static_cast<float>(FourBits(b, 48, k) | b.Bit(16 + k % 32, k / 32) << 4) - min;
}
float OfQ6_K(const Block& b, size_t k) {
  // A half of the block has 64 bytes with the low four bits of two runs of 64 elements.
  const unsigned low = b.At(k / 128 * 64 + k % 64) >> (k % 128 / 64 * 4) & 15;
  const float scale = b.Half(208) * static_cast<float>(b.Signed(192 + k / 16));
  return scale * static_cast<float>(static_cast<int>(low | TwoBits(b, 128, k) << 4) - 32);
}
float OfIQ4_XS(const Block& b, size_t k) {
  const size_t j = k / 32;
  const unsigned low = b.At(4 + j / 2) >> (j % 2 * 4) & 15, high = b.At(2 + j / 4) >> (j % 4 * 2) & 3;
  const float scale = b.Half(0) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  return scale * static_cast<float>(kUneven[b.Four(8 + j * 16, k % 32)]);
}

template <float (*Element)(const Block&, size_t), size_t kBlock>
void WidenBlocks(const std::byte* from, size_t block_bytes, size_t elements, float* to) {
  for (size_t at = 0; at < elements; at += kBlock, from += block_bytes) {
    const Block block(from);
    for (size_t k = 0; k < kBlock; ++k) to[at + k] = Element(block, k);
  }
}

using Widen = void (*)(const std::byte*, size_t, size_t, float*);
// By kind, after those whose blocks have one element.
constexpr Widen kWiden[] = {
    WidenBlocks<OfQ8_0, kSmall>,   WidenBlocks<OfQ4_0, kSmall>, WidenBlocks<OfQ4_1, kSmall>,
    WidenBlocks<OfQ5_0, kSmall>,   WidenBlocks<OfQ5_1, kSmall>, WidenBlocks<OfIQ4_NL, kSmall>,
    WidenBlocks<OfMXFP4, kSmall>,  WidenBlocks<OfQ2_K, kLarge>, WidenBlocks<OfQ3_K, kLarge>,
    WidenBlocks<OfQ4_K, kLarge>,   WidenBlocks<OfQ5_K, kLarge>, WidenBlocks<OfQ6_K, kLarge>,
    WidenBlocks<OfIQ4_XS, kLarge>,
};
static_assert(std::size(kWiden) == StoredType::kKinds - StoredType::kQ8_0);

float PlainElement(DType dtype, const std::byte* at) {
  switch (dtype) {
    case DType::kF32:
      return GetLittle<float>(at);
    case DType::kF16:
      return numerics::F32FromF16(GetLittle<uint16_t>(at));
    case DType::kBF16:
      break;
  }
  return numerics::F32FromBF16(GetLittle<uint16_t>(at));
}

}  // namespace

std::string_view StoredType::name() const { return kTable[kind_].name; }
size_t StoredType::block() const { return kTable[kind_].block; }
size_t StoredType::block_bytes() const { return kTable[kind_].bytes; }

size_t StoredType::Bytes(size_t elements) const {
  PREFIXD_CHECK(elements % block() == 0) << elements << " elements of " << name();
  return elements / block() * block_bytes();
}

std::optional<DType> StoredType::dtype() const {
  switch (kind_) {
    case kF32:
      return DType::kF32;
    case kF16:
      return DType::kF16;
    case kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

std::optional<WeightFormat> StoredType::format() const {
  if (const std::optional<DType> plain = dtype()) return WeightFormat(*plain);
  if (kind_ == kQ8_0) return WeightFormat(WeightFormat::kQ8_0);
  if (kind_ == kQ4_0) return WeightFormat(WeightFormat::kQ4_0);
  return std::nullopt;
}

std::string NamesOfStoredTypes() {
  std::string names;
  for (const Row& row : kTable) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

void WidenStored(StoredType type, const std::byte* from, size_t elements, float* to) {
  PREFIXD_CHECK(elements % type.block() == 0) << elements << " elements of " << type.name();
  if (const std::optional<DType> dtype = type.dtype()) {
    for (size_t k = 0; k < elements; ++k) to[k] = PlainElement(*dtype, from + k * DTypeBytes(*dtype));
    return;
  }
  kWiden[type.kind() - StoredType::kQ8_0](from, type.block_bytes(), elements, to);
}

bool StoredFinite(StoredType type, std::span<const std::byte> bytes) {
  PREFIXD_CHECK(bytes.size() % type.block_bytes() == 0) << bytes.size() << " bytes of " << type.name();
  if (const std::optional<DType> dtype = type.dtype()) return AllFinite(bytes, *dtype);
  if (type.format()) {  // an integer times a scale in front: finite where the scale is
    for (size_t at = 0; at < bytes.size(); at += type.block_bytes()) {
      if (!std::isfinite(Block(bytes.data() + at).Half(0))) return false;
    }
    return true;
  }
  std::array<float, kLarge> numbers;
  for (size_t at = 0; at < bytes.size(); at += type.block_bytes()) {
    WidenStored(type, bytes.data() + at, type.block(), numbers.data());
    const auto end = numbers.begin() + static_cast<ptrdiff_t>(type.block());
    if (!std::all_of(numbers.begin(), end, [](float x) { return std::isfinite(x); })) return false;
  }
  return true;
}

}  // namespace prefixd
