// ReadWeights: reads all tensors of weight files once, in the order of the files, and hands their pieces to
// several threads.
//
//   file -> page cache -> a thread that reads ahead -> in_order(piece), one at a time -> at_once(piece)
//
// The thread that took a piece calls both for it, one after the other, so that the second finds the piece in
// a CPU cache. Then the pages of the piece leave the memory of this process, which at no time has more of the
// files than `read_ahead` bytes, one piece, and the pages that two pieces share.
//
// It goes through the page cache, so that a start after another reads no disk. A cold one takes no longer
// than with direct I/O: MappedFile makes the kernel read far ahead, and pages are not copied.
//
// Threads: any one calls it, and is one of those that work.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/status.h"
#include "model/weight_files.h"

namespace prefixd {

// Part of a tensor. A tensor without bytes has one, which is empty.
struct WeightPiece {
  const TensorView* tensor = nullptr;
  size_t begin = 0;  // in tensor->bytes
  std::span<const std::byte> bytes;
};

struct WeightWork {
  // The bytes of the pieces of a tensor, > 0; the last piece may have fewer.
  std::function<size_t(const TensorView&)> piece_bytes;
  // In the order of the files and of their bytes, and never two at a time.
  std::function<void(const WeightPiece&)> in_order;
  // Several at a time, in any order.
  std::function<Status(const WeightPiece&)> at_once;
  // Called by the thread that called ReadWeights: so many bytes are done.
  std::function<void(size_t)> done;
};

inline constexpr size_t kReadAheadBytes = size_t{64} << 20;

// Uses `threads` threads, and one that reads ahead. Returns the error of at_once; of several, that of the
// first piece in the order of the files. After an error no further piece is taken. Requires threads > 0 and
// read_ahead > 0.
Status ReadWeights(const WeightFiles& files, int threads, const WeightWork& work,
                   size_t read_ahead = kReadAheadBytes);

}  // namespace prefixd
