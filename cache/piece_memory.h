// PieceMemory: memory for the nodes of std::pmr containers, in pieces of one size. A piece that comes back is
// used again, and none goes to the heap before the end. So a call costs the same, however many pieces have
// come back before: the heap of the C library merges what was freed, now and then, all at once.
//
// Threads: one at a time. It outlives the containers.
//
// Invariants
//   1. What takes at most `piece_bytes` is a piece. What takes more comes from the heap.
//   2. There are as many pieces as were in use at once, rounded up to chunks of kChunkBytes.
#pragma once

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <vector>

namespace prefixd {

class PieceMemory final : public std::pmr::memory_resource {
 public:
  static constexpr size_t kChunkBytes = size_t{64} << 10;

  explicit PieceMemory(size_t piece_bytes);
  ~PieceMemory() override;
  size_t bytes() const { return chunks_.size() * kChunkBytes; }
  size_t used() const { return used_; }  // pieces

 private:
  struct Free {
    Free* next;
  };
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void* piece, size_t bytes, size_t alignment) override;
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }
  bool IsPiece(size_t bytes, size_t alignment) const;

  const size_t piece_bytes_;  // a multiple of the greatest alignment of a piece
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::byte* unused_ = nullptr;  // the pieces of the last chunk that were never in use
  size_t unused_pieces_ = 0;
  Free* free_ = nullptr;  // those that have come back
  size_t used_ = 0;
};

}  // namespace prefixd
