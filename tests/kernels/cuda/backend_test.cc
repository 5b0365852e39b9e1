// What the CUDA backend does beside steps: uploads, copies of blocks within a pool and by a KvCopier, and
// dummy weights. On the emulation, whose streams can be held.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_kv_copier.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_staging.h"
#include "kernels/cuda/pinned_kv_pool.h"
#include "kernels/dummy_weights.h"
#include "kernels/host_memory.h"
#include "kernels/quantize.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"

namespace prefixd {
namespace {

using cuda::Stream;
using cuda_emulation::EmulatedRuntime;

constexpr KvLayout kLayout{.layers = 1, .kv_heads = 1, .head_dim = 8, .block_tokens = 4, .type = DType::kF32};
constexpr std::chrono::seconds kLong{60};  // a test fails, rather than hangs

using Bytes = std::vector<std::byte>;
Bytes Block(int value) { return Bytes(kLayout.BlockBytes(), static_cast<std::byte>(value)); }

class CudaCopier : public testing::Test {
 protected:
  // Waits until the stream has so many copies that have not begun.
  bool WaitForCopies(Stream stream, size_t count) {
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (runtime_.waiting_copies(stream) < count && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return runtime_.waiting_copies(stream) >= count;
  }
  static std::span<std::byte> SpanOf(const std::shared_ptr<std::byte>& staged) {
    return {staged.get(), kLayout.BlockBytes()};
  }
  Bytes Read(BlockId block) {
    const auto staged = copier_->Stage();
    EXPECT_TRUE(copier_->Read(*pool_, block, SpanOf(staged)).ok());
    return {staged.get(), staged.get() + kLayout.BlockBytes()};
  }
  Status Write(const Bytes& bytes, BlockId block) {
    const auto staged = copier_->Stage();
    std::ranges::copy(bytes, staged.get());
    return copier_->Write(SpanOf(staged), *pool_, block);
  }
  Bytes BytesOf(const Matrix& matrix) {
    auto* const taken = *runtime_.AllocatePinned(matrix.bytes());
    const auto* const from = static_cast<const cuda::CudaMatrix&>(matrix).row(0);
    EXPECT_TRUE(runtime_.CopyToHost(Stream::kCompute, taken, from, matrix.bytes()).ok());
    EXPECT_TRUE(runtime_.Synchronize(*runtime_.Record(Stream::kCompute)).ok());
    Bytes bytes(taken, taken + matrix.bytes());
    runtime_.FreePinned(taken);
    return bytes;
  }
  template <typename Work>
  static std::future<Status> Begin(const Work& work) {
    return std::async(std::launch::async, work);
  }

  EmulatedRuntime runtime_{{}};
  const std::unique_ptr<Backend> backend_ = cuda::CreateCudaBackend(&runtime_);
  const std::unique_ptr<KvPool> pool_ = *backend_->AllocateKv(kLayout, 12);
  const std::unique_ptr<KvPool> host_ = *backend_->AllocateHostKv(kLayout, 3, {});
  const std::unique_ptr<KvCopier> copier_ = *backend_->CreateKvCopier(kLayout);
};

TEST_F(CudaCopier, BlocksOfPinnedMemoryGoBothWays) {
  ASSERT_TRUE(Write(Block(3), 1).ok());
  const std::span<std::byte> of_host(host_->block(2), kLayout.BlockBytes());
  std::ranges::copy(Block(4), of_host.begin());
  ASSERT_TRUE(copier_->Write(of_host, *pool_, 11).ok());
  EXPECT_EQ(Read(1), Block(3));
  EXPECT_EQ(Read(11), Block(4));
  EXPECT_EQ(Read(2), Block(0));
  ASSERT_TRUE(copier_->Read(*pool_, 1, of_host).ok());
  EXPECT_TRUE(std::ranges::equal(of_host, Block(3)));
}

TEST_F(CudaCopier, NobodyWaitsForABlockCopyButTheCopiesAfterIt) {
  ASSERT_TRUE(Write(Block(3), 1).ok());
  runtime_.Hold(Stream::kCompute, true);
  backend_->CopyBlock(*pool_, 1, 2);  // returns, though the stream stands still
  EXPECT_EQ(runtime_.waiting_copies(Stream::kCompute), 1u);
  std::future<Status> write = Begin([&] { return Write(Block(5), 1); });
  Bytes read;
  std::future<Status> reads = Begin([&] {
    read = Read(2);
    return Status::Ok();
  });
  EXPECT_TRUE(WaitForCopies(Stream::kLoad, 1));
  EXPECT_TRUE(WaitForCopies(Stream::kSpill, 1));
  const uint64_t work = runtime_.work();
  runtime_.Hold(Stream::kCompute, false);
  EXPECT_TRUE(write.get().ok());
  EXPECT_TRUE(reads.get().ok());
  EXPECT_GE(runtime_.work() - work, 2u + 2 * 3) << "the copy, and two that waited for it";
  EXPECT_EQ(read, Block(3)) << "what was copied, before its source was overwritten";
  EXPECT_EQ(Read(1), Block(5));
  EXPECT_EQ(runtime_.conflicts(), 0u);
}

TEST_F(CudaCopier, APoolOutlivesTheCopyWithinIt) {
  std::unique_ptr<KvPool> pool = *backend_->AllocateKv(kLayout, 2);
  runtime_.Hold(Stream::kCompute, true);
  backend_->CopyBlock(*pool, 0, 1);
  std::future<void> destroyed = std::async(std::launch::async, [&] { pool.reset(); });
  EXPECT_EQ(runtime_.waiting_copies(Stream::kCompute), 1u);
  runtime_.Hold(Stream::kCompute, false);
  destroyed.get();  // the emulation stops the process where a copy reaches freed memory
  EXPECT_EQ(runtime_.waiting_copies(Stream::kCompute), 0u);
}

// Blocks of the host tier need none of it.
TEST_F(CudaCopier, WhatIsLentIsBounded) {
  std::vector<std::shared_ptr<std::byte>> lent;
  for (size_t i = 0; i < KvCopier::kMostBuffers; ++i) lent.push_back(copier_->Stage());
  for (size_t i = 0; i < lent.size(); ++i) {
    std::ranges::copy(Block(static_cast<int>(i) + 1), lent[i].get());
    ASSERT_TRUE(copier_->Write(SpanOf(lent[i]), *pool_, static_cast<BlockId>(i)).ok());
  }
  std::atomic<bool> has_one{false};
  std::future<Status> next = Begin([&] {
    const Status status = Write(Block(9), 10);
    has_one = true;
    return status;
  });
  const std::span<std::byte> of_host(host_->block(1), kLayout.BlockBytes());
  EXPECT_TRUE(copier_->Read(*pool_, 3, of_host).ok());
  EXPECT_TRUE(std::ranges::equal(of_host, Block(4))) << "each has memory of its own";
  EXPECT_FALSE(has_one) << "all of it is lent";
  lent.pop_back();
  ASSERT_EQ(next.wait_for(kLong), std::future_status::ready);
  EXPECT_TRUE(next.get().ok());
  lent.clear();
  EXPECT_EQ(Read(10), Block(9));
}

TEST_F(CudaCopier, CopiesOfOtherMemoryAreBugs) {
  Bytes other = Block(1);
  const auto staged = copier_->Stage();
  EXPECT_DEATH((void)copier_->Read(*pool_, 1, other), "not pinned");
  EXPECT_DEATH((void)copier_->Write(other, *pool_, 1), "not pinned");
  EXPECT_DEATH((void)copier_->Write(SpanOf(staged).first(8), *pool_, 1), "8 bytes");
}

// The device gets one piece while the host fills the next ones, and no piece is filled before its copy has
// ended.
TEST_F(CudaCopier, AnUploadFillsPiecesWhileOthersAreCopied) {
  std::vector<uint32_t> numbers(2 * cuda::kStagingBytes / sizeof(uint32_t) + 5);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint32_t>(i * 2654435761u);
  const auto buffer = *backend_->Allocate(numbers.size() * sizeof(uint32_t));
  runtime_.Hold(Stream::kCompute, true);
  std::future<Status> upload = Begin([&] {
    backend_->Upload(*buffer, 0, std::as_bytes(std::span(numbers)));
    return Status::Ok();
  });
  EXPECT_TRUE(WaitForCopies(Stream::kCompute, cuda::kStagingPieces));
  EXPECT_EQ(runtime_.waiting_copies(Stream::kCompute), cuda::kStagingPieces) << "there are no more pieces";
  runtime_.Hold(Stream::kCompute, false);
  ASSERT_TRUE(upload.get().ok());

  auto* const taken = *runtime_.AllocatePinned(buffer->bytes());
  ASSERT_TRUE(
      runtime_
          .CopyToHost(Stream::kCompute, taken, static_cast<const std::byte*>(buffer->data()), buffer->bytes())
          .ok());
  ASSERT_TRUE(runtime_.Synchronize(*runtime_.Record(Stream::kCompute)).ok());
  EXPECT_EQ(std::memcmp(taken, numbers.data(), buffer->bytes()), 0);
  runtime_.FreePinned(taken);
}

// Rows of several threads go through the same pieces, which are never more than there are.
TEST_F(CudaCopier, ThreadsUploadRowsOfOneMatrix) {
  constexpr int kRows = 24, kCols = 1 << 18;  // a row fills a quarter of a piece
  std::vector<float> numbers(static_cast<size_t>(kRows) * kCols);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i * 2654435761u % 1000003);
  const auto matrix = *backend_->AllocateMatrix(kRows, kCols, DType::kF32);
  EXPECT_EQ(matrix->bytes(), backend_->PackedBytes(kRows, kCols, DType::kF32));
  runtime_.Hold(Stream::kCompute, true);
  std::vector<std::future<Status>> uploads;
  for (int thread = 0; thread < 6; ++thread) {
    uploads.push_back(Begin([&, thread] {
      for (const int row : {thread * 4 + 3, thread * 4}) {
        const int rows = row % 4 == 3 ? 1 : 3;
        PREFIXD_RETURN_IF_ERROR(backend_->UploadRows(
            *matrix, row, {numbers.data() + static_cast<size_t>(row) * kCols, DType::kF32, rows, kCols}));
      }
      return Status::Ok();
    }));
  }
  EXPECT_TRUE(WaitForCopies(Stream::kCompute, cuda::kStagingPieces));
  EXPECT_EQ(runtime_.waiting_copies(Stream::kCompute), cuda::kStagingPieces);
  runtime_.Hold(Stream::kCompute, false);
  for (std::future<Status>& upload : uploads) EXPECT_EQ(upload.get().ToString(), "ok");

