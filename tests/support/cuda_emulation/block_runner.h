// BlockRunner: runs the blocks of an emulated launch, one after the other, each with a fibre for every
// thread. A fibre runs until it comes to a collective function of kernels/cuda/device.h, and goes on when all
// threads that take part have come to it. Which warp and which lane runs next is drawn from a seed, so a
// missing barrier shows. The results of a collective are computed once for its warp.
//
// It stops the process, with the kernel and the source line, when
//   - threads of a warp are at different collectives, or some have ended and others wait at one
//   - a barrier waits for a thread that has ended
//   - an access lies outside of shared memory or of an allocation, or is not aligned
//   - shared memory is read that nobody wrote in this block
//   - a product of a warpgroup is not that of all its warps, reads what a thread wrote and did not publish,
//     or one of its factors changes before its end; until then the c of the products is NaN
//   - a thread of an early kernel (device.h, AwaitPredecessor), before it has awaited the launch before it,
//     writes memory of the device, or reads an allocation that a launch wrote, or if it never awaits it
//
// Threads: one runs launches at a time, in Run. The functions of device.h find the runner of their thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/device_base.h"
#include "tests/support/cuda_emulation/device_space.h"
#include "tests/support/cuda_emulation/fibre.h"

namespace prefixd::cuda_emulation {

// The body of a kernel, with its params.
using KernelBody = void (*)(const void* params);

struct Grid {
  int blocks_x = 1, blocks_y = 1, threads = 32;
  size_t shared_bytes = 0;
};

enum class Collective : uint8_t {
  kNone,
  kBarrier,
  kSyncWarp,
  kShuffle,
  kBallot,
  kLoadMatrix,
  kMma,
  kMmaOfIntegers,
  kAwaitCopies,
  kWarpgroupMma
};

// What a thread brings to a collective, and what it gets.
struct Operands {
  uint32_t value = 0;             // shuffles: the value and its result; ballots: 0 or 1 and the votes
  int lane = 0;                   // shuffles: of the source; waits for copies: the parity
  const void* row = nullptr;      // or a barrier of copies
  bool transposed = false;        // or the rows of b lie together
  uint32_t* registers = nullptr;  // 4, of ldmatrix
  float* c = nullptr;             // 4 of each tile, of mma
  int32_t* integers = nullptr;    // 4, the c of an mma of integers
  const uint32_t* a = nullptr;    // 4
  const uint32_t* b = nullptr;    // 2
  device::HalfType type = device::HalfType::kBF16;
  uint64_t descriptor = 0;  // b of a warpgroup
  int tiles = 1;
};

class BlockRunner {
 public:
  explicit BlockRunner(uint64_t seed) : random_(seed) {}

  // Runs all blocks. `name` is that of the kernel. `early`: it awaits the launch before it by itself.
  void Run(const std::string& name, const Grid& grid, KernelBody body, const void* params,
           bool early = false);
  // What launches wrote so far counts as there for every launch: somebody has waited for an event.
  void ForgetWrites() { launch_writes_.clear(); }

  // Whether the products of the tensor cores are those of a device, bit for bit. Otherwise each is a sum in
  // f64, rounded once, and ten times as fast.
  void set_exact_products(bool exact) { exact_products_ = exact; }

  // Memory that copies beside the launches may touch: a launch leaves alone what one of them writes, and
  // writes nothing that one of them reads. NoteAccess adds to `conflicts` where that is not so.
  struct Busy {
    const std::byte* begin;
    size_t bytes;
    bool is_written;
  };
  void SetBusy(std::vector<Busy> busy) { busy_ = std::move(busy); }
  void NoteAccess(const void* address, size_t bytes, bool writes);
  uint64_t conflicts() const { return conflicts_; }

