#include "storage/byte_planes.h"

#include <cstdint>
#include <cstring>

#include "base/bytes.h"  // asserts that the machine is little-endian: byte p is bits 8p to 8p + 7
#include "base/check.h"

namespace prefixd {
namespace {

// The loops of these have no branches and no dependence between elements, so the compiler makes vectors of
// them for every instruction set: a plane of a word is a shift and a narrowing.

void Split2(const std::byte* elements, size_t count, std::byte* __restrict low, std::byte* __restrict high) {
  for (size_t i = 0; i < count; ++i) {
    uint16_t word;
    std::memcpy(&word, elements + i * sizeof word, sizeof word);
    low[i] = static_cast<std::byte>(word);
    high[i] = static_cast<std::byte>(word >> 8);
  }
}

void Split4(const std::byte* elements, size_t count, std::byte* planes) {
  for (size_t p = 0; p < sizeof(uint32_t); ++p) {
    std::byte* __restrict const plane = planes + p * count;
    for (size_t i = 0; i < count; ++i) {
      uint32_t word;
      std::memcpy(&word, elements + i * sizeof word, sizeof word);
      plane[i] = static_cast<std::byte>(word >> (8 * p));
    }
  }
}

void Join2(const std::byte* low, const std::byte* high, size_t count, std::byte* __restrict elements) {
  for (size_t i = 0; i < count; ++i) {
    const auto word =
        static_cast<uint16_t>(static_cast<uint16_t>(low[i]) | static_cast<uint16_t>(high[i]) << 8);
    std::memcpy(elements + i * sizeof word, &word, sizeof word);
  }
}

void Join4(std::span<const std::byte* const> planes, size_t count, std::byte* __restrict elements) {
  const std::byte *const a = planes[0], *const b = planes[1], *const c = planes[2], *const d = planes[3];
  for (size_t i = 0; i < count; ++i) {
    const uint32_t word = static_cast<uint32_t>(a[i]) | static_cast<uint32_t>(b[i]) << 8 |
                          static_cast<uint32_t>(c[i]) << 16 | static_cast<uint32_t>(d[i]) << 24;
    std::memcpy(elements + i * sizeof word, &word, sizeof word);
  }
}

void CheckSplit(size_t element_bytes, size_t elements, size_t planes) {
  PREFIXD_CHECK(IsElementBytes(element_bytes)) << element_bytes;
  PREFIXD_CHECK(elements == planes && elements % element_bytes == 0) << elements << " and " << planes;
}

void CheckJoin(size_t element_bytes, size_t planes, size_t elements) {
  PREFIXD_CHECK(IsElementBytes(element_bytes)) << element_bytes;
  PREFIXD_CHECK(planes == element_bytes && elements % element_bytes == 0) << planes << ", " << elements;
}

}  // namespace

void SplitPlanes(size_t element_bytes, std::span<const std::byte> elements, std::span<std::byte> planes) {
  CheckSplit(element_bytes, elements.size(), planes.size());
  if (elements.empty()) return;
  switch (element_bytes) {
    case 1:
      std::memcpy(planes.data(), elements.data(), elements.size());
      break;
    case 2:
      Split2(elements.data(), elements.size() / 2, planes.data(), planes.data() + elements.size() / 2);
      break;
    default:
      Split4(elements.data(), elements.size() / 4, planes.data());
  }
}

void JoinPlanes(size_t element_bytes, std::span<const std::byte* const> planes,
                std::span<std::byte> elements) {
  CheckJoin(element_bytes, planes.size(), elements.size());
  if (elements.empty()) return;
  switch (element_bytes) {
    case 1:
      std::memcpy(elements.data(), planes[0], elements.size());
      break;
    case 2:
      Join2(planes[0], planes[1], elements.size() / 2, elements.data());
      break;
    default:
      Join4(planes, elements.size() / 4, elements.data());
  }
}

void PlainSplitPlanes(size_t element_bytes, std::span<const std::byte> elements,
                      std::span<std::byte> planes) {
  CheckSplit(element_bytes, elements.size(), planes.size());
  const size_t count = elements.size() / element_bytes;
  for (size_t i = 0; i < elements.size(); ++i) {
    planes[i % element_bytes * count + i / element_bytes] = elements[i];
  }
}

void PlainJoinPlanes(size_t element_bytes, std::span<const std::byte* const> planes,
                     std::span<std::byte> elements) {
  CheckJoin(element_bytes, planes.size(), elements.size());
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = planes[i % element_bytes][i / element_bytes];
}

}  // namespace prefixd
