#include "cache/piece_memory.h"

#include <new>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kAlignment = alignof(void*);

}  // namespace

PieceMemory::PieceMemory(size_t piece_bytes)
    : piece_bytes_((piece_bytes + kAlignment - 1) / kAlignment * kAlignment) {
  PREFIXD_CHECK(piece_bytes > 0 && piece_bytes_ <= kChunkBytes) << piece_bytes;
}

PieceMemory::~PieceMemory() { PREFIXD_CHECK(used_ == 0) << used_ << " pieces are in use"; }

bool PieceMemory::IsPiece(size_t bytes, size_t alignment) const {
  return bytes <= piece_bytes_ && alignment <= kAlignment;
}

void* PieceMemory::do_allocate(size_t bytes, size_t alignment) {
  if (!IsPiece(bytes, alignment)) return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  ++used_;
  if (free_ != nullptr) {
    Free* const piece = free_;
    free_ = piece->next;
    return piece;
  }
  if (unused_pieces_ == 0) {
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kChunkBytes));
    unused_ = chunks_.back().get();
    unused_pieces_ = kChunkBytes / piece_bytes_;
  }
  --unused_pieces_;
  return std::exchange(unused_, unused_ + piece_bytes_);
}

void PieceMemory::do_deallocate(void* piece, size_t bytes, size_t alignment) {
  if (!IsPiece(bytes, alignment)) {
    return std::pmr::new_delete_resource()->deallocate(piece, bytes, alignment);
  }
  --used_;
  free_ = new (piece) Free{free_};
}

}  // namespace prefixd