  auto* const taken = *runtime_.AllocatePinned(matrix->bytes());
  const auto* const device = static_cast<const cuda::CudaMatrix&>(*matrix).row(0);
  ASSERT_TRUE(runtime_.CopyToHost(Stream::kCompute, taken, device, matrix->bytes()).ok());
  ASSERT_TRUE(runtime_.Synchronize(*runtime_.Record(Stream::kCompute)).ok());
  EXPECT_EQ(std::memcmp(taken, numbers.data(), matrix->bytes()), 0);
  runtime_.FreePinned(taken);
}

// Rows come in any order; each has its integers, then its scales, then zeros.
TEST_F(CudaCopier, QuantisedRowsAreUploadedInTheOrderOfTheKernels) {
  constexpr int kRows = 70, kCols = 96;
  for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0}) {
    const DummyMatrix dummy{.format = format, .rows = kRows, .cols = kCols, .seed = 5, .largest = 0.5f};
    const Bytes rows = DummyRows(dummy, 0, kRows);
    const auto matrix = *backend_->AllocateMatrix(kRows, kCols, format);
    const size_t row_bytes = matrix->bytes() / kRows, integers = format == WeightFormat::kQ8_0 ? 96 : 48;
    EXPECT_EQ(row_bytes, integers + 16) << "3 scales of 2 bytes";
    for (const auto& [first, count] : {std::pair(40, 30), {0, 1}, {1, 39}}) {
      const std::byte* const from = &rows[static_cast<size_t>(first) * format.RowBytes(kCols)];
      ASSERT_TRUE(backend_->UploadRows(*matrix, first, {from, format, count, kCols}).ok());
    }
    const auto made = *backend_->MakeDummy(dummy);
    for (const Matrix* of : {matrix.get(), made.get()}) {
      const Bytes bytes = BytesOf(*of);
      for (size_t r = 0; r < kRows; ++r) {
        for (size_t b = 0; b < 3; ++b) {
          const std::byte* const block = &rows[r * format.RowBytes(kCols) + b * format.block_bytes()];
          const std::byte* const row = &bytes[r * row_bytes];
          const size_t size = integers / 3;
          ASSERT_EQ(std::memcmp(row + b * size, block + 2, size), 0) << r << " " << b;
          ASSERT_EQ(std::memcmp(row + integers + 2 * b, block, 2), 0) << r << " " << b;
        }
        for (size_t i = 6; i < 16; ++i) ASSERT_EQ(bytes[r * row_bytes + integers + i], std::byte{0});
      }
    }
  }
}

