#include "kernels/host_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace prefixd {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(HostArena, PartsAreZeroedAlignedAndApart) {
  HostArena arena;
  const size_t sizes[] = {1, 64, 65, 1000, kMiB, 3 * kMiB + 1, 20 * kMiB};
  std::vector<std::pair<HostMemory, size_t>> parts;
  for (int i = 0; i < 60; ++i) {  // more than a chunk
    const size_t bytes = sizes[static_cast<size_t>(i) % std::size(sizes)];
    parts.emplace_back(*arena.Allocate(bytes), bytes);
    std::byte* const data = parts.back().first.data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    EXPECT_TRUE(std::all_of(data, data + bytes, [](std::byte byte) { return byte == std::byte{0}; })) << i;
    std::memset(data, i + 1, bytes);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::byte* const data = parts[i].first.data();
    EXPECT_TRUE(
        std::all_of(data, data + parts[i].second, [i](std::byte byte) { return byte == std::byte(i + 1); }))
        << "part " << i << " was written to";
  }
}

TEST(HostArena, PartsOutliveIt) {
  auto arena = std::make_unique<HostArena>();
  HostMemory first = *arena->Allocate(kMiB);
  HostMemory second = *arena->Allocate(kMiB);
  arena.reset();
  first = HostMemory();
  std::memset(second.data(), 1, kMiB);
  EXPECT_EQ(second.data()[kMiB - 1], std::byte{1});
}

TEST(HostArena, WhatIsNotThereIsAnError) {
  HostArena arena;
  EXPECT_EQ(arena.Allocate(SIZE_MAX).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(arena.Allocate(SIZE_MAX / 2).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(arena.Allocate(1).ok()) << "a failure changes nothing";
}

}  // namespace
}  // namespace prefixd
