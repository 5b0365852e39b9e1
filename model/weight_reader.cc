#include "model/weight_reader.h"

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace prefixd {
namespace {

// The pieces of all tensors, in the order of the files.
std::vector<WeightPiece> PiecesOf(const WeightFiles& files, const WeightWork& work) {
  std::vector<WeightPiece> pieces;
  for (const TensorView* tensor : files.InFileOrder()) {
    const size_t size = tensor->bytes.size(), step = work.piece_bytes(*tensor);
    PREFIXD_CHECK(step > 0) << tensor->name;
    size_t at = 0;
    do {
      pieces.push_back({tensor, at, tensor->bytes.subspan(at, std::min(step, size - at))});
      at += pieces.back().bytes.size();
    } while (at < size);
  }
  return pieces;
}

class Reading {
 public:
  Reading(const WeightFiles& files, const WeightWork& work, size_t read_ahead)
      : files_(files), work_(work), read_ahead_(read_ahead), pieces_(PiecesOf(files, work)) {}

  Status Run(int threads) {
    std::vector<std::thread> others;
    others.emplace_back([this] { ReadAhead(); });
    for (int i = 1; i < threads; ++i) others.emplace_back([this] { Work(false); });
    Work(true);
    for (std::thread& other : others) other.join();
    Report();
    MutexLock lock(mutex_);
    return error_;
  }

 private:
  // Brings the pages of the pieces into memory, as far as the window allows.
  void ReadAhead() {
    for (const WeightPiece& piece : pieces_) {
      {
        MutexLock lock(mutex_);
        while (error_.ok() && ahead_bytes_ - done_bytes_ >= read_ahead_) changed_.Wait(mutex_);
        if (!error_.ok()) return;
      }
      files_.ReadPages(piece.bytes);
      MutexLock lock(mutex_);
      ++ahead_;
      ahead_bytes_ += piece.bytes.size();
      changed_.NotifyAll();
    }
  }

  // Takes pieces until there are no more.
  void Work(bool is_caller) {
    size_t index = 0;
    while (TakeInOrder(&index)) {
      const WeightPiece& piece = pieces_[index];
      const Status status = work_.at_once(piece);
      files_.DropPages(piece.bytes);
      Finish(index, status);
      if (is_caller) Report();
    }
  }

  // Takes the next piece and calls in_order for it. Returns false where there is none.
  bool TakeInOrder(size_t* index) {
    MutexLock order(order_);
    if (next_ == pieces_.size() || !IsRead(next_)) return false;
    *index = next_++;
    work_.in_order(pieces_[*index]);
    return true;
  }

  // Waits until a piece is in memory. Returns false after an error.
  bool IsRead(size_t index) {
    MutexLock lock(mutex_);
    while (error_.ok() && ahead_ <= index) changed_.Wait(mutex_);
    return error_.ok();
  }

  void Finish(size_t index, const Status& status) {
    MutexLock lock(mutex_);
    done_bytes_ += pieces_[index].bytes.size();
    if (!status.ok() && index < failed_) {
      failed_ = index;
      error_ = status;
    }
    changed_.NotifyAll();
  }

  // Reports what was done since the last report.
  void Report() {
    size_t bytes = 0;
    {
      MutexLock lock(mutex_);
      bytes = done_bytes_ - reported_bytes_;
      reported_bytes_ = done_bytes_;
    }
    work_.done(bytes);
  }

  const WeightFiles& files_;
  const WeightWork& work_;
  const size_t read_ahead_;
  const std::vector<WeightPiece> pieces_;

  Mutex order_;  // held by the thread that takes a piece; taken before mutex_
  size_t next_ GUARDED_BY(order_) = 0;

  Mutex mutex_;
  CondVar changed_;
  size_t ahead_ GUARDED_BY(mutex_) = 0;  // pieces that are in memory, or were; the first so many
  size_t ahead_bytes_ GUARDED_BY(mutex_) = 0, done_bytes_ GUARDED_BY(mutex_) = 0;
  size_t reported_bytes_ GUARDED_BY(mutex_) = 0;
  size_t failed_ GUARDED_BY(mutex_) = SIZE_MAX;  // the first piece with an error, and its error
  Status error_ GUARDED_BY(mutex_);
};

}  // namespace

Status ReadWeights(const WeightFiles& files, int threads, const WeightWork& work, size_t read_ahead) {
  PREFIXD_CHECK(threads > 0 && read_ahead > 0) << threads << ", " << read_ahead;
  return Reading(files, work, read_ahead).Run(threads);
}

}  // namespace prefixd
