#include "tests/support/cuda_emulation/block_runner.h"

#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "bench/gpu/mma_model.h"

namespace prefixd::cuda_emulation {
namespace {

constexpr size_t kSharedAlignment = 1024;
constexpr int kWarp = device::kWarp;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitizes = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kSanitizes = true;
#else
constexpr bool kSanitizes = false;
#endif
#else
constexpr bool kSanitizes = false;
#endif

void StartSwitch([[maybe_unused]] void** fake, [[maybe_unused]] const void* bottom,
                 [[maybe_unused]] size_t bytes) {
  if constexpr (kSanitizes) __sanitizer_start_switch_fiber(fake, bottom, bytes);
}
void FinishSwitch([[maybe_unused]] void* fake, [[maybe_unused]] const void** bottom,
                  [[maybe_unused]] size_t* bytes) {
  if constexpr (kSanitizes) __sanitizer_finish_switch_fiber(fake, bottom, bytes);
}

constexpr const char* NameOf(Collective collective) {
  constexpr const char* kNames[] = {"nothing",     "SyncThreads", "SyncWarp", "a shuffle",   "Ballot",
                                    "LoadMatrix4", "Mma16816",    "Mma16832", "AwaitCopies", "WarpgroupMma"};
  return kNames[static_cast<size_t>(collective)];
}

uint16_t Half(uint32_t pair, int index) { return static_cast<uint16_t>(pair >> (16 * index)); }

// sums += a b
void AddProducts(const uint16_t (&a)[16][16], const uint16_t (&b)[16][8], gpu::InputType type,
                 double (&sums)[16][8]) {
  double y[16][8];
  for (int k = 0; k < 16; ++k)
    for (int n = 0; n < 8; ++n) y[k][n] = gpu::ValueOf(b[k][n], type);
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      const double x = gpu::ValueOf(a[m][k], type);
      for (int n = 0; n < 8; ++n) sums[m][n] += x * y[k][n];
    }
  }
}

}  // namespace

void BlockRunner::FailOutside() {
  PREFIXD_CHECK(false) << "a device function was called outside of a kernel";
  std::abort();
}

void BlockRunner::Fail(const std::string& what) const { FailAt(threads_[running_], what); }

void BlockRunner::FailAt(const Thread& thread, const std::string& what) const {
  PREFIXD_CHECK(false) << name_ << ", block (" << block_x_ << ", " << block_y_ << "), thread "
                       << (&thread - threads_.data()) << ": " << what;
  std::abort();
}

void BlockRunner::Run(const std::string& name, const Grid& grid, KernelBody body, const void* params,
                      bool early) {
  PREFIXD_CHECK(grid.threads > 0 && grid.threads % kWarp == 0 && grid.threads <= 1024) << grid.threads;
  PREFIXD_CHECK(grid.blocks_x > 0 && grid.blocks_y > 0 && grid.blocks_y <= 65535) << name;
  name_ = name;
  grid_ = grid;
  early_ = early;
  ranges_.clear();
  std::ranges::fill(recent_, DeviceSpace::Range{});
  if (grid.shared_bytes > 0) {
    shared_ = DeviceSpace::Get().Allocate(grid.shared_bytes, kSharedAlignment);
    PREFIXD_CHECK(shared_ != nullptr);
    shared_bytes_ = DeviceSpace::Get().Bytes(shared_, grid.shared_bytes);
  }
  std::vector<int> blocks(static_cast<size_t>(grid.blocks_x) * static_cast<size_t>(grid.blocks_y));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), random_);
  BlockRunner* const before = std::exchange(current_, this);
  for (const int block : blocks) {
    block_x_ = block % grid.blocks_x;
    block_y_ = block / grid.blocks_x;
    RunBlock(body, params);
  }
  current_ = before;
  if (shared_ != nullptr) DeviceSpace::Get().Free(std::exchange(shared_, nullptr));
}

