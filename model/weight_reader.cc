#include "model/weight_reader.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "model/direct_file.h"

namespace prefixd {
namespace {

// Pieces that are read past the page cache at a time, or wait for their turn.
constexpr size_t kBuffers = 16;

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

// Where the bytes of a piece are: in its file's mapping, or in a buffer.
struct ReadBytes {
  bool is_ready = false;
  std::span<const std::byte> bytes;
  std::unique_ptr<DirectBuffer> buffer;
};

class Reading {
 public:
  Reading(const WeightFiles& files, const WeightWork& work, size_t read_ahead)
      : files_(files), work_(work), read_ahead_(read_ahead), pieces_(PiecesOf(files, work)) {
    OpenDirectFiles();
    ready_.resize(pieces_.size());
  }

  Result<std::vector<std::filesystem::path>> Run(int threads) {
    std::vector<std::thread> others;
    for (int i = 0; i < readers_; ++i) others.emplace_back([this] { ReadAhead(); });
    for (int i = 1; i < threads; ++i) others.emplace_back([this] { Work(false); });
    Work(true);
    for (std::thread& other : others) other.join();
    Report();
    MutexLock lock(mutex_);
    if (!error_.ok()) return error_;
    return UncachedFiles();
  }

 private:
  // Opens the files that are not in the page cache.
  void OpenDirectFiles() {
    size_t largest = 0;
    for (const WeightPiece& piece : pieces_) largest = std::max(largest, piece.bytes.size());
    bool has_direct = false;
    for (const MappedFile& file : files_.files()) {
      std::optional<DirectFile> direct = DirectFile::Open(file);
      if (direct && direct->IsCached(file)) direct.reset();
      has_direct = has_direct || direct.has_value();
      direct_files_.push_back(std::move(direct));
    }
    MutexLock lock(mutex_);
    read_directly_.resize(direct_files_.size());
    if (!has_direct) return;
    readers_ = kReaders;
    for (size_t i = 0; i < kBuffers; ++i) buffers_.push_back(std::make_unique<DirectBuffer>(largest));
  }

  // Returns null for a piece that is read through the page cache.
  const DirectFile* DirectFileOf(const WeightPiece& piece) const {
    if (piece.bytes.empty()) return nullptr;
    const std::optional<DirectFile>& direct = direct_files_[files_.FileWith(piece.bytes)];
    return direct ? &*direct : nullptr;
  }

  // Brings pieces into memory until there are no more.
  void ReadAhead() {
    size_t index = 0;
    std::unique_ptr<DirectBuffer> buffer;
    while (TakeAhead(&index, &buffer)) {
      ReadBytes read = Read(index, std::move(buffer));
      MutexLock lock(mutex_);
      ready_[index] = std::move(read);
      changed_.NotifyAll();
    }
  }

  // Takes the next piece as far as the window allows, and a buffer if it needs one: a later piece then never
  // has what an earlier one waits for. Returns false where there is none.
  bool TakeAhead(size_t* index, std::unique_ptr<DirectBuffer>* buffer) {
    MutexLock lock(mutex_);
    while (error_.ok() && ahead_ < pieces_.size() &&
           (ahead_bytes_ - done_bytes_ >= read_ahead_ ||
            (buffers_.empty() && DirectFileOf(pieces_[ahead_]) != nullptr)))
      changed_.Wait(mutex_);
    if (!error_.ok() || ahead_ == pieces_.size()) return false;
    *index = ahead_++;
    ahead_bytes_ += pieces_[*index].bytes.size();
    if (DirectFileOf(pieces_[*index]) != nullptr) {
      *buffer = std::move(buffers_.back());
      buffers_.pop_back();
    }
    return true;
  }

