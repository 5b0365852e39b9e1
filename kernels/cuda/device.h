// What device code may ask of a GPU: who a thread is, shared memory, barriers, shuffles, asynchronous copies
// and the products of the tensor cores. Kernels (kernels/cuda/*_kernels.h) touch hardware through these
// functions alone. So the same source is compiled twice: by nvcc for a device, and by the host's compiler for
// the emulation in tests/support/cuda_emulation, which runs it in CI.
//
// Two implementations: device_cuda.inl.h has the instructions; tests/support/cuda_emulation/device.inl.h has
// the emulation, which a translation unit of kernels includes first. It aborts on what a device would do
// wrong silently: reads outside of shared memory or of shared memory that nobody wrote, a barrier that not
// all threads reach, a shuffle of a part of a warp, a misaligned access, data of a copy that was not waited
// for.
//
// Rules for device code
//   1. A collective function (marked so) is called by all threads of a warp, or of a block, at once.
//   2. All shared memory is that of the launch: SharedMemory(). Its size is KernelLaunch::shared_bytes.
//   3. Arithmetic on f32 whose rounding matters uses Fma, Add, Mul, Div and Sqrt; the compiler contracts
//      nothing.
//   4. Lane l of a warp has the number l = ThreadIndex() % 32; blocks are one-dimensional.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device_base.h"

namespace prefixd::device {

// Who this thread is.
PREFIXD_DEVICE int ThreadIndex();
PREFIXD_DEVICE int BlockThreads();
PREFIXD_DEVICE int BlockX();
PREFIXD_DEVICE int BlockY();
PREFIXD_DEVICE int GridX();
PREFIXD_DEVICE int GridY();
PREFIXD_DEVICE int Lane() { return ThreadIndex() % kWarp; }
PREFIXD_DEVICE int Warp() { return ThreadIndex() / kWarp; }

// Dynamic shared memory of the block, 1024-byte aligned.
PREFIXD_DEVICE std::byte* SharedMemory();
// The emulation checks every access to shared memory through these; kernels use no others. `at` points into
// SharedMemory(), aligned for T; T has 1, 2, 4, 8 or 16 bytes.
template <typename T>
PREFIXD_DEVICE T LoadShared(const void* at);
template <typename T>
PREFIXD_DEVICE void StoreShared(void* at, T value);

// Global memory. `at` is aligned for T; T has 1, 2, 4, 8 or 16 bytes. The emulation checks that it lies
// within an allocation of the device.
template <typename T>
PREFIXD_DEVICE T LoadGlobal(const void* at);
template <typename T>
PREFIXD_DEVICE void StoreGlobal(void* at, T value);

// A struct of 4-byte aligned words, word by word.
template <typename T>
PREFIXD_DEVICE T LoadStruct(const T* at) {
  static_assert(sizeof(T) % 4 == 0);
  uint32_t words[sizeof(T) / 4];
  for (size_t i = 0; i < sizeof(T) / 4; ++i)
    words[i] = LoadGlobal<uint32_t>(reinterpret_cast<const std::byte*>(at) + 4 * i);
  T value;
  __builtin_memcpy(&value, words, sizeof(T));
  return value;
}
template <typename T>
PREFIXD_DEVICE void StoreStruct(T* at, const T& value) {
  static_assert(sizeof(T) % 4 == 0);
  uint32_t words[sizeof(T) / 4];
  __builtin_memcpy(words, &value, sizeof(T));
  for (size_t i = 0; i < sizeof(T) / 4; ++i)
    StoreGlobal<uint32_t>(reinterpret_cast<std::byte*>(at) + 4 * i, words[i]);
}

// A launch may begin while the one before it in its stream still runs. AwaitPredecessor returns when that one
// has ended and what it wrote is there; it awaited its own predecessor, so all before it have ended, too.
// Every thread of every launch calls it, before it reads what a launch wrote and before it writes anything:
// for a kernel of PREFIXD_CUDA_EARLY_KERNELS or PREFIXD_CUDA_FUSED_KERNELS (kernel_table.h) its own code
// does, for the others what starts them.
PREFIXD_DEVICE void AwaitPredecessor();
// Lets the next launch of the stream begin once every block has called this or ended.
PREFIXD_DEVICE void LetSuccessorBegin();

// Collective over the block: every thread has seen what any thread wrote before.
PREFIXD_DEVICE void SyncThreads(Where where = Where::current());
// Collective over the warp.
PREFIXD_DEVICE void SyncWarp(Where where = Where::current());
PREFIXD_DEVICE uint32_t ShuffleXor(uint32_t value, int mask, Where where = Where::current());
PREFIXD_DEVICE uint32_t Shuffle(uint32_t value, int lane, Where where = Where::current());
PREFIXD_DEVICE uint32_t Ballot(bool value, Where where = Where::current());

// On shared or global memory; relaxed; returns the value before.
PREFIXD_DEVICE uint32_t AtomicAdd(uint32_t* at, uint32_t value);
PREFIXD_DEVICE uint64_t AtomicAdd(uint64_t* at, uint64_t value);
PREFIXD_DEVICE uint32_t AtomicMax(uint32_t* at, uint32_t value);

// Copies 16 bytes from global to shared memory, both 16-byte aligned; zeros when `valid` is false, and then
// nothing is read. The bytes are there after WaitCopies<n> for the group that CommitCopies closed (all but
// the last n groups), for the own thread; after SyncThreads for the others.
PREFIXD_DEVICE void CopyAsync16(void* shared, const void* global, bool valid);
PREFIXD_DEVICE void CommitCopies();
template <int n>
PREFIXD_DEVICE void WaitCopies();

// Collective over the warp: four 8 x 8 matrices of 16-bit elements from shared memory. Lane 8 r + j has the
// address of row j of matrix r, 16 bytes, aligned. registers[r] of lane l gets the elements (l / 4, 2 (l %
// 4)) and (l / 4, 2 (l % 4) + 1) of matrix r, the first in the low half; transposed: (2 (l % 4), l / 4) and
// (2 (l % 4) + 1, l / 4).
PREFIXD_DEVICE void LoadMatrix4(uint32_t (&registers)[4], const void* row, Where where = Where::current());
PREFIXD_DEVICE void LoadMatrix4Transposed(uint32_t (&registers)[4], const void* row,
                                          Where where = Where::current());

// Collective over the warp: c += a b, a 16 x 16, b 16 x 8, c 16 x 8 in f32. With g = lane / 4, t = lane % 4:
//   a[i]: row g + 8 (i % 2), columns 2 t + 8 (i / 2) and the next
//   b[i]: rows 2 t + 8 i and the next, column g
//   c[i]: row g + 8 (i / 2), column 2 t + i % 2
// Each output is one fused sum of 16 products and c, as bench/gpu/mma_model.h defines it for Hopper.
template <HalfType type>
PREFIXD_DEVICE void Mma16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             Where where = Where::current());