void BlockRunner::RunBlock(KernelBody body, const void* params) {
  written_.assign(grid_.shared_bytes, 0);
  if (grid_.shared_bytes > 0) std::memset(shared_bytes_, 0xFF, grid_.shared_bytes);
  barriers_.clear();
  bulk_copies_.clear();
  threads_.clear();
  threads_.resize(static_cast<size_t>(grid_.threads));
  for (Thread& thread : threads_) {
    thread.awaited = !early_;
    thread.fibre.Prepare([this, body, params, &thread] {
      FinishSwitch(nullptr, &own_stack_, &own_stack_bytes_);
      body(params);
      if (!thread.awaited) FailAt(thread, "ends and has not awaited the launch before");
      if (thread.products) FailAt(thread, "ends within a product of its warpgroup");
      thread.ended = true;
      StartSwitch(nullptr, own_stack_, own_stack_bytes_);
    });
  }
  std::vector<size_t> warps(threads_.size() / kWarp);
  std::iota(warps.begin(), warps.end(), size_t{0});
  for (;;) {
    std::shuffle(warps.begin(), warps.end(), random_);
    bool progress = false;
    for (const size_t warp : warps) {
      std::vector<size_t> lanes(kWarp);
      std::iota(lanes.begin(), lanes.end(), warp * kWarp);
      std::shuffle(lanes.begin(), lanes.end(), random_);
      for (const size_t lane : lanes) {
        if (threads_[lane].ended || threads_[lane].at != Collective::kNone) continue;
        Resume(lane);
        progress = true;
      }
      progress = CompleteWarp(warp) || progress;
    }
    if (progress) continue;
    if (std::ranges::all_of(threads_, &Thread::ended)) return;
    if (!CompleteBarrier()) FailAt(threads_[0], "nothing can go on");  // CompleteBarrier says more
  }
}

void BlockRunner::Resume(size_t thread) {
  running_ = thread;
  Thread& next = threads_[thread];
  void* fake = nullptr;
  StartSwitch(&fake, next.fibre.stack(), next.fibre.stack_bytes());
  next.fibre.Resume();
  FinishSwitch(fake, nullptr, nullptr);
}

void BlockRunner::GoBack(Thread* thread) {
  StartSwitch(&thread->fake_stack, own_stack_, own_stack_bytes_);
  thread->fibre.GoBack();
  FinishSwitch(thread->fake_stack, &own_stack_, &own_stack_bytes_);
}

Operands BlockRunner::Meet(Collective collective, const Operands& operands, std::source_location where) {
  Thread& thread = threads_[running_];
  const size_t self = running_;
  thread.at = collective;
  thread.operands = operands;
  thread.where = where;
  GoBack(&thread);
  running_ = self;
  return thread.operands;
}

bool BlockRunner::CompleteWarp(size_t warp) {
  Thread* const lanes = &threads_[warp * kWarp];
  const Collective at = lanes[0].at;
  if (at == Collective::kNone || at == Collective::kBarrier) {
    // All of them have to be there, or at their end.
    for (int i = 1; i < kWarp; ++i) {
      if (lanes[i].at != at || lanes[i].ended != lanes[0].ended) {
        FailAt(lanes[i], std::string("is at ") + NameOf(lanes[i].at) + " in line " +
                             std::to_string(lanes[i].where.line()) + ", and thread 0 of its warp is at " +
                             (lanes[0].ended ? "its end" : NameOf(at)));
      }
    }
    return false;
  }
  for (int i = 1; i < kWarp; ++i) {
    if (lanes[i].at != at || lanes[i].where.line() != lanes[0].where.line()) {
      FailAt(lanes[i], std::string("is at ") + (lanes[i].ended ? "its end" : NameOf(lanes[i].at)) +
                           " in line " + std::to_string(lanes[i].where.line()) +
                           ", and thread 0 of its warp is at " + NameOf(at) + " in line " +
                           std::to_string(lanes[0].where.line()) + " of " + lanes[0].where.file_name());
    }
  }
  if (at == Collective::kWarpgroupMma) return CompleteWarpgroup(warp / 4 * 4);
  if (at == Collective::kAwaitCopies && !CopiesArrived(lanes[0])) return false;
  if (at == Collective::kShuffle) ComputeShuffle(lanes);
  if (at == Collective::kBallot) ComputeBallot(lanes);
  if (at == Collective::kLoadMatrix) ComputeLoadMatrix(lanes);
  if (at == Collective::kMma) ComputeMma(lanes);
  if (at == Collective::kMmaOfIntegers) ComputeMmaOfIntegers(lanes);
  for (int i = 0; i < kWarp; ++i) lanes[i].at = Collective::kNone;
  return true;
}

bool BlockRunner::CompleteBarrier() {
  for (const Thread& thread : threads_) {
    if (thread.at == Collective::kBarrier && thread.where.line() == threads_[0].where.line()) continue;
    FailAt(thread, std::string("is at ") + (thread.ended ? "its end" : NameOf(thread.at)) + " in line " +
                       std::to_string(thread.where.line()) + ", and others wait at a barrier");
  }
  for (Thread& thread : threads_) thread.at = Collective::kNone;
  return true;
}

