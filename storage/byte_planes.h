// Byte planes of an array of elements: plane p has the p-th byte of every element. Numbers of one kind have
// sign and exponent in the last plane, where few values are frequent, and noise in the first ones; a
// compressor finds more in planes than in elements. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>

namespace prefixd {

// The widest element, in bytes.
inline constexpr size_t kMaxElementBytes = 4;

// An element has 1, 2 or 4 bytes.
constexpr bool IsElementBytes(size_t bytes) { return bytes == 1 || bytes == 2 || bytes == 4; }

// Writes plane p of `elements` to planes[p * n, (p + 1) * n), where n is the number of elements. Requires
// IsElementBytes(element_bytes), elements.size() == planes.size(), a multiple of element_bytes, and no
// overlap.
void SplitPlanes(size_t element_bytes, std::span<const std::byte> elements, std::span<std::byte> planes);

// The inverse. planes[p] points to the n bytes of plane p, n being elements.size() / element_bytes. Requires
// IsElementBytes(element_bytes), planes.size() == element_bytes, elements.size() a multiple of element_bytes,
// and no overlap.
void JoinPlanes(size_t element_bytes, std::span<const std::byte* const> planes,
                std::span<std::byte> elements);

// The same two functions, byte by byte, for tests.
void PlainSplitPlanes(size_t element_bytes, std::span<const std::byte> elements, std::span<std::byte> planes);
void PlainJoinPlanes(size_t element_bytes, std::span<const std::byte* const> planes,
                     std::span<std::byte> elements);

}  // namespace prefixd
