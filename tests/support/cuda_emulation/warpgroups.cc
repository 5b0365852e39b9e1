// What BlockRunner has for devices of compute capability 9.0: bulk copies with their barriers, and the
// products of warpgroups. Matrices in shared memory are found as the manual of PTX defines their descriptors.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "tests/support/cuda_emulation/block_runner.h"
#include "tests/support/cuda_emulation/shared_matrix.h"

namespace prefixd::cuda_emulation {

using device::kWarp;

BlockRunner::CopyBarrier& BlockRunner::BarrierOf(const void* barrier) {
  const auto found = barriers_.find(SharedOffset(barrier));
  if (found == barriers_.end()) Fail("there is no barrier of copies");
  return found->second;
}

void BlockRunner::BeginCopyBarrier(const void* barrier) {
  const size_t offset = SharedOffset(barrier);
  if (!IsShared(barrier) || offset % 8 != 0) Fail("a barrier of copies does not lie in shared memory");
  if (!barriers_.emplace(offset, CopyBarrier{}).second) Fail("the barrier of copies has begun already");
}

void BlockRunner::EndCopyBarrier(const void* barrier) {
  if (BarrierOf(barrier).expects) Fail("ends a barrier that waits for copies");
  barriers_.erase(SharedOffset(barrier));
}

void BlockRunner::ExpectCopies(const void* barrier, int bytes) {
  CopyBarrier& of = BarrierOf(barrier);
  if (of.expects) Fail("the barrier of copies waits for others already");
  of.expects = true;
  of.expected = static_cast<size_t>(bytes);
  of.issued = 0;
}

// As with CopyAsync, the bytes are read now or when they arrive, and until then they count as not written.
void BlockRunner::CopyBulk(void* shared, const void* global, int bytes, const void* barrier) {
  CopyBarrier& of = BarrierOf(barrier);
  const auto size = static_cast<size_t>(bytes);
  if (!of.expects || of.issued + size > of.expected) Fail("a bulk copy that its barrier does not expect");
  if (!IsShared(shared) || size == 0 || size % 16 != 0)
    Fail("CopyBulk needs multiples of 16 bytes of shared memory");
  of.issued += size;
  BulkCopy copy{static_cast<std::byte*>(shared),
                static_cast<const std::byte*>(global),
                size,
                SharedOffset(barrier),
                {}};
  const bool early = random_() % 2 == 0;
  for (size_t i = 0; i < size; i += 16) {
    const auto offset = static_cast<size_t>(Locate(copy.to + i, 16) - shared_bytes_);
    for (size_t byte = offset; byte < offset + 16; ++byte)
      if (written_[byte] == kWritten) Fail("a bulk copy over what a thread wrote and did not publish");
    std::memset(&written_[offset], kUnwritten, 16);
    const std::byte* const from = Read(copy.from + i, 16);
    if (early) copy.early.insert(copy.early.end(), from, from + 16);
  }
  bulk_copies_.push_back(std::move(copy));
}

void BlockRunner::Arrive(const BulkCopy& copy) {
  for (size_t i = 0; i < copy.bytes; i += 16) {
    const std::byte* const from = copy.early.empty() ? Read(copy.from + i, 16) : copy.early.data() + i;
    std::byte* const to = Locate(copy.to + i, 16);
    std::memcpy(to, from, 16);
    std::memset(&written_[static_cast<size_t>(to - shared_bytes_)], kPublished, 16);
  }
}

bool BlockRunner::CopiesArrived(const Thread& lane) {
  running_ = static_cast<size_t>(&lane - threads_.data());
  CopyBarrier& of = BarrierOf(lane.operands.row);
  if (of.ended % 2 != lane.operands.lane) return true;
  if (!of.expects || of.issued != of.expected) return false;
  const size_t barrier = SharedOffset(lane.operands.row);
  std::erase_if(bulk_copies_, [&](const BulkCopy& copy) {
    if (copy.barrier != barrier) return false;
    Arrive(copy);
    return true;
  });
  of.expects = false;
  ++of.ended;
  return true;
}

void BlockRunner::PublishShared() {
  Thread& thread = threads_[running_];
  for (const auto& [offset, bytes] : thread.unpublished) {
    for (size_t i = offset; i < offset + bytes; ++i)
      if (written_[i] == kWritten) written_[i] = kPublished;
  }
  thread.unpublished.clear();
}

void BlockRunner::BeginProducts(std::span<float> c, std::span<const uint32_t> a) {
  std::optional<Products>& products = threads_[running_].products;
  if (products) Fail("begins products of a warpgroup within others");
  products = Products{c, a, {c.begin(), c.end()}, {a.begin(), a.end()}, {}};
  std::ranges::fill(c, std::numeric_limits<float>::quiet_NaN());
}

// A device reads a and b at any time until here. They are read when a product is issued, and have to be the
// same here: shared memory that somebody wrote is not published, or a copy to it is on its way.
void BlockRunner::EndProducts(const float* c) {
  std::optional<Products>& products = threads_[running_].products;
  if (!products || products->c.data() != c) Fail("ends products of a warpgroup that it has not begun");
  if (!std::ranges::equal(products->a, products->factors))
    Fail("changes a factor of a product before its end");
  for (const Operands& of : products->operands) {
    uint16_t b[16][8];
    for (int tile = 0; tile < of.tiles; ++tile) ReadColumns(of, tile, b);
  }
  std::ranges::copy(products->sums, products->c.begin());
  products.reset();
}

void BlockRunner::ReadColumns(const Operands& of, int tile, uint16_t (&b)[16][8]) {
  const SharedMatrix matrix(of.descriptor, of.transposed);
  if (!matrix.is_known()) Fail("a descriptor without the swizzle of 128 bytes");
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < 8; ++n) {
      const size_t offset = matrix.ByteOf(k, tile * 8 + n);
      std::memcpy(&b[k][n], Read(shared_ + offset, sizeof b[k][n]), sizeof b[k][n]);
      if (written_[offset] != kPublished) Fail("a product reads what a thread wrote and did not publish");
    }
  }
}