// --- What the collectives of a warp compute ---

void BlockRunner::ComputeShuffle(Thread* lanes) {
  uint32_t values[kWarp];
  for (int i = 0; i < kWarp; ++i) values[i] = lanes[i].operands.value;
  for (int i = 0; i < kWarp; ++i) {
    const int from = lanes[i].operands.lane;
    if (from < 0 || from >= kWarp) FailAt(lanes[i], "shuffles from lane " + std::to_string(from));
    lanes[i].operands.value = values[from];
  }
}

void BlockRunner::ComputeBallot(Thread* lanes) {
  uint32_t votes = 0;
  for (int i = 0; i < kWarp; ++i) votes |= lanes[i].operands.value << i;
  for (int i = 0; i < kWarp; ++i) lanes[i].operands.value = votes;
}

void BlockRunner::ComputeLoadMatrix(Thread* lanes) {
  uint16_t matrices[4][8][8];
  for (int i = 0; i < kWarp; ++i) {
    running_ = static_cast<size_t>(&lanes[i] - threads_.data());
    const void* const row = lanes[i].operands.row;
    if (!IsShared(row)) FailAt(lanes[i], "LoadMatrix4 reads what is not shared memory");
    std::memcpy(matrices[i / 8][i % 8], Read(row, 16), 16);
  }
  for (int i = 0; i < kWarp; ++i) {
    const int major = i / 4, minor = 2 * (i % 4);
    for (int r = 0; r < 4; ++r) {
      const bool turned = lanes[i].operands.transposed;
      const uint16_t low = turned ? matrices[r][minor][major] : matrices[r][major][minor];
      const uint16_t high = turned ? matrices[r][minor + 1][major] : matrices[r][major][minor + 1];
      lanes[i].operands.registers[r] = static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16;
    }
  }
}

void BlockRunner::ComputeMma(Thread* lanes) {
  uint16_t b[16][8];
  for (int i = 0; i < kWarp; ++i) {
    for (int r = 0; r < 2; ++r)
      for (int h = 0; h < 2; ++h) b[2 * (i % 4) + h + 8 * r][i / 4] = Half(lanes[i].operands.b[r], h);
  }
  AddProductsOf(lanes, b, 0);
}

void BlockRunner::AddProductsOf(Thread* lanes, const uint16_t (&b)[16][8], int tile) const {
  uint16_t a[16][16];
  for (int i = 0; i < kWarp; ++i) {
    const int g = i / 4, t = i % 4;
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < 2; ++h)
        a[g + 8 * (r % 2)][2 * t + h + 8 * (r / 2)] = Half(lanes[i].operands.a[r], h);
  }
  const auto type =
      lanes[0].operands.type == device::HalfType::kBF16 ? gpu::InputType::kBF16 : gpu::InputType::kF16;
  double sums[16][8] = {};
  if (!exact_products_) AddProducts(a, b, type, sums);
  for (int i = 0; i < kWarp; ++i) {
    for (int r = 0; r < 4; ++r) {
      const int row = i / 4 + 8 * (r / 2), column = 2 * (i % 4) + r % 2;
      float& c = lanes[i].operands.c[4 * tile + r];
      if (exact_products_) {
        uint16_t of_column[16];
        for (int k = 0; k < 16; ++k) of_column[k] = b[k][column];
        c = gpu::MmaDot(a[row], of_column, 16, c, type);
      } else {
        c = static_cast<float>(c + sums[row][column]);
      }
    }
  }
}

void BlockRunner::ComputeMmaOfIntegers(Thread* lanes) {
  const auto byte = [](uint32_t word, int index) {
    return static_cast<int32_t>(static_cast<int8_t>(word >> (8 * index)));
  };
  int32_t a[16][32], b[8][32];
  for (int i = 0; i < kWarp; ++i) {
    const Operands& of = lanes[i].operands;
    const int g = i / 4, t = i % 4;
    for (int j = 0; j < 4; ++j) {
      for (int r = 0; r < 4; ++r) a[g + 8 * (r % 2)][4 * t + j + 16 * (r / 2)] = byte(of.a[r], j);
      for (int r = 0; r < 2; ++r) b[g][4 * t + j + 16 * r] = byte(of.b[r], j);
    }
  }
  for (int i = 0; i < kWarp; ++i) {
    for (int r = 0; r < 4; ++r) {
      const int row = i / 4 + 8 * (r / 2), column = 2 * (i % 4) + r % 2;
      for (int k = 0; k < 32; ++k) lanes[i].operands.integers[r] += a[row][k] * b[column][k];
    }
  }
}