  // Of the thread that is running. Only device functions call them.
  static BlockRunner& Current() {
    if (current_ == nullptr) FailOutside();
    return *current_;
  }
  int thread() const { return static_cast<int>(running_); }
  const Grid& grid() const { return grid_; }
  int block_x() const { return block_x_; }
  int block_y() const { return block_y_; }
  std::byte* shared() const { return shared_; }
  // Returns what the thread gets.
  Operands Meet(Collective collective, const Operands& operands, std::source_location where);
  // The bytes behind an address of shared or device memory.
  std::byte* Read(const void* address, size_t bytes) {
    std::byte* const found = Locate(address, bytes);
    if (!busy_.empty()) NoteAccess(address, bytes, false);
    if (early_) CheckEarly(address, false);
    if (IsShared(address)) {
      const size_t offset = SharedOffset(address);
      for (size_t i = offset; i < offset + bytes; ++i)
        if (written_[i] == kUnwritten) FailUnwritten(i);
    }
    return found;
  }
  std::byte* Write(const void* address, size_t bytes) {
    std::byte* const found = Locate(address, bytes);
    if (!busy_.empty()) NoteAccess(address, bytes, true);
    if (early_) CheckEarly(address, true);
    if (IsShared(address))
      NoteShared(SharedOffset(address), bytes);
    else
      NoteWrite(address);
    return found;
  }
  void CopyAsync(void* shared, const void* global, bool valid);
  void CommitCopies();
  void WaitCopies(int groups);
  void Await() { threads_[running_].awaited = true; }
  void BeginCopyBarrier(const void* barrier);
  void EndCopyBarrier(const void* barrier);
  void ExpectCopies(const void* barrier, int bytes);
  void CopyBulk(void* shared, const void* global, int bytes, const void* barrier);
  void PublishShared();
  uint32_t SharedAddress(const void* at) const { return static_cast<uint32_t>(SharedOffset(at)); }
  // Products of warpgroups: `c` has their sums at the end.
  void BeginProducts(std::span<float> c, std::span<const uint32_t> a);
  void EndProducts(const float* c);
  [[noreturn]] void Fail(const std::string& what) const;

 private:
  struct Copy {
    std::byte* to;
    const void* from;  // null: zeros
    int group;
    bool early;  // its source was read when it was issued
    std::byte bytes[16];
  };
  // Of bulk copies: the phases that ended, and what the one that is there waits for.
  struct CopyBarrier {
    int ended = 0;
    bool expects = false;
    size_t expected = 0, issued = 0;
  };
  struct BulkCopy {
    std::byte* to;
    const std::byte* from;
    size_t bytes, barrier;
    std::vector<std::byte> early;  // read when it was issued; empty: it is read when it arrives
  };
  // What a thread multiplies between BeginWarpgroupMma and its end.
  struct Products {
    std::span<float> c;
    std::span<const uint32_t> a;
    std::vector<float> sums;
    std::vector<uint32_t> factors;   // a, as it was at the beginning
    std::vector<Operands> operands;  // of each product
  };
  // Of a byte of shared memory. Published: also for the products of warpgroups.
  enum Written : uint8_t { kUnwritten, kWritten, kPublished };
  struct Thread {
    Fibre fibre;
    void* fake_stack = nullptr;  // of AddressSanitizer, which has to know of every switch
    bool ended = false;
    Collective at = Collective::kNone;
    Operands operands;
    std::source_location where;
    std::vector<Copy> copies;
    int group = 0;  // of the copies that are issued now
    bool awaited = true;
    std::optional<Products> products;
    std::vector<std::pair<size_t, size_t>> unpublished;  // shared memory: offset and bytes
  };

