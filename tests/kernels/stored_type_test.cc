// The numbers of every type equal those of the library gguf, bit for bit (tests/golden/make_gguf_types.py).
#include "kernels/stored_type.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/numerics.h"
#include "kernels/quant_format.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

constexpr size_t kElements = 512;

// The blocks of a type and their numbers.
struct Golden {
  std::string bytes;
  std::vector<float> numbers;
};
Golden Read(StoredType type) {
  std::string file = testing_support::ReadFileOrDie(testing_support::SourceDir() / "tests/golden/gguf_types" /
                                                    (std::string(type.name()) + ".bin"));
  Golden golden{{}, std::vector<float>(kElements)};
  EXPECT_EQ(file.size(), type.Bytes(kElements) + kElements * sizeof(float));
  golden.bytes = file.substr(0, type.Bytes(kElements));
  std::memcpy(golden.numbers.data(), file.data() + golden.bytes.size(), kElements * sizeof(float));
  return golden;
}

std::vector<StoredType> AllTypes() {
  std::vector<StoredType> types;
  for (int kind = 0; kind < StoredType::kKinds; ++kind)
    types.emplace_back(static_cast<StoredType::Kind>(kind));
  return types;
}

std::vector<float> Widened(StoredType type, const std::string& bytes, size_t elements) {
  std::vector<float> numbers(elements);
  const std::string unaligned = "x" + bytes;
  WidenStored(type, std::as_bytes(std::span(unaligned)).data() + 1, elements, numbers.data());
  return numbers;
}

TEST(StoredType, NumbersEqualTheReference) {
  for (const StoredType type : AllTypes()) {
    const Golden golden = Read(type);
    const std::vector<float> numbers = Widened(type, golden.bytes, kElements);
    EXPECT_EQ(std::memcmp(numbers.data(), golden.numbers.data(), kElements * sizeof(float)), 0)
        << type.name();
    EXPECT_TRUE(StoredFinite(type, std::as_bytes(std::span(golden.bytes)))) << type.name();
  }
}

// Puts bytes that make a scale or an offset infinite into the last block.
TEST(StoredType, AScaleThatIsNotFiniteIsFound) {
  const uint16_t infinity = numerics::F32ToF16(std::numeric_limits<float>::infinity());
  for (const StoredType type : AllTypes()) {
    if (type.dtype()) continue;
    const QuantFormat format = QuantFormatOf(type.format());
    for (const size_t at : {format.scale_at, format.offset_at}) {
      if (at == format.offset_at && !format.offset && format.scale_at != 0) continue;
      std::string bytes = Read(type).bytes;
      const size_t last = bytes.size() - type.block_bytes();
      if (type == StoredType::kMXFP4) {
        bytes[last] = '\xFF';
        bytes[last + 1] = '\x77';
      } else {
        std::memcpy(bytes.data() + last + at, &infinity, sizeof infinity);
      }
      EXPECT_FALSE(StoredFinite(type, std::as_bytes(std::span(bytes)))) << type.name() << " " << at;
    }
  }
}

TEST(StoredTypeDeathTest, RequiresWholeBlocks) {
  float number = 0;
  const std::byte bytes[34] = {};
  EXPECT_DEATH(WidenStored(StoredType::kQ8_0, bytes, 31, &number), "31 elements of Q8_0");
  EXPECT_DEATH(StoredFinite(StoredType::kQ8_0, std::span(bytes).first(33)), "33 bytes of Q8_0");
  EXPECT_DEATH(StoredType(StoredType::kQ4_K).Bytes(32), "32 elements of Q4_K");
}

}  // namespace
}  // namespace prefixd