// --- Memory ---

std::byte* BlockRunner::LocateElsewhere(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0)
    Fail("an access of " + std::to_string(bytes) + " bytes is not aligned");
  const auto* const at = static_cast<const std::byte*>(address);
  const auto has = [&](const DeviceSpace::Range& range) {
    return at >= range.begin && at < range.begin + range.bytes;
  };
  if (!IsShared(address)) {
    auto found = std::ranges::find_if(ranges_, has);
    if (found == ranges_.end()) found = ranges_.insert(found, DeviceSpace::Get().Find(address));
    recent_[1] = std::exchange(recent_[0], *found);
    const DeviceSpace::Range& range = recent_[0];
    const auto offset = static_cast<size_t>(at - range.begin);
    if (range.bytes > 0 && offset + bytes <= range.bytes) return range.host + offset;
  }
  Fail("an access of " + std::to_string(bytes) + " bytes lies outside of the memory");
}

const DeviceSpace::Range& BlockRunner::RangeOf(const void* address) const {
  const auto* const at = static_cast<const std::byte*>(address);
  const auto has = [&](const DeviceSpace::Range& range) {
    return at >= range.begin && at < range.begin + range.bytes;
  };
  for (const DeviceSpace::Range& range : recent_)
    if (has(range)) return range;
  return *std::ranges::find_if(ranges_, has);
}

void BlockRunner::AddWrite(const std::byte* begin) {
  std::erase(launch_writes_, begin);
  launch_writes_.push_back(begin);
}

void BlockRunner::CheckEarly(const void* address, bool writes) const {
  if (threads_[running_].awaited || IsShared(address)) return;
  if (writes) Fail("writes before it has awaited the launch before");
  if (std::ranges::count(launch_writes_, RangeOf(address).begin) > 0)
    Fail("reads what a launch wrote before it has awaited the launch before");
}

void BlockRunner::NoteAccess(const void* address, size_t bytes, bool writes) {
  const auto* const begin = static_cast<const std::byte*>(address);
  for (const Busy& busy : busy_) {
    const bool overlaps = begin < busy.begin + busy.bytes && busy.begin < begin + bytes;
    if (overlaps && (writes || busy.is_written)) ++conflicts_;
  }
}

void BlockRunner::FailUnwritten(size_t offset) const {
  Fail("reads byte " + std::to_string(offset) + " of shared memory, which nobody wrote");
}

// The bytes are read now or when they are waited for: kernels must not rely on either. Until then shared
// memory counts as not written.
void BlockRunner::CopyAsync(void* shared, const void* global, bool valid) {
  if (!IsShared(shared)) Fail("CopyAsync16 writes what is not shared memory");
  Thread& thread = threads_[running_];
  Copy copy{.to = static_cast<std::byte*>(shared), .from = valid ? global : nullptr, .group = thread.group};
  const auto offset = static_cast<size_t>(Locate(shared, sizeof copy.bytes) - shared_bytes_);
  std::memset(&written_[offset], 0, sizeof copy.bytes);
  copy.early = random_() % 2 == 0;
  if (valid) {
    const std::byte* const from = Read(global, sizeof copy.bytes);
    if (copy.early) std::memcpy(copy.bytes, from, sizeof copy.bytes);
  }
  thread.copies.push_back(copy);
}

void BlockRunner::CommitCopies() { ++threads_[running_].group; }

void BlockRunner::WaitCopies(int groups) {
  Thread& thread = threads_[running_];
  std::erase_if(thread.copies, [&](Copy& copy) {
    if (copy.group >= thread.group - groups) return false;
    if (copy.from == nullptr)
      std::memset(copy.bytes, 0, sizeof copy.bytes);
    else if (!copy.early)
      std::memcpy(copy.bytes, Read(copy.from, sizeof copy.bytes), sizeof copy.bytes);
    std::memcpy(Write(copy.to, sizeof copy.bytes), copy.bytes, sizeof copy.bytes);
    return true;
  });
}

}  // namespace prefixd::cuda_emulation
