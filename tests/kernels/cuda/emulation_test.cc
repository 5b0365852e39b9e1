// The emulation itself: what it computes, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "kernels/cuda/launches.h"
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

// A kernel that begins before the launch before it has ended.
TEST_F(Emulation, AnEarlyKernelAwaitsTheLaunchBefore) {
  const auto run = [&](KernelBody body, bool forgets) {
    const cuda_test::DeviceArray<uint32_t> in(device_.get(), std::vector<uint32_t>{7}), out(device_.get(), 1);
    const Arguments arguments{in.data(), out.data()};
    BlockRunner runner(1);
    runner.Run(
        "before", {}, [](const void* p) { StoreGlobal(Of(p).out, 5u); }, &arguments);
    if (forgets) runner.ForgetWrites();
    runner.Run("early", {}, body, &arguments, /*early=*/true);
    return out.Get()[0];
  };
  const KernelBody reads_early = [](const void* p) {
    const auto sum = LoadGlobal<uint32_t>(Of(p).in) + LoadGlobal<uint32_t>(Of(p).out);
    AwaitPredecessor();
    SyncWarp();  // all lanes have read
    StoreGlobal(Of(p).out, sum);
  };
  EXPECT_EQ(run(reads_early, true), 12u);
  EXPECT_DEATH(run(reads_early, false), "reads what a launch wrote before it has awaited");
  const KernelBody reads_late = [](const void* p) {
    const auto before = LoadGlobal<uint32_t>(Of(p).in);
    AwaitPredecessor();
    const auto sum = before + LoadGlobal<uint32_t>(Of(p).out);
    SyncWarp();
    StoreGlobal(Of(p).out, sum);
  };
  EXPECT_EQ(run(reads_late, false), 12u);
  EXPECT_DEATH(run([](const void* p) { StoreGlobal(Of(p).out, 1u); }, true), "writes before it has awaited");
  EXPECT_DEATH(run([](const void*) {}, true), "has not awaited the launch before");
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

TEST(EmulatedRuntime, OnlyCallsForMemoryFindNone) {
  cuda_emulation::EmulatedRuntime device({});
  auto first = device.Allocate(256);
  ASSERT_TRUE(first.ok());
  device.FailFrom(device.memory_calls() + 1, Code::kResourceExhausted);
  EXPECT_TRUE(device.FreeBytes().ok());
  const auto event = device.Record(cuda::Stream::kCompute);
  EXPECT_TRUE(event.ok() && device.Synchronize(*event).ok());
  EXPECT_EQ(device.AllocatePinned(256).status().code(), Code::kResourceExhausted);
  EXPECT_FALSE(device.lost());
  auto second = device.AllocatePinned(256);
  ASSERT_TRUE(second.ok()) << "it fails once";
  device.FreePinned(*second);
  device.Free(*first);
}

TEST(EmulatedRuntime, ADeviceIsLostWhileItWorks) {
  cuda_emulation::EmulatedRuntime device({});
  auto memory = device.Allocate(256);
  ASSERT_TRUE(memory.ok());
  device.LoseAfter(3);
  Status status = Status::Ok();
  for (int i = 0; i < 3 && status.ok(); ++i) {  // two pieces of work each
    ASSERT_TRUE(device.Zero(cuda::Stream::kCompute, *memory, 256).ok() || device.lost());
    const auto event = device.Record(cuda::Stream::kCompute);
    status = event.ok() ? device.Synchronize(*event) : event.status();
  }
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(device.lost());
  device.Free(*memory);
}

// Who learns of the loss from another thread's call may free at once: the kernel that runs has its memory
// until it ends.
TEST(EmulatedRuntime, ALostDeviceEndsItsKernelBeforeMemoryIsFreed) {
  constexpr int kRows = 4096, kCols = 1024;
  cuda_emulation::EmulatedRuntime device({});
  const auto memory = device.Allocate(sizeof(float) * kRows * kCols);
  ASSERT_TRUE(memory.ok());
  device.FailFrom(device.calls() + 1, Code::kUnavailable);
  std::future<Code> call = std::async(std::launch::async, [&] {
    while (device.launches() == 0) std::this_thread::yield();
    return device.FreeBytes().status().code();
  });
  const cuda::DummyParams kernel{.out = *memory, .seed = 1, .largest = 1, .rows = kRows, .cols = kCols};
  ASSERT_TRUE(device.Launch(cuda::Stream::kCompute, cuda::LaunchOf(kernel, DType::kF32)).ok());
  while (!device.lost()) std::this_thread::yield();
  device.Free(*memory);
  EXPECT_EQ(device.work(), 1u) << "the kernel has ended";
  EXPECT_EQ(call.get(), Code::kUnavailable);
}

// Work that touches what a held copy writes is a conflict, and so are writes to what it reads. An event that
// the copy waits for, and one that the work waits for, order them.
TEST(EmulatedRuntime, ConflictsWithCopiesAreCounted) {
  cuda_emulation::EmulatedRuntime device({});
  {
    const cuda_test::DeviceArray<uint32_t> array(&device, 64), other(&device, 64);
    auto* const memory = reinterpret_cast<std::byte*>(array.data());
    auto* const elsewhere = reinterpret_cast<std::byte*>(other.data());
    auto pinned = device.AllocatePinned(256);
    ASSERT_TRUE(pinned.ok());
    const int32_t row = 0;
    const cuda_test::DeviceArray<int32_t> rows(&device, std::span(&row, 1));
    const auto wait = [&](cuda::Stream stream) { cuda_test::Wait(device, stream); };

    device.Hold(cuda::Stream::kSpill, true);
    ASSERT_TRUE(device.CopyToHost(cuda::Stream::kSpill, *pinned, memory, 128).ok());
    EXPECT_EQ(device.waiting_copies(cuda::Stream::kSpill), 1u);
    ASSERT_TRUE(device.CopyOnDevice(cuda::Stream::kCompute, elsewhere, memory, 256).ok());
    wait(cuda::Stream::kCompute);
    EXPECT_EQ(device.beside_copies(), 1u);
    EXPECT_EQ(device.conflicts(), 0u) << "both read";
    ASSERT_TRUE(device.Zero(cuda::Stream::kCompute, memory + 128, 128).ok());
    wait(cuda::Stream::kCompute);
    EXPECT_EQ(device.conflicts(), 0u) << "beside it";
    ASSERT_TRUE(device.Zero(cuda::Stream::kCompute, memory + 124, 4).ok());
    wait(cuda::Stream::kCompute);
    EXPECT_EQ(device.conflicts(), 1u);
    device.Hold(cuda::Stream::kSpill, false);
    wait(cuda::Stream::kSpill);

    device.Hold(cuda::Stream::kLoad, true);
    ASSERT_TRUE(device.CopyToDevice(cuda::Stream::kLoad, memory, *pinned, 4).ok());
    const cuda::GatherParams reads{
        .x = memory, .indices = rows.data(), .out = elsewhere, .rows = 1, .row_bytes = 64};
    const uint64_t before = device.conflicts();
    ASSERT_TRUE(device.Launch(cuda::Stream::kCompute, cuda::LaunchOf(reads)).ok());
    wait(cuda::Stream::kCompute);
    EXPECT_GT(device.conflicts(), before) << "a kernel reads what the copy writes";
    device.Hold(cuda::Stream::kLoad, false);
    wait(cuda::Stream::kLoad);

    const uint64_t so_far = device.conflicts();
    ASSERT_TRUE(device.Launch(cuda::Stream::kCompute, cuda::LaunchOf(reads)).ok());
    const auto read = device.Record(cuda::Stream::kCompute);
    ASSERT_TRUE(read.ok() && device.WaitFor(cuda::Stream::kLoad, *read).ok());
    ASSERT_TRUE(device.CopyToDevice(cuda::Stream::kLoad, memory, *pinned, 4).ok());
    const auto copied = device.Record(cuda::Stream::kLoad);
    ASSERT_TRUE(copied.ok() && device.WaitFor(cuda::Stream::kCompute, *copied).ok());
    ASSERT_TRUE(device.Launch(cuda::Stream::kCompute, cuda::LaunchOf(reads)).ok());
    wait(cuda::Stream::kCompute);
    EXPECT_EQ(device.conflicts(), so_far) << "events order them";
    device.FreePinned(*pinned);
  }
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
