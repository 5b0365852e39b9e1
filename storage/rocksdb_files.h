// The file system that RocksDB gets: that of the operating system, with every operation told to the ledger
// and to the observer; and where its log lines go. A part of rocksdb_segment_db.cc, and included by nothing
// else.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "storage/byte_ledger.h"
#include "storage/contiguous_buffer.h"
#include "storage/file_observer.h"

namespace prefixd {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

// The message of an error has this when the medium is full, or the ledger's law forbids a write.
inline constexpr std::string_view kFull = "no space left: ";

// After a NoSpace, RocksDB recovers on a thread of its own, and 7.8 aborts in an ingestion that runs beside
// it. So it is not told; Recover is the only way back from an error.
inline IOStatus HideNoSpace(IOStatus status) {
  return status.IsNoSpace() ? IOStatus::IOError(std::string(kFull) + status.ToString()) : status;
}

inline IOStatus ToRocksdb(const Status& status) {
  if (status.ok()) return IOStatus::OK();
  const bool full = status.code() == Code::kResourceExhausted;
  return IOStatus::IOError(std::string(full ? kFull : "") + status.message());
}

// What every wrapped file and directory shares.
struct Watch {
  ByteLedger* ledger;
  FileObserver* observer;  // may be null

  IOStatus Before(FileOperation operation, const std::string& path, uint64_t offset = 0, uint64_t bytes = 0,
                  uint64_t* part = nullptr, const std::string& target = {}) const {
    if (observer == nullptr) return IOStatus::OK();
    uint64_t ignored = 0;
    return ToRocksdb(observer->Before({operation, path, target, offset, bytes}, part ? part : &ignored));
  }
  void After(FileOperation operation, const std::string& path, uint64_t offset = 0, uint64_t bytes = 0,
             const std::string& target = {}) const {
    if (observer != nullptr) observer->After({operation, path, target, offset, bytes});
  }
  // Runs `operation` between the two calls of the observer.
  template <typename F>
  IOStatus Run(FileOperation kind, const std::string& path, const F& operation,
               const std::string& target = {}) const {
    IOStatus status = Before(kind, path, 0, 0, nullptr, target);
    if (status.ok()) status = HideNoSpace(operation());
    if (status.ok()) After(kind, path, 0, 0, target);
    return status;
  }
};

// The first and the last bytes of a table, as they were written. When RocksDB 7.8 takes a table into the
// database, it does not check its reads of the first and the last block: after an error it takes the table
// for an empty one, or aborts. So these two are not read from the disk.
struct StagedEnds {
  uint64_t head_bytes = 0;  // how much is kept of the beginning
  uint64_t tail_at = 0;     // everything from here on is kept
  std::string head;
  std::string tail;

