// The file system that RocksDB gets: that of the operating system, with every operation told to the ledger
// and to the observer. A part of rocksdb_segment_db.cc, and included by nothing else.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "storage/byte_ledger.h"
#include "storage/file_observer.h"

namespace prefixd {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

inline IOStatus ToRocksdb(const Status& status) {
  if (status.ok()) return IOStatus::OK();
  if (status.code() == Code::kResourceExhausted) return IOStatus::NoSpace(status.message());
  return IOStatus::IOError(status.message());
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
    if (status.ok()) status = operation();
    if (status.ok()) After(kind, path, 0, 0, target);
    return status;
  }
};

// A file that RocksDB writes: the ledger grows before the file does.
class WatchedWritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WatchedWritableFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path, uint64_t size,
                      const Watch& watch)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), size_(size), watch_(watch) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* context) override {
    uint64_t part = 0;
    IOStatus verdict = watch_.Before(FileOperation::kAppend, path_, size_, data.size(), &part);
    const Slice written(data.data(), verdict.ok() ? data.size() : std::min<uint64_t>(part, data.size()));
    if (!watch_.ledger->Grow(path_, size_ + written.size())) {
      return IOStatus::NoSpace("the disk cache's limit of " + std::to_string(watch_.ledger->limit()) +
                               " bytes forbids a write to " + path_);
    }
    IOStatus status = written.empty() ? IOStatus::OK() : target()->Append(written, options, context);
    if (status.ok()) size_ += written.size();
    if (!verdict.ok()) return verdict;
    if (status.ok()) watch_.After(FileOperation::kAppend, path_, size_ - written.size(), written.size());
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* context) override {
    return Append(data, options, context);
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
  const std::string path_;
  uint64_t size_;
  const Watch watch_;
};

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
    status = target()->Read(offset, std::min<uint64_t>(n, part), options, result, scratch, context);
    if (status.ok()) {
      watch_.observer->AfterRead({FileOperation::kRead, path_, {}, offset, n},
                                 {const_cast<char*>(result->data()), result->size()});
    }
    return status;
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* context) override {
    for (size_t i = 0; i < count; ++i) {
      requests[i].status = Read(requests[i].offset, requests[i].len, options, &requests[i].result,
                                requests[i].scratch, context);
    }
    return IOStatus::OK();
  }
  IOStatus Prefetch(uint64_t, size_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("every read is seen by the observer");
  }

 private:
  const std::string path_;
  const Watch watch_;
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
    *file = std::make_unique<WatchedWritableFile>(std::move(*file), path, 0, watch_);
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
    const IOStatus status = watch_.Run(FileOperation::kOpen, path, [&] {
      return target()->NewRandomAccessFile(path, options, file, context);
    });
    if (status.ok() && watch_.observer != nullptr)
      *file = std::make_unique<WatchedRandomAccessFile>(std::move(*file), path, watch_);
    return status;
  }
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
  const Watch watch_;
};

// The file system of a reader: that of the operating system, without any operation that changes a file.
class ReadOnlyFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  ReadOnlyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "PrefixdReadOnlyFileSystem"; }
  const char* Name() const override { return kClassName(); }

  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions&,
                           std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions&,
                              std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string&, const rocksdb::FileOptions&,
                             std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus NewRandomRWFile(const std::string& path, const rocksdb::FileOptions&,
                           std::unique_ptr<rocksdb::FSRandomRWFile>*, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus Truncate(const std::string& path, size_t, const IOOptions&, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Refuse(path);
  }
  // RocksDB asks for the directory of the database, which is there.
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions& options,
                              IODebugContext* context) override {
    return target()->FileExists(path, options, context);
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    return Refuse(path);
  }
  IOStatus RenameFile(const std::string& from, const std::string&, const IOOptions&,
                      IODebugContext*) override {
    return Refuse(from);
  }
  IOStatus LinkFile(const std::string& from, const std::string&, const IOOptions&, IODebugContext*) override {
    return Refuse(from);
  }
  IOStatus LockFile(const std::string& path, const IOOptions&, rocksdb::FileLock**,
                    IODebugContext*) override {
    return Refuse(path);
  }

 private:
  static IOStatus Refuse(const std::string& path) {
    return IOStatus::NotSupported("a reader of the disk cache changes nothing", path);
  }
};

}  // namespace prefixd