// Each block and each copy of it lies in one piece: the emulation stops at a copy beyond its end.
TEST(PinnedKvPool, HasPiecesOfWholeBlocks) {
  EmulatedRuntime runtime({});
  const auto backend = cuda::CreateCudaBackend(&runtime);
  const auto device = *backend->AllocateKv(kLayout, 1);
  cuda::PinnedRanges ranges;
  const auto copier = *cuda::CudaKvCopier::Create(&runtime, kLayout.BlockBytes(), &ranges);
  constexpr uint32_t kBlocks = 7;
  for (const auto& [piece_bytes, pieces] :
       {std::pair(size_t{1}, 7u), {3 * kLayout.BlockBytes() - 1, 4u}, {size_t{1} << 30, 1u}}) {
    SCOPED_TRACE(pieces);
    std::vector<double> shares;
    const uint64_t before = runtime.memory_calls();
    std::unique_ptr<KvPool> pool = *cuda::PinnedKvPool::Create(
        &runtime, &ranges, kLayout, kBlocks, [&](double share) { shares.push_back(share); }, piece_bytes);
    EXPECT_EQ(runtime.memory_calls() - before, pieces);
    EXPECT_EQ(shares.size(), pieces);
    EXPECT_TRUE(std::ranges::is_sorted(shares));
    EXPECT_EQ(shares.back(), 1);
    const auto of = [&](BlockId id) { return std::span(pool->block(id), kLayout.BlockBytes()); };
    for (BlockId id = 0; id < kBlocks; ++id)
      std::ranges::copy(Block(static_cast<int>(id) + 1), of(id).begin());
    for (BlockId id = 0; id < kBlocks; ++id) {
      ASSERT_TRUE(copier->Write(of(id), *device, 0).ok());
      ASSERT_TRUE(copier->Read(*device, 0, of((id + 3) % kBlocks)).ok());
      EXPECT_TRUE(std::ranges::equal(of((id + 3) % kBlocks), of(id))) << id;
    }
    EXPECT_DEATH((void)pool->block(kBlocks), "block 7 of 7");
    const std::span<std::byte> last = of(kBlocks - 1);
    EXPECT_TRUE(ranges.Has(last));
    pool.reset();
    EXPECT_FALSE(ranges.Has(last));
  }
}

