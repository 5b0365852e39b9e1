// The emulation itself: what it computes, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <vector>

#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/support/cuda_emulation/device.inl.h"

namespace prefixd {
namespace {

using namespace device;  // NOLINT: the tests are kernels
using cuda_emulation::BlockRunner;
using cuda_emulation::Grid;
using cuda_emulation::KernelBody;
using testing::Each;

struct Arguments {
  uint32_t* in;
  uint32_t* out;
};

class Emulation : public testing::Test {
 protected:
  Emulation() : device_(cuda_test::NewDevice()) {
    // The device has a thread, which a mere fork would not copy.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  // Runs `body` with device arrays of `size` words, the first with 0, 1, 2 ...; returns the second.
  std::vector<uint32_t> Run(KernelBody body, const Grid& grid, size_t size, uint64_t seed = 1) {
    std::vector<uint32_t> numbers(size);
    std::iota(numbers.begin(), numbers.end(), 0u);
    const cuda_test::DeviceArray<uint32_t> in(device_.get(), numbers), out(device_.get(), size);
    const Arguments arguments{in.data(), out.data()};
    BlockRunner(seed).Run("kernel", grid, body, &arguments);
    return out.Get();
  }
  std::unique_ptr<cuda::CudaRuntime> device_;
};

const Arguments& Of(const void* params) { return *static_cast<const Arguments*>(params); }

TEST_F(Emulation, AReversalThroughSharedMemoryNeedsABarrier) {
  const auto out = Run(
      [](const void* params) {
        const int i = ThreadIndex(), n = BlockThreads();
        auto* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
        StoreShared(shared + i, LoadGlobal<uint32_t>(Of(params).in + BlockX() * n + i));
        SyncThreads();
        StoreGlobal(Of(params).out + BlockX() * n + i, LoadShared<uint32_t>(shared + n - 1 - i));
      },
      {.blocks_x = 3, .threads = 128, .shared_bytes = 512}, 384);
  for (uint32_t i = 0; i < 384; ++i) EXPECT_EQ(out[i], i / 128 * 128 + 127 - i % 128);
  EXPECT_DEATH(Run(
                   [](const void*) {
                     auto* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
                     StoreShared(shared + ThreadIndex(), 1u);
                     (void)LoadShared<uint32_t>(shared + BlockThreads() - 1 - ThreadIndex());
                   },
                   {.threads = 64, .shared_bytes = 256}, 64),
               "which nobody wrote");
}

TEST_F(Emulation, ShufflesAndVotes) {
  const auto out = Run(
      [](const void* params) {
        const auto lane = static_cast<uint32_t>(Lane());
        uint32_t sum = lane;
        for (int mask = 16; mask > 0; mask /= 2) sum += ShuffleXor(sum, mask);
        StoreGlobal(Of(params).out + ThreadIndex(), sum + Shuffle(lane, 5) + (Ballot(lane < 3) << 16));
      },
      {.threads = 64}, 64);
  EXPECT_THAT(out, Each(496 + 5 + (7u << 16)));
}

TEST_F(Emulation, WhatADeviceWouldDoSilentlyStops) {
  const Grid warp{.threads = 32, .shared_bytes = 64};
  EXPECT_DEATH(Run(
                   [](const void*) {
                     if (Lane() < 16) SyncWarp();
                   },
                   warp, 1),
               "at its end|SyncWarp");
  EXPECT_DEATH(Run(
                   [](const void*) {
                     if (Warp() == 0) SyncThreads();
                   },
                   {.threads = 64}, 1),
               "barrier");
  EXPECT_DEATH(Run([](const void* p) { (void)LoadGlobal<uint32_t>(Of(p).in + 7); }, warp, 7), "outside");
  EXPECT_DEATH(Run([](const void*) { StoreShared(SharedMemory() + 64, uint8_t{1}); }, warp, 1), "outside");
  EXPECT_DEATH(Run([](const void* p) { (void)LoadGlobal<uint64_t>(Of(p).in + 1); }, warp, 7), "aligned");
  EXPECT_DEATH(Run(
                   [](const void* p) {
                     CopyAsync16(SharedMemory(), Of(p).in, true);
                     CommitCopies();
                     (void)LoadShared<uint32_t>(SharedMemory());
                   },
                   warp, 4),
               "which nobody wrote");
}

TEST_F(Emulation, TheHostCannotTouchDeviceMemory) {
  const cuda_test::DeviceArray<uint32_t> array(device_.get(), 4);
  EXPECT_DEATH(*const_cast<volatile uint32_t*>(array.data()) = 1, "");
}

// 16 x 16 times 16 x 8 of small integers, which are exact in any order.
TEST_F(Emulation, FragmentsOfMmaAndLdmatrix) {
  const auto out = Run(
      [](const void* params) {
        const auto bf16 = [](int n) { return std::bit_cast<uint32_t>(static_cast<float>(n)) >> 16; };
        std::byte* const shared = SharedMemory();
        const int lane = Lane();
        // A [16][16] with a[i][k] = i - k, then B as [k][n] with b = k + 2 n.
        for (int e = lane; e < 256; e += 32)
          StoreShared(shared + 2 * e, static_cast<uint16_t>(bf16(e / 16 - e % 16)));
        for (int e = lane; e < 128; e += 32)
          StoreShared(shared + 512 + 2 * e, static_cast<uint16_t>(bf16(e / 8 + 2 * (e % 8))));
        SyncWarp();
        uint32_t a[4], b[4];
        LoadMatrix4(a, shared + (lane % 16) * 32 + (lane / 16) * 16);
        LoadMatrix4Transposed(b, shared + 512 + (lane % 16) * 16);
        float c[4] = {1, 1, 1, 1};
        const uint32_t of_b[2] = {b[0], b[1]};
        Mma16816<HalfType::kBF16>(c, a, of_b);
        for (int r = 0; r < 4; ++r) {
          const int row = lane / 4 + 8 * (r / 2), column = 2 * (lane % 4) + r % 2;
          StoreGlobal(Of(params).out + row * 8 + column, std::bit_cast<uint32_t>(c[r]));
        }
      },
      {.threads = 32, .shared_bytes = 768}, 128);
  for (int i = 0; i < 16; ++i) {
    for (int n = 0; n < 8; ++n) {
      int sum = 1;
      for (int k = 0; k < 16; ++k) sum += (i - k) * (k + 2 * n);
      EXPECT_EQ(std::bit_cast<float>(out[i * 8 + n]), static_cast<float>(sum)) << i << ", " << n;
    }
  }
}

// --- The runtime ---

TEST(EmulatedRuntime, StreamsKeepTheirOrderAndEventsJoinThem) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto device = cuda_test::NewDevice({.seed = seed, .late_copies = seed % 2 == 0});
    const cuda_test::DeviceArray<uint32_t> array(device.get(), 1024);
    auto pinned = device->AllocatePinned(8192);
    ASSERT_TRUE(pinned.ok());
    auto* const words = reinterpret_cast<uint32_t*>(*pinned);
    for (uint32_t i = 0; i < 1024; ++i) words[i] = i;
    auto* const memory = reinterpret_cast<std::byte*>(array.data());
    ASSERT_TRUE(device->CopyToDevice(cuda::Stream::kLoad, memory, *pinned, 4096).ok());
    const auto loaded = device->Record(cuda::Stream::kLoad);
    ASSERT_TRUE(loaded.ok() && device->WaitFor(cuda::Stream::kSpill, *loaded).ok());
    ASSERT_TRUE(device->CopyToHost(cuda::Stream::kSpill, *pinned + 4096, memory, 4096).ok());
    const auto spilled = device->Record(cuda::Stream::kSpill);
    ASSERT_TRUE(spilled.ok() && device->Synchronize(*spilled).ok());
    for (uint32_t i = 0; i < 1024; ++i) ASSERT_EQ(words[1024 + i], i) << seed;
    EXPECT_TRUE(*device->HasEnded(*loaded));
    device->FreePinned(*pinned);
  }
}

// Without the event, the copy from the device sometimes comes first.
TEST(EmulatedRuntime, AMissingEventShows) {
  int wrong = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto device = cuda_test::NewDevice({.seed = seed});
    const cuda_test::DeviceArray<uint32_t> array(device.get(), 4);
    auto pinned = device->AllocatePinned(64);
    auto* const words = reinterpret_cast<uint32_t*>(*pinned);
    words[0] = 5;
    auto* const memory = reinterpret_cast<std::byte*>(array.data());
    // Both streams wait for the same event, so that both have work when the device chooses.
    (void)device->Zero(cuda::Stream::kCompute, memory, 16);
    const auto begin = device->Record(cuda::Stream::kCompute);
    (void)device->WaitFor(cuda::Stream::kLoad, *begin);
    (void)device->WaitFor(cuda::Stream::kSpill, *begin);
    (void)device->CopyToDevice(cuda::Stream::kLoad, memory, *pinned, 4);
    (void)device->CopyToHost(cuda::Stream::kSpill, *pinned + 32, memory, 4);
    for (const auto stream : {cuda::Stream::kLoad, cuda::Stream::kSpill}) cuda_test::Wait(*device, stream);
    wrong += words[8] != 5;
    device->FreePinned(*pinned);
  }
  EXPECT_GT(wrong, 0);
}

TEST(EmulatedRuntime, ALostDeviceStaysLostAndEndsItsEvents) {
  cuda_emulation::EmulatedRuntime device({});
  auto memory = device.Allocate(256);
  ASSERT_TRUE(memory.ok());
  const auto event = device.Record(cuda::Stream::kCompute);
  ASSERT_TRUE(event.ok());
  device.FailFrom(device.calls(), Code::kUnavailable);
  EXPECT_EQ(device.Synchronize(*event).code(), Code::kUnavailable);
  EXPECT_TRUE(device.lost());
  EXPECT_EQ(device.Zero(cuda::Stream::kCompute, *memory, 256).code(), Code::kUnavailable);
  device.Free(*memory);
}

TEST(EmulatedRuntime, MemoryIsBoundedAndGivenBack) {
  cuda_emulation::EmulatedRuntime device({.bytes = 1 << 20});
  auto first = device.Allocate(1 << 19);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(device.Allocate((1 << 19) + 1).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(*device.FreeBytes(), size_t{1} << 19);
  device.Free(*first);
  EXPECT_EQ(*device.FreeBytes(), size_t{1} << 20);
}

}  // namespace
}  // namespace prefixd