  // What was written from `offset` on is replaced.
  void Write(uint64_t offset, std::string_view data) {
    Truncate(offset);
    if (offset < head_bytes) head += data.substr(0, head_bytes - offset);
    const uint64_t skipped = offset < tail_at ? tail_at - offset : 0;
    if (skipped < data.size()) tail += data.substr(skipped);
  }
  void Truncate(uint64_t size) {
    if (size < head.size()) head.resize(size);
    const uint64_t kept = size - std::min(size, tail_at);
    if (kept < tail.size()) tail.resize(kept);
  }
};

// A file that RocksDB writes: the ledger grows before the file does.
class WatchedWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  // `ends` and `buffer`, for direct writes, may be null.
  WatchedWritableFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path, uint64_t size,
                      const Watch& watch, std::shared_ptr<StagedEnds> ends = nullptr,
                      std::shared_ptr<ContiguousBuffer> buffer = nullptr)
      : FSWritableFileOwnerWrapper(std::move(file)),
        path_(std::move(path)),
        size_(size),
        watch_(watch),
        ends_(std::move(ends)),
        buffer_(std::move(buffer)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* context) override {
    return Write(size_, data, 1, [&](const Slice& part) { return target()->Append(part, options, context); });
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* context) override {
    return Append(data, options, context);
  }
  // A direct write: of whole sectors. It may replace the last ones, which were padded.
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* context) override {
    return Write(offset, data, GetRequiredBufferAlignment(), [&](const Slice& part) {
      std::span<const char> from(part.data(), part.size());
      if (buffer_ != nullptr) from = buffer_->Copy(from);
      return target()->PositionedAppend(Slice(from.data(), from.size()), offset, options, context);
    });
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo&, IODebugContext* context) override {
    return PositionedAppend(data, offset, options, context);
  }
  // Takes the padding away.
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* context) override {
    IOStatus status = HideNoSpace(target()->Truncate(size, options, context));
    if (!status.ok()) return status;
    size_ = size;
    if (ends_ != nullptr) ends_->Truncate(size);
    watch_.ledger->Remeasure(path_);
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* context) override {
    return watch_.Run(FileOperation::kSync, path_, [&] { return target()->Sync(options, context); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* context) override {
    return watch_.Run(FileOperation::kSync, path_, [&] { return target()->Fsync(options, context); });
  }
  IOStatus Close(const IOOptions& options, IODebugContext* context) override {
    const IOStatus status =
        watch_.Run(FileOperation::kClose, path_, [&] { return target()->Close(options, context); });
    // A file system may have given out more than the file's size in whole units.
    if (status.ok() && watch_.ledger->Contains(path_)) watch_.ledger->Remeasure(path_);
    return status;
  }
  // Preallocated bytes would count, and would not be in the account.
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  // Writes `data` at `offset` by `write`, which gets the part of it, in units of `unit` bytes, that the
  // observer lets through.
  template <typename F>
  IOStatus Write(uint64_t offset, const Slice& data, uint64_t unit, const F& write) {
    uint64_t part = 0;
    const IOStatus verdict = watch_.Before(FileOperation::kAppend, path_, offset, data.size(), &part);
    if (verdict.ok()) part = data.size();
    part = std::min<uint64_t>(part, data.size());
    const Slice written(data.data(), part - part % unit);
    const uint64_t size = std::max(size_, offset + written.size());
    if (!watch_.ledger->Grow(path_, size)) {
      return ToRocksdb(ResourceExhausted("the disk cache's limit of " +
                                         std::to_string(watch_.ledger->limit()) +
                                         " bytes forbids a write to " + path_));
    }
    const IOStatus status = written.empty() ? IOStatus::OK() : HideNoSpace(write(written));
    if (status.ok() && ends_ != nullptr) ends_->Write(offset, {written.data(), written.size()});
    if (status.ok()) size_ = size;
    if (!verdict.ok()) return verdict;
    if (status.ok()) watch_.After(FileOperation::kAppend, path_, offset, written.size());
    return status;
  }

  const std::string path_;
  uint64_t size_;
  const Watch watch_;
  const std::shared_ptr<StagedEnds> ends_;
  const std::shared_ptr<ContiguousBuffer> buffer_;
};

// MultiRead of a file that wants to see every read.
inline IOStatus ReadOneByOne(const rocksdb::FSRandomAccessFile& file, rocksdb::FSReadRequest* requests,
                             size_t count, const IOOptions& options, IODebugContext* context) {
  for (rocksdb::FSReadRequest* request = requests; request != requests + count; ++request) {
    request->status =
        file.Read(request->offset, request->len, options, &request->result, request->scratch, context);
  }
  return IOStatus::OK();
}

class WatchedRandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  WatchedRandomAccessFile(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, std::string path,
                          const Watch& watch)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), path_(std::move(path)), watch_(watch) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* context) const override {
    uint64_t part = n;
    IOStatus status = watch_.Before(FileOperation::kRead, path_, offset, n, &part);
    if (!status.ok()) return status;
    status =
        target()->Read(offset, n, options, result, scratch, context);  // direct reads are of whole sectors
    if (status.ok()) {
      *result = Slice(result->data(), std::min<uint64_t>(result->size(), part));
      watch_.observer->AfterRead({FileOperation::kRead, path_, {}, offset, n},
                                 {const_cast<char*>(result->data()), result->size()});
    }
    return status;
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* context) override {
    return ReadOneByOne(*this, requests, count, options, context);
  }
  IOStatus Prefetch(uint64_t, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("every read is seen by the observer");
  }

 private:
  const std::string path_;
  const Watch watch_;
};

// Whether the end of a table says where its blocks are, within its `size` bytes. No checksum covers this end,
// and RocksDB 7.8 allocates what it says, on a thread that ends the process when the memory is not there.
inline bool FooterFits(std::string_view footer, uint64_t size) {
  // Type of checksum, two handles with padding, version, magic.
  constexpr size_t kHandlesAt = 1;
  constexpr size_t kHandlesBytes = 40;
  size_t at = kHandlesAt;
  const auto number = [&](uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at < kHandlesAt + kHandlesBytes; shift += 7) {
      const auto byte = static_cast<uint8_t>(footer[at++]);
      *value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  };
  for (int handle = 0; handle < 2; ++handle) {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    if (!number(&offset) || !number(&bytes) || offset > size || bytes > size - offset) return false;
  }
  return true;
}
inline constexpr size_t kFooterBytes = 53;  // of format version 5