  // Without a buffer, or when the disk refuses, the piece is read through the page cache.
  ReadBytes Read(size_t index, std::unique_ptr<DirectBuffer> buffer) {
    const std::span<const std::byte> mapped = pieces_[index].bytes;
    if (buffer != nullptr) {
      const size_t file = files_.FileWith(mapped), offset = files_.files()[file].OffsetOf(mapped);
      const std::span<const std::byte> bytes =
          DirectFileOf(pieces_[index])->Read(offset, mapped.size(), *buffer);
      MutexLock lock(mutex_);
      if (!bytes.empty()) {
        read_directly_[file] = true;
        return {true, bytes, std::move(buffer)};
      }
      buffers_.push_back(std::move(buffer));
      changed_.NotifyAll();
    }
    files_.ReadPages(mapped);
    return {true, mapped, nullptr};
  }

  // A piece that a thread works on, and the buffer with its bytes, if they are in one.
  struct Taken {
    size_t index = 0;
    WeightPiece piece;
    std::unique_ptr<DirectBuffer> buffer;
  };

  // Takes pieces until there are no more.
  void Work(bool is_caller) {
    Taken taken;
    while (TakeInOrder(&taken)) {
      const Status status = work_.at_once(taken.piece);
      if (taken.buffer == nullptr) files_.DropPages(taken.piece.bytes);
      Finish(&taken, status);
      if (is_caller) Report();
    }
  }

  // Takes the next piece and calls in_order for it. Returns false where there is none.
  bool TakeInOrder(Taken* taken) {
    MutexLock order(order_);
    if (next_ == pieces_.size() || !WaitForBytes(next_, taken)) return false;
    ++next_;
    work_.in_order(taken->piece);
    return true;
  }

  // Waits until a piece is in memory. Returns false after an error.
  bool WaitForBytes(size_t index, Taken* taken) {
    MutexLock lock(mutex_);
    while (error_.ok() && !ready_[index].is_ready) changed_.Wait(mutex_);
    if (!error_.ok()) return false;
    *taken = {index, pieces_[index], std::move(ready_[index].buffer)};
    taken->piece.bytes = ready_[index].bytes;
    return true;
  }

  void Finish(Taken* taken, const Status& status) {
    MutexLock lock(mutex_);
    done_bytes_ += taken->piece.bytes.size();
    if (taken->buffer != nullptr) buffers_.push_back(std::move(taken->buffer));
    if (!status.ok() && taken->index < failed_) {
      failed_ = taken->index;
      error_ = status;
    }
    changed_.NotifyAll();
  }

  // The files that were read past the page cache.
  std::vector<std::filesystem::path> UncachedFiles() const REQUIRES(mutex_) {
    std::vector<std::filesystem::path> paths;
    for (size_t i = 0; i < direct_files_.size(); ++i) {
      if (read_directly_[i]) paths.push_back(files_.files()[i].path());
    }
    return paths;
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
  // These do not change while threads run.
  std::vector<std::optional<DirectFile>> direct_files_;  // by file; empty: the page cache has it
  int readers_ = 1;

  Mutex order_;  // held by the thread that takes a piece; taken before mutex_
  size_t next_ GUARDED_BY(order_) = 0;

  Mutex mutex_;
  CondVar changed_;
  std::vector<ReadBytes> ready_ GUARDED_BY(mutex_);                        // by piece
  std::vector<std::unique_ptr<DirectBuffer>> buffers_ GUARDED_BY(mutex_);  // that no piece has
  std::vector<bool> read_directly_ GUARDED_BY(mutex_);                     // by file
  size_t ahead_ GUARDED_BY(mutex_) = 0;  // pieces that are in memory, or were, or are being read
  size_t ahead_bytes_ GUARDED_BY(mutex_) = 0, done_bytes_ GUARDED_BY(mutex_) = 0;
  size_t reported_bytes_ GUARDED_BY(mutex_) = 0;
  size_t failed_ GUARDED_BY(mutex_) = SIZE_MAX;  // the first piece with an error, and its error
  Status error_ GUARDED_BY(mutex_);
};

}  // namespace

Result<std::vector<std::filesystem::path>> ReadWeights(const WeightFiles& files, int threads,
                                                       const WeightWork& work, size_t read_ahead) {
  PREFIXD_CHECK(threads > 0 && read_ahead > 0) << threads << ", " << read_ahead;
  return Reading(files, work, read_ahead).Run(threads);
}

}  // namespace prefixd