bool BlockRunner::CompleteWarpgroup(size_t first_warp) {
  Thread* const lanes = &threads_[first_warp * kWarp];
  if ((first_warp + 4) * kWarp > threads_.size()) FailAt(lanes[0], "is in no warpgroup");
  for (int i = 0; i < 4 * kWarp; ++i)
    if (lanes[i].at != Collective::kWarpgroupMma) return false;
  for (int i = 0; i < 4 * kWarp; ++i) {
    const bool same = lanes[i].where.line() == lanes[0].where.line() &&
                      lanes[i].operands.descriptor == lanes[0].operands.descriptor;
    if (!same) FailAt(lanes[i], "is at another product than the first of its warpgroup");
    std::optional<Products>& products = lanes[i].products;
    const uint32_t* const a = lanes[i].operands.a;
    if (!products || products->c.data() != lanes[i].operands.c || a < products->a.data() ||
        a + 4 > products->a.data() + products->a.size())
      FailAt(lanes[i], "has not begun this product of its warpgroup");
    if (i % kWarp == 0) products->operands.push_back(lanes[i].operands);
    lanes[i].operands.c = products->sums.data();
  }
  running_ = static_cast<size_t>(lanes - threads_.data());
  for (int tile = 0; tile < lanes[0].operands.tiles; ++tile) {
    uint16_t b[16][8];
    ReadColumns(lanes[0].operands, tile, b);
    for (int warp = 0; warp < 4; ++warp) AddProductsOf(lanes + warp * kWarp, b, tile);
  }
  for (int i = 0; i < 4 * kWarp; ++i) lanes[i].at = Collective::kNone;
  return true;
}

}  // namespace prefixd::cuda_emulation