// The same of integers: c += a b, a 16 x 32 and b 32 x 8 of i8, four of them in a register, the first in the
// lowest byte; c of i32. With g and t as above:
//   a[i]: row g + 8 (i % 2), columns 4 t + 16 (i / 2) and the next three
//   b[i]: rows 4 t + 16 i and the next three, column g
PREFIXD_DEVICE void Mma16832(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             Where where = Where::current());

// --- For devices of compute capability 9.0 alone: a kernel that calls these is compiled for sm_90a only ---

// A barrier of bulk copies: 8 bytes of shared memory, 8-byte aligned. It has phases, one after the other. One
// thread begins and ends it; the others use it in between, with a SyncThreads on each side.
PREFIXD_DEVICE void BeginCopyBarrier(void* barrier);
PREFIXD_DEVICE void EndCopyBarrier(void* barrier);
// By one thread, once in a phase: it ends when copies of so many bytes have arrived. They follow.
PREFIXD_DEVICE void ExpectCopies(void* barrier, int bytes);
// Copies from global to shared memory, both 16-byte aligned, a multiple of 16 bytes.
PREFIXD_DEVICE void CopyBulk(void* shared, const void* global, int bytes, void* barrier);
// Collective over the warp. Returns when the phase has ended: number 0, 2, .. for parity 0, the others for 1.
// It must not be the one before the last that ended. Then the bytes are there for this thread.
PREFIXD_DEVICE void AwaitCopies(void* barrier, int parity, Where where = Where::current());
// After this and a SyncThreads, what this thread wrote to shared memory is there for WarpgroupMma, and a bulk
// copy may write over it.
PREFIXD_DEVICE void PublishShared();

// Where shared memory has an address, for the descriptors of warpgroup_order.h.
PREFIXD_DEVICE uint32_t SharedAddress(const void* at);
// Collective over four warps, from a multiple of four on: c += a b, a 64 x 16, b 16 x (8 tiles), c in f32.
// Warp w has the rows from 16 w on, with the fragments and the bits of Mma16816; c[n] has the columns from
// 8 n on. b is in shared memory, at a descriptor; rows_together: the elements of a row of it lie together,
// otherwise those of a column. Called between Begin and End, which have its c and all its a: the products
// read and write these registers in between, so nobody else may, and nobody may write b.
template <int tiles, int steps>
PREFIXD_DEVICE void BeginWarpgroupMma(float (&c)[tiles][4], uint32_t (&a)[steps][4]);
template <HalfType type, bool rows_together, int tiles>
PREFIXD_DEVICE void WarpgroupMma(float (&c)[tiles][4], const uint32_t (&a)[4], uint64_t b,
                                 Where where = Where::current());
template <int tiles, int steps>
PREFIXD_DEVICE void EndWarpgroupMma(float (&c)[tiles][4], uint32_t (&a)[steps][4]);

// --- Numbers ---

// The f16 with these bits; exact.
PREFIXD_DEVICE float WidenF16(uint16_t bits);
// Two f16 of two e4m3 (kernels/numerics.h, rule 11) in the low bytes; exact. Every NaN is one of f16.
PREFIXD_DEVICE uint32_t WidenE4M3x2(uint32_t pair);
// Of two f16, each rounded to nearest even, with subnormals.
PREFIXD_DEVICE uint32_t MulF16x2(uint32_t a, uint32_t b);
PREFIXD_DEVICE uint32_t AddF16x2(uint32_t a, uint32_t b);

// IEEE, rounded to nearest even, with subnormals.
PREFIXD_DEVICE float Fma(float a, float b, float c);
PREFIXD_DEVICE float Add(float a, float b);
PREFIXD_DEVICE float Mul(float a, float b);
PREFIXD_DEVICE float Div(float a, float b);
PREFIXD_DEVICE float Sqrt(float a);

}  // namespace prefixd::device

#ifdef __CUDACC__
#include "kernels/cuda/device_cuda.inl.h"
#endif