// Nothing of it leaks, for which the emulation looks.
TEST(PinnedKvPool, SaysHowMuchTheSystemPinned) {
  for (const Code code : {Code::kResourceExhausted, Code::kUnavailable}) {
    EmulatedRuntime runtime({});
    cuda::PinnedRanges ranges;
    runtime.FailFrom(2, code);
    const auto pool = cuda::PinnedKvPool::Create(&runtime, &ranges, kLayout, 8, {}, 2 * kLayout.BlockBytes());
    EXPECT_EQ(pool.status().code(), code);
    if (code == Code::kResourceExhausted) {
      EXPECT_EQ(pool.status().message(), "no memory (emulated), after 1.0 KiB of 2.0 KiB for the host cache");
    }
  }
}

TEST(CudaDummies, AreMadeOnTheDevice) {
  constexpr DummyMatrix kDummy{.format = DType::kBF16, .rows = 37, .cols = 50, .seed = 3, .largest = 0.25f};
  constexpr size_t kElements = 37 * 50, kBytes = kElements * 2;
  EmulatedRuntime runtime({});
  const auto backend = cuda::CreateCudaBackend(&runtime);
  const auto matrix = *backend->MakeDummy(kDummy);
  EXPECT_EQ(matrix->bytes(), kBytes);
  EXPECT_EQ(runtime.launches(), 1u);
  auto* const taken = *runtime.AllocatePinned(kBytes);
  const auto* const from =
      static_cast<const std::byte*>(static_cast<const cuda::CudaMatrix&>(*matrix).data());
  ASSERT_TRUE(runtime.CopyToHost(Stream::kCompute, taken, from, kBytes).ok());
  ASSERT_TRUE(runtime.Synchronize(*runtime.Record(Stream::kCompute)).ok());
  Bytes expected(kBytes);
  for (size_t i = 0; i < kElements; ++i)
    StoreElement(expected.data(), DType::kBF16, i, DummyWeight(kDummy.seed, i, kDummy.largest));
  EXPECT_EQ(std::memcmp(taken, expected.data(), kBytes), 0);
  runtime.FreePinned(taken);
}

// Every call of it fails, once for each: nothing leaks, for which the emulation looks.
TEST(CudaDummies, FailWithTheDevice) {
  for (const Code code : {Code::kResourceExhausted, Code::kUnavailable}) {
    uint64_t failures = 0;
    for (;; ++failures) {
      EmulatedRuntime runtime({});
      runtime.FailFrom(failures, code);
      const auto matrix = cuda::CreateCudaBackend(&runtime)->MakeDummy(
          {.format = DType::kF32, .rows = 3, .cols = 5, .seed = 1, .largest = 1});
      if (matrix.ok()) break;
      EXPECT_EQ(matrix.status().code(), code) << failures;
    }
    EXPECT_EQ(failures, code == Code::kResourceExhausted ? 1u : 4u);
  }
}

}  // namespace
}  // namespace prefixd
