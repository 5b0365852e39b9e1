// The functions of kernels/cuda/device.h on the host, for a translation unit that has kernels. Each asks the
// BlockRunner of its thread.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <span>

#include "kernels/cuda/device.h"
#include "kernels/numerics.h"
#include "tests/support/cuda_emulation/block_runner.h"

namespace prefixd::device {

using cuda_emulation::BlockRunner;
using cuda_emulation::Collective;
using cuda_emulation::Operands;

inline int ThreadIndex() { return BlockRunner::Current().thread(); }
inline int BlockThreads() { return BlockRunner::Current().grid().threads; }
inline int BlockX() { return BlockRunner::Current().block_x(); }
inline int BlockY() { return BlockRunner::Current().block_y(); }
inline int GridX() { return BlockRunner::Current().grid().blocks_x; }
inline int GridY() { return BlockRunner::Current().grid().blocks_y; }
inline std::byte* SharedMemory() { return BlockRunner::Current().shared(); }

template <typename T>
T LoadGlobal(const void* at) {
  T value;
  std::memcpy(&value, BlockRunner::Current().Read(at, sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void StoreGlobal(void* at, T value) {
  std::memcpy(BlockRunner::Current().Write(at, sizeof(T)), &value, sizeof(T));
}
template <typename T>
T LoadShared(const void* at) {
  return LoadGlobal<T>(at);
}
template <typename T>
void StoreShared(void* at, T value) {
  StoreGlobal<T>(at, value);
}

inline void AwaitPredecessor() { BlockRunner::Current().Await(); }
inline void LetSuccessorBegin() {}

inline void SyncThreads(Where where) { BlockRunner::Current().Meet(Collective::kBarrier, {}, where); }
inline void SyncWarp(Where where) { BlockRunner::Current().Meet(Collective::kSyncWarp, {}, where); }
inline uint32_t Shuffle(uint32_t value, int lane, Where where) {
  return BlockRunner::Current().Meet(Collective::kShuffle, {.value = value, .lane = lane}, where).value;
}
inline uint32_t ShuffleXor(uint32_t value, int mask, Where where) {
  return Shuffle(value, Lane() ^ mask, where);
}
inline uint32_t Ballot(bool value, Where where) {
  return BlockRunner::Current().Meet(Collective::kBallot, {.value = value ? 1u : 0u}, where).value;
}

// One thread runs at a time.
inline uint32_t AtomicAdd(uint32_t* at, uint32_t value) {
  const auto before = LoadGlobal<uint32_t>(at);
  StoreGlobal(at, before + value);
  return before;
}
inline uint64_t AtomicAdd(uint64_t* at, uint64_t value) {
  const auto before = LoadGlobal<uint64_t>(at);
  StoreGlobal(at, before + value);
  return before;
}
inline uint32_t AtomicMax(uint32_t* at, uint32_t value) {
  const auto before = LoadGlobal<uint32_t>(at);
  StoreGlobal(at, before < value ? value : before);
  return before;
}

inline void CopyAsync16(void* shared, const void* global, bool valid) {
  BlockRunner::Current().CopyAsync(shared, global, valid);
}
inline void CommitCopies() { BlockRunner::Current().CommitCopies(); }
template <int n>
void WaitCopies() {
  BlockRunner::Current().WaitCopies(n);
}

inline void LoadMatrix4(uint32_t (&registers)[4], const void* row, Where where) {
  BlockRunner::Current().Meet(Collective::kLoadMatrix, {.row = row, .registers = registers}, where);
}
inline void LoadMatrix4Transposed(uint32_t (&registers)[4], const void* row, Where where) {
  BlockRunner::Current().Meet(Collective::kLoadMatrix,
                              {.row = row, .transposed = true, .registers = registers}, where);
}
template <HalfType type>
void Mma16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where where) {
  BlockRunner::Current().Meet(Collective::kMma, {.c = c, .a = a, .b = b, .type = type}, where);
}
inline void Mma16832(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where where) {
  BlockRunner::Current().Meet(Collective::kMmaOfIntegers, {.integers = c, .a = a, .b = b}, where);
}

inline void BeginCopyBarrier(void* barrier) { BlockRunner::Current().BeginCopyBarrier(barrier); }
inline void EndCopyBarrier(void* barrier) { BlockRunner::Current().EndCopyBarrier(barrier); }
inline void ExpectCopies(void* barrier, int bytes) { BlockRunner::Current().ExpectCopies(barrier, bytes); }
inline void CopyBulk(void* shared, const void* global, int bytes, void* barrier) {
  BlockRunner::Current().CopyBulk(shared, global, bytes, barrier);
}
inline void AwaitCopies(void* barrier, int parity, Where where) {
  BlockRunner::Current().Meet(Collective::kAwaitCopies, {.lane = parity, .row = barrier}, where);
}
inline void PublishShared() { BlockRunner::Current().PublishShared(); }
inline uint32_t SharedAddress(const void* at) { return BlockRunner::Current().SharedAddress(at); }
template <int tiles, int steps>
void BeginWarpgroupMma(float (&c)[tiles][4], uint32_t (&a)[steps][4]) {
  BlockRunner::Current().BeginProducts(std::span(c[0], 4 * tiles), std::span(a[0], 4 * steps));
}
template <HalfType type, bool rows_together, int tiles>
void WarpgroupMma(float (&c)[tiles][4], const uint32_t (&a)[4], uint64_t b, Where where) {
  BlockRunner::Current().Meet(
      Collective::kWarpgroupMma,
      {.transposed = rows_together, .c = c[0], .a = a, .type = type, .descriptor = b, .tiles = tiles}, where);
}
template <int tiles, int steps>
void EndWarpgroupMma(float (&c)[tiles][4], uint32_t (&)[steps][4]) {
  BlockRunner::Current().EndProducts(c[0]);
}

inline float WidenF16(uint16_t bits) { return numerics::F32FromF16(bits); }
// f32 has more than twice the bits of f16, and two more, so rounding the result twice rounds it once.
template <typename Op>
uint32_t OfF16x2(uint32_t a, uint32_t b, const Op& op) {
  uint32_t result = 0;
  for (int i = 0; i < 2; ++i) {
    const float x = numerics::F32FromF16(static_cast<uint16_t>(a >> (16 * i)));
    const float y = numerics::F32FromF16(static_cast<uint16_t>(b >> (16 * i)));
    result |= static_cast<uint32_t>(numerics::F32ToF16(op(x, y))) << (16 * i);
  }
  return result;
}
inline uint32_t MulF16x2(uint32_t a, uint32_t b) { return OfF16x2(a, b, std::multiplies<>()); }
inline uint32_t AddF16x2(uint32_t a, uint32_t b) { return OfF16x2(a, b, std::plus<>()); }

inline uint32_t WidenE4M3x2(uint32_t pair) {
  const auto widened = [pair](int i) {
    return uint32_t{numerics::F32ToF16(numerics::F32FromE4M3(static_cast<uint8_t>(pair >> (8 * i))))};
  };
  return widened(0) | widened(1) << 16;
}

inline float Fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float Add(float a, float b) { return a + b; }
inline float Mul(float a, float b) { return a * b; }
inline float Div(float a, float b) { return a / b; }
inline float Sqrt(float a) { return std::sqrt(a); }

}  // namespace prefixd::device
