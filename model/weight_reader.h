// ReadWeights: reads all tensors of weight files once, in the order of the files, and hands their pieces to
// several threads.
//
//   file -> threads that read ahead -> in_order(piece), one at a time -> at_once(piece)
//
// The thread that took a piece calls both for it, one after the other, so that the second finds the piece in
// a CPU cache.
//
// A file that is in the page cache is used where it is mapped, so that a start after another reads no disk.
// The pages of a piece leave the memory of this process when it is done, so that at no time it has more of
// the files than `read_ahead` bytes, one piece, and the pages that two pieces share. Other files are read
// past the page cache, into a few buffers (model/direct_file.h), where the file system can do that: new
// memory for the page cache would take a start longer than the disk. ReadWeights names these files, because
// the next start then finds nothing of them either.
//
// Threads: any one calls it, and is one of those that work.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

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

inline constexpr int kReaders = 4;
inline constexpr size_t kReadAheadBytes = size_t{64} << 20;

// Uses `threads` threads, and up to kReaders that read ahead. Returns the files that were read past the page
// cache; or the error of at_once; of several, that of the first piece in the order of the
// files. After an error no further piece is taken. Requires threads > 0 and read_ahead > 0.
Result<std::vector<std::filesystem::path>> ReadWeights(const WeightFiles& files, int threads,
                                                       const WeightWork& work,
                                                       size_t read_ahead = kReadAheadBytes);

}  // namespace prefixd