  void RunBlock(KernelBody body, const void* params);
  void Resume(size_t thread);
  // On the fibre: back to RunBlock.
  void GoBack(Thread* thread);
  // Completes the collective of a warp if all its threads are there. Returns whether it did.
  bool CompleteWarp(size_t warp);
  bool CompleteBarrier();
  void ComputeShuffle(Thread* lanes);
  void ComputeBallot(Thread* lanes);
  void ComputeLoadMatrix(Thread* lanes);
  void ComputeMma(Thread* lanes);
  // Adds the products of a warp: tile number `tile` of c.
  void AddProductsOf(Thread* lanes, const uint16_t (&b)[16][8], int tile) const;
  // Whether the phase has ended that a warp waits for.
  bool CopiesArrived(const Thread& lane);
  void Arrive(const BulkCopy& copy);
  CopyBarrier& BarrierOf(const void* barrier);
  // Completes the product of a warpgroup if all its threads are there. Returns whether it did.
  bool CompleteWarpgroup(size_t first_warp);
  // Tile number `tile` of the b of a warpgroup, for the thread that is running.
  void ReadColumns(const Operands& of, int tile, uint16_t (&b)[16][8]);
  void ComputeMmaOfIntegers(Thread* lanes);
  // Where an address lies in shared memory; at or above grid_.shared_bytes: it does not.
  size_t SharedOffset(const void* address) const {
    return reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(shared_);
  }
  bool IsShared(const void* address) const { return SharedOffset(address) < grid_.shared_bytes; }
  std::byte* Locate(const void* address, size_t bytes) {
    if (!IsShared(address)) {
      for (const DeviceSpace::Range& range : recent_) {
        const size_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(range.begin);
        if (offset < range.bytes && IsWithin(address, offset, bytes, range.bytes)) return range.host + offset;
      }
    } else if (IsWithin(address, SharedOffset(address), bytes, grid_.shared_bytes)) {
      return shared_bytes_ + SharedOffset(address);
    }
    return LocateElsewhere(address, bytes);
  }
  // Whether an access is aligned and ends within the memory, of which it begins at `offset`. `bytes` is a
  // power of two.
  static bool IsWithin(const void* address, size_t offset, size_t bytes, size_t size) {
    return (reinterpret_cast<uintptr_t>(address) & (bytes - 1)) == 0 && offset + bytes <= size;
  }
  // The allocation of an address that was located.
  const DeviceSpace::Range& RangeOf(const void* address) const;
  void NoteWrite(const void* address) {
    const std::byte* const begin = RangeOf(address).begin;
    if (launch_writes_.empty() || launch_writes_.back() != begin) AddWrite(begin);
  }
  void NoteShared(size_t offset, size_t bytes) {
    std::memset(&written_[offset], kWritten, bytes);
    if (!barriers_.empty()) threads_[running_].unpublished.emplace_back(offset, bytes);
  }
  void AddWrite(const std::byte* begin);
  void CheckEarly(const void* address, bool writes) const;
  // Locates it in another allocation, or fails.
  std::byte* LocateElsewhere(const void* address, size_t bytes);
  [[noreturn]] static void FailOutside();
  [[noreturn]] void FailUnwritten(size_t offset) const;
  [[noreturn]] void FailAt(const Thread& thread, const std::string& what) const;

  static inline thread_local BlockRunner* current_ = nullptr;

  std::minstd_rand random_;
  bool exact_products_ = true;
  std::vector<Busy> busy_;
  uint64_t conflicts_ = 0;
  std::string name_;
  Grid grid_;
  int block_x_ = 0, block_y_ = 0;
  std::byte* shared_ = nullptr;             // an allocation of the device space
  std::byte* shared_bytes_ = nullptr;       // where the host reaches it
  std::vector<uint8_t> written_;            // by byte of shared memory: Written
  std::map<size_t, CopyBarrier> barriers_;  // by offset in shared memory
  std::vector<BulkCopy> bulk_copies_;       // on their way
  std::vector<DeviceSpace::Range> ranges_;  // that this launch has touched: looking them up takes a lock
  DeviceSpace::Range recent_[2];            // the last two of them
  bool early_ = false;
  std::vector<const std::byte*> launch_writes_;  // allocations that launches wrote, the last one at the end
  std::vector<Thread> threads_;
  size_t running_ = 0;
  const void* own_stack_ = nullptr;  // of the thread that calls Run
  size_t own_stack_bytes_ = 0;
};

}  // namespace prefixd::cuda_emulation