// A finished table that RocksDB is about to take into the database: reads of its ends are answered from
// memory.
class StagedFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  StagedFile(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, std::shared_ptr<const StagedEnds> ends)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), ends_(std::move(ends)) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* context) const override {
    const bool in_tail = offset >= ends_->tail_at;
    const std::string& part = in_tail ? ends_->tail : ends_->head;
    const uint64_t at = in_tail ? offset - ends_->tail_at : offset;
    if (at > part.size() || (!in_tail && n > part.size() - at))
      return target()->Read(offset, n, options, result, scratch, context);
    *result = Slice(scratch, std::min<uint64_t>(n, part.size() - at));
    std::memcpy(scratch, part.data() + at, result->size());
    return IOStatus::OK();
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* context) override {
    return ReadOneByOne(*this, requests, count, options, context);
  }
  IOStatus Prefetch(uint64_t, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("the ends are in memory");
  }

 private:
  const std::shared_ptr<const StagedEnds> ends_;
};

class WatchedSequentialFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  WatchedSequentialFile(std::unique_ptr<rocksdb::FSSequentialFile>&& file, std::string path,
                        const Watch& watch)
      : FSSequentialFileOwnerWrapper(std::move(file)), path_(std::move(path)), watch_(watch) {}

  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* context) override {
    uint64_t part = n;
    IOStatus status = watch_.Before(FileOperation::kRead, path_, offset_, n, &part);
    if (!status.ok()) return status;
    status = target()->Read(std::min<uint64_t>(n, part), options, result, scratch, context);
    if (status.ok()) {
      watch_.observer->AfterRead({FileOperation::kRead, path_, {}, offset_, n},
                                 {const_cast<char*>(result->data()), result->size()});
      offset_ += result->size();
    }
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    offset_ += n;
    return target()->Skip(n);
  }

 private:
  const std::string path_;
  const Watch watch_;
  uint64_t offset_ = 0;
};

class WatchedDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  WatchedDirectory(std::unique_ptr<rocksdb::FSDirectory>&& directory, std::string path, const Watch& watch)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), watch_(watch) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* context) override {
    return watch_.Run(FileOperation::kSyncDirectory, path_,
                      [&] { return FSDirectoryWrapper::Fsync(options, context); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* context,
                               const rocksdb::DirFsyncOptions& fsync_options) override {
    return watch_.Run(FileOperation::kSyncDirectory, path_, [&] {
      return FSDirectoryWrapper::FsyncWithDirOptions(options, context, fsync_options);
    });
  }

 private:
  const std::string path_;
  const Watch watch_;
};

// The file system of the database. It keeps the ledger true and lets the observer see every operation.
class WatchedFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit WatchedFileSystem(const Watch& watch)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), watch_(watch) {}
  static const char* kClassName() { return "PrefixdWatchedFileSystem"; }
  const char* Name() const override { return kClassName(); }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* context) override {
    IOStatus status = watch_.Run(FileOperation::kCreate, path,
                                 [&] { return target()->NewWritableFile(path, options, file, context); });
    if (!status.ok()) return status;
    // Token ids are what a user wrote: nobody else may read them.
    if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) return IOStatus::IOError("chmod failed", path);
    (void)watch_.ledger->Grow(path, 0);
    watch_.ledger->Remeasure(path);  // it was truncated if it existed
    watch_.ledger->Remeasure(std::filesystem::path(path).parent_path().string());
    const bool staged = IsStaged(path);
    *file = std::make_unique<WatchedWritableFile>(
        std::move(*file), path, 0, watch_, staged ? staged_ends_ : nullptr, staged ? buffer_ : nullptr);
    return status;
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext* context) override {
    IOStatus status = watch_.Run(FileOperation::kCreate, path,
                                 [&] { return target()->ReopenWritableFile(path, options, file, context); });
    if (!status.ok()) return status;
    const uint64_t size = (*file)->GetFileSize(rocksdb::IOOptions(), context);
    (void)watch_.ledger->Grow(path, size);
    *file = std::make_unique<WatchedWritableFile>(std::move(*file), path, size, watch_);
    return status;
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string&, const rocksdb::FileOptions& options,
                             std::unique_ptr<rocksdb::FSWritableFile>* file,
                             IODebugContext* context) override {
    return NewWritableFile(path, options, file, context);
  }
  IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                               IODebugContext* context) override {
    const bool staged = IsStaged(path) && staged_ends_ != nullptr;
    if (!staged && path.ends_with(".sst")) {
      const IOStatus sound = CheckFooter(path, options, context);
      if (!sound.ok()) return sound;
    }
    rocksdb::FileOptions how = options;
    if (staged) how.use_direct_reads = false;  // what is in memory has no alignment
    const IOStatus status = watch_.Run(
        FileOperation::kOpen, path, [&] { return target()->NewRandomAccessFile(path, how, file, context); });
    if (status.ok() && watch_.observer != nullptr)
      *file = std::make_unique<WatchedRandomAccessFile>(std::move(*file), path, watch_);
    if (status.ok() && staged) *file = std::make_unique<StagedFile>(std::move(*file), staged_ends_);
    return status;
  }
  // Tables are written in this folder before they are taken into the database. Called first.
  void SetStaging(const std::string& folder) { staging_ = folder + "/"; }
  // Called before a table is written there, one at a time.
  void KeepEnds(uint64_t head_bytes, uint64_t tail_at) {
    staged_ends_ = std::make_shared<StagedEnds>(StagedEnds{.head_bytes = head_bytes, .tail_at = tail_at});
  }
  void ForgetEnds() { staged_ends_ = nullptr; }
  IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                             std::unique_ptr<rocksdb::FSSequentialFile>* file,
                             IODebugContext* context) override {
    const IOStatus status = watch_.Run(FileOperation::kOpen, path, [&] {
      return target()->NewSequentialFile(path, options, file, context);
    });
    if (status.ok() && watch_.observer != nullptr)
      *file = std::make_unique<WatchedSequentialFile>(std::move(*file), path, watch_);
    return status;
  }
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* directory, IODebugContext* context) override {
    const IOStatus status = target()->NewDirectory(path, options, directory, context);
    if (status.ok()) *directory = std::make_unique<WatchedDirectory>(std::move(*directory), path, watch_);
    return status;
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* context) override {
    const IOStatus status = watch_.Run(FileOperation::kDelete, path,
                                       [&] { return target()->DeleteFile(path, options, context); });
    if (status.ok()) watch_.ledger->Remove(path);
    return status;
  }
  IOStatus Truncate(const std::string& path, size_t size, const IOOptions& options,
                    IODebugContext* context) override {
    const IOStatus status = target()->Truncate(path, size, options, context);
    if (status.ok()) watch_.ledger->Remeasure(path);
    return status;
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* context) override {
    const IOStatus status = watch_.Run(
        FileOperation::kRename, from, [&] { return target()->RenameFile(from, to, options, context); }, to);
    if (status.ok()) watch_.ledger->Rename(from, to);
    return status;
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* context) override {
    const IOStatus status = watch_.Run(
        FileOperation::kLink, from, [&] { return target()->LinkFile(from, to, options, context); }, to);
    if (status.ok()) watch_.ledger->Link(from, to);
    return status;
  }

 private:
  bool IsStaged(const std::string& path) const { return !staging_.empty() && path.starts_with(staging_); }
  IOStatus CheckFooter(const std::string& path, rocksdb::FileOptions options, IODebugContext* context) {
    options.use_direct_reads = false;
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    IOStatus status = target()->NewRandomAccessFile(path, options, &file, context);
    uint64_t size = 0;
    if (status.ok()) status = target()->GetFileSize(path, IOOptions(), &size, context);
    if (!status.ok()) return status;
    if (size < kFooterBytes) return IOStatus::Corruption("a table has no footer", path);
    char scratch[kFooterBytes];
    Slice footer;
    status = file->Read(size - kFooterBytes, kFooterBytes, IOOptions(), &footer, scratch, context);
    if (!status.ok()) return status;
    if (footer.size() != kFooterBytes || !FooterFits({footer.data(), footer.size()}, size))
      return IOStatus::Corruption("a table has a damaged footer", path);
    return status;
  }

  const Watch watch_;
  std::string staging_;
  std::shared_ptr<StagedEnds> staged_ends_;
  const std::shared_ptr<ContiguousBuffer> buffer_ = std::make_shared<ContiguousBuffer>();
};

// RocksDB's own log lines. It has no log file, which would count; warnings go to ours.
class ForwardingLogger final : public rocksdb::Logger {
 public:
  ForwardingLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    Log(LogLevel::kDebug, "rocksdb", {{"line", std::string_view(line)}});
  }
};

}  // namespace prefixd
