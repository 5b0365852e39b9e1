// The only unit that knows RocksDB; rocksdb_files.h and rocksdb_read_only.h are parts of it.
//
// RocksDB is used as a set of immutable tables with a manifest. Nothing is ever written through its write
// path, so its write-ahead log stays empty, its memtable too, and there is nothing to compact. A segment is
// one SST file of the keys `number ‖ 0 ‖ ordinal` (a record each) and `number ‖ 1` (the directory), integers
// big-endian. SstFileWriter writes the file below `staging`, ingestion moves it into the database by a hard
// link, and the synced edit of the manifest is what makes it durable. Numbers grow, so ranges of segments
// never overlap: every file lies on the lowest level, and DeleteFilesInRanges drops exactly one.
#include <fcntl.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "storage/rocksdb_files.h"
#include "storage/rocksdb_read_only.h"
#include "storage/segment_db.h"

namespace prefixd {
namespace {

constexpr uint64_t kManifestEntryBytes = 256;     // of one segment in a manifest; measured: about 150
constexpr uint64_t kMinManifestBytes = 64 << 10;  // a manifest is written anew beyond this or 4 x its content
constexpr uint64_t kSmallFilesBytes = 256 << 10;  // CURRENT, IDENTITY, OPTIONS of two opens, directories
constexpr uint64_t kDirectoryEntryBytes = 64;     // of a file in a directory
constexpr int kOpenTables = 256;                  // tables whose index is kept in memory
constexpr uint64_t kBlockBytes = 4 << 10;         // a block of a table is full with this, and its last record
constexpr uint64_t kRecordOverhead = 128;      // block trailer, restart array, key, entry in the table index
constexpr uint64_t kTableOverhead = 16 << 10;  // properties, footer, index, and rounding to whole units
constexpr std::chrono::seconds kUnlinkTimeout{10};  // how long Drop waits for readers of a dropped segment

constexpr int kOpenAgain = 5;  // how often a reader tries again to open the database
constexpr std::chrono::milliseconds kOpenPause{20};

// A file that cannot be written for want of room is kResourceExhausted, so that callers can make room.
Status FromRocksdb(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return Status::Ok();
  const std::string message = std::string(what) + ": " + status.ToString();
  if (message.find(kFull) != std::string::npos) return ResourceExhausted(message);
  if (status.IsNotFound()) return NotFound(message);
  // A file that the manifest names and that is not there is damage, too.
  if (status.IsCorruption() || status.IsPathNotFound()) return Corrupt(message);
  return IoError(message);
}

std::string Key(uint32_t number, bool directory, uint32_t ordinal) {
  std::string key;
  for (int shift = 24; shift >= 0; shift -= 8) key += static_cast<char>(number >> shift);
  key += directory ? '\1' : '\0';
  if (!directory)
    for (int shift = 24; shift >= 0; shift -= 8) key += static_cast<char>(ordinal >> shift);
  return key;
}

uint32_t NumberOf(std::string_view key) {
  uint32_t number = 0;
  for (size_t i = 0; i < 4 && i < key.size(); ++i) number = number << 8 | static_cast<uint8_t>(key[i]);
  return number;
}

uint64_t ManifestBytes(uint64_t max_segments) {
  return std::max(kMinManifestBytes, 4 * max_segments * kManifestEntryBytes);
}

// Whether files in the directory can be read past the page cache.
bool AllowsDirectReads(const std::string& directory) {
  const std::string file = directory + "/direct-io";
  const int descriptor = ::open(file.c_str(), O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (descriptor < 0) return false;
  ::close(descriptor);
  (void)::unlink(file.c_str());
  return true;
}

rocksdb::Options DatabaseOptions(rocksdb::Env* env, uint64_t max_segments, bool direct_reads) {
  rocksdb::Options db;
  db.env = env;
  db.create_if_missing = true;
  db.info_log = std::make_shared<ForwardingLogger>();
  // Two levels: 0 stays empty, every segment lies on 1. Nothing is compacted.
  db.num_levels = 2;
  db.disable_auto_compactions = true;
  // The memtable is never written to; the smallest one that RocksDB allows.
  db.write_buffer_size = 64 << 10;
  db.max_write_buffer_number = 2;
  db.arena_block_size = 4 << 10;
  // The manifest is written anew when it has this size. It has at most a quarter of it then.
  db.max_manifest_file_size = ManifestBytes(max_segments);
  // Space that is given out ahead of the data counts, so there is none.
  db.manifest_preallocation_size = 0;
  db.allow_fallocate = false;
  // Obsolete files are removed by the call that made them so, not later by a thread.
  db.avoid_unnecessary_blocking_io = false;
  db.max_background_jobs = 1;
  // No threads that wake without work, and no statistics in the database.
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.skip_stats_update_on_db_open = true;
  // A missing or damaged table is a segment that is lost, not a database that does not open.
  db.paranoid_checks = false;
  db.skip_checking_sst_file_sizes_on_db_open = true;
  // A table that stands in the place of another is found when it is opened.
  db.verify_sst_unique_id_in_manifest = true;
  db.max_open_files = kOpenTables;
  // What is thrown on a thread of RocksDB ends the process; on ours it is caught.
  db.max_file_opening_threads = 1;
  // A record is read once and then lies in a tier above. In the page cache it would lie twice.
  db.use_direct_reads = direct_reads;
  // Who reads through the page cache reads whole segments, so the kernel may read ahead.
  db.advise_random_on_open = direct_reads;
  db.bytes_per_sync = 1 << 20;               // writing to the disk begins while the segment is written
  db.compression = rocksdb::kNoCompression;  // records are compressed before they come here
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  table.block_size = kBlockBytes;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.filter_policy = nullptr;  // DiskStore knows what is there
  db.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return db;
}

// Runs RocksDB code. What it throws, such as an allocation of a damaged length, is an error.
template <typename F>
Status Guard(std::string_view what, const F& call) {
  try {
    return FromRocksdb(call(), what);
  } catch (const std::exception& error) {
    return Corrupt(std::string(what) + ": RocksDB threw: " + error.what());
  }
}

// The value of a key, read without the block cache.
rocksdb::Status ReadValue(rocksdb::DB* db, const std::string& key, std::string* value) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  return db->Get(read, key, value);
}

std::vector<rocksdb::LiveFileMetaData> TablesOf(rocksdb::DB* db) {
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  return files;
}

std::vector<uint32_t> SegmentsOf(rocksdb::DB* db) {
  std::vector<uint32_t> numbers;
  for (const auto& file : TablesOf(db)) numbers.push_back(NumberOf(file.smallestkey));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::map<uint32_t, uint64_t> PhysicalBytesOf(rocksdb::DB* db, const std::string& path) {
  std::map<uint32_t, uint64_t> bytes;
  for (const auto& file : TablesOf(db)) {
    struct stat info {};
    const bool there = ::lstat((path + "/" + file.relative_filename).c_str(), &info) == 0;
    bytes[NumberOf(file.smallestkey)] += there ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
  }
  return bytes;
}

class RocksdbSegmentDb final : public SegmentDb {
 public:
  explicit RocksdbSegmentDb(const RocksdbOptions& options)
      : path_(options.path),
        staging_(options.path + "/staging"),
        ledger_(options.ledger),
        file_system_(std::make_shared<WatchedFileSystem>(Watch{options.ledger, options.observer})),
        env_(rocksdb::NewCompositeEnv(file_system_)),
        options_(DatabaseOptions(env_.get(), options.max_segments,
                                 !options.read_ahead && AllowsDirectReads(options.path))) {
    file_system_->SetStaging(staging_);
  }

  // Must be called first.
  Status Open() EXCLUDES(mutex_);

  std::vector<uint32_t> Segments() const override;
  std::map<uint32_t, uint64_t> PhysicalBytes() const override;
  Status Add(uint32_t number, std::span<const std::string_view> records, std::string_view directory) override;
  Result<std::string> Read(uint32_t number, uint32_t ordinal) override {
    return Get(Key(number, false, ordinal));
  }
  Result<std::string> ReadDirectory(uint32_t number) override { return Get(Key(number, true, 0)); }
  Status Drop(uint32_t number) override;
  Status Recover() override;
  uint64_t Bound(uint64_t records, uint64_t bytes, uint64_t directory_bytes) const override {
    return kTableOverhead + bytes + directory_bytes + records * kRecordOverhead;
  }

 private:
  Status OpenLocked() REQUIRES(mutex_);
  // The database for one call, which keeps it from being closed. Empty when it could not be opened again.
  class Use;
  Result<std::string> Get(const std::string& key);
  rocksdb::Status WriteTable(const std::string& file, uint32_t number,
                             std::span<const std::string_view> records, std::string_view directory);
  // The path of the table of a segment; empty when there is none.
  std::string TableOf(uint32_t number) const;

  const std::string path_;
  const std::string staging_;
  ByteLedger* const ledger_;
  // The database uses the two below until it is destroyed.
  const std::shared_ptr<WatchedFileSystem> file_system_;
  const std::unique_ptr<rocksdb::Env> env_;
  const rocksdb::Options options_;

  // A change began, and did not end well. For the calls that come one at a time: Add, Drop and Recover.
  bool changing_ = false;
  mutable Mutex mutex_;
  mutable CondVar changed_;
  mutable int readers_ GUARDED_BY(mutex_) = 0;
  bool recovering_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<rocksdb::DB> db_ GUARDED_BY(mutex_);
};

class RocksdbSegmentDb::Use {
 public:
  explicit Use(const RocksdbSegmentDb& owner) : owner_(owner) {
    MutexLock lock(owner_.mutex_);
    while (owner_.recovering_) owner_.changed_.Wait(owner_.mutex_);
    db_ = owner_.db_.get();
    ++owner_.readers_;
  }
  ~Use() {
    MutexLock lock(owner_.mutex_);
    if (--owner_.readers_ == 0) owner_.changed_.NotifyAll();
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  rocksdb::DB* operator->() const { return db_; }
  rocksdb::DB* get() const { return db_; }

 private:
  const RocksdbSegmentDb& owner_;
  rocksdb::DB* db_ = nullptr;
};

Status RocksdbSegmentDb::Open() {
  MutexLock lock(mutex_);
  return OpenLocked();
}

Status RocksdbSegmentDb::OpenLocked() {
  std::error_code error;
  // What a crash left half-written. It was never part of the database.
  std::filesystem::remove_all(staging_, error);
  ledger_->RemoveTree(staging_);
  std::filesystem::create_directories(staging_, error);
  if (!error) {
    std::filesystem::permissions(staging_, std::filesystem::perms::owner_all, error);
    ledger_->Remeasure(staging_);
  }
  if (error) return IoError("cannot make " + staging_ + ": " + error.message());
  rocksdb::DB* db = nullptr;
  const Status status =
      Guard("cannot open " + path_, [&] { return rocksdb::DB::Open(options_, path_, &db); });
  db_.reset(db);
  return status;
}

std::vector<uint32_t> RocksdbSegmentDb::Segments() const {
  const Use db(*this);
  return db.get() == nullptr ? std::vector<uint32_t>() : SegmentsOf(db.get());
}

std::map<uint32_t, uint64_t> RocksdbSegmentDb::PhysicalBytes() const {
  const Use db(*this);
  return db.get() == nullptr ? std::map<uint32_t, uint64_t>() : PhysicalBytesOf(db.get(), path_);
}

std::string RocksdbSegmentDb::TableOf(uint32_t number) const {
  const Use db(*this);
  if (db.get() == nullptr) return "";
  for (const auto& file : TablesOf(db.get()))
    if (NumberOf(file.smallestkey) == number) return path_ + "/" + file.relative_filename;
  return "";
}

rocksdb::Status RocksdbSegmentDb::WriteTable(const std::string& file, uint32_t number,
                                             std::span<const std::string_view> records,
                                             std::string_view directory) {
  rocksdb::EnvOptions env_options(options_);
  env_options.use_direct_writes = options_.use_direct_reads;  // the page cache takes time, and is of no use
  rocksdb::SstFileWriter writer(env_options, options_, nullptr, /*invalidate_page_cache=*/false);
  rocksdb::Status status = writer.Open(file);
  for (uint32_t ordinal = 0; status.ok() && ordinal < records.size(); ++ordinal)
    status = writer.Put(Key(number, false, ordinal), Slice(records[ordinal].data(), records[ordinal].size()));
  if (status.ok()) status = writer.Put(Key(number, true, 0), Slice(directory.data(), directory.size()));
  if (status.ok()) status = writer.Finish();
  return status;
}

Status RocksdbSegmentDb::Add(uint32_t number, std::span<const std::string_view> records,
                             std::string_view directory) {
  const Use db(*this);
  if (db.get() == nullptr) return IoError(path_ + " could not be opened again");
  const std::string file = staging_ + "/" + std::to_string(number) + ".sst";
  // The first block ends with the record that fills it. The last one has the directory, and before it less
  // than a block of records.
  uint64_t bytes = 0;
  uint64_t head = 2 * kBlockBytes;
  for (const std::string_view record : records) {
    if (bytes < kBlockBytes) head += record.size() + kRecordOverhead;
    bytes += record.size();
  }
  file_system_->KeepEnds(head, bytes - std::min(bytes, 2 * kBlockBytes));
  Status status = Guard("cannot write segment " + std::to_string(number), [&] {
    rocksdb::Status written = WriteTable(file, number, records, directory);
    if (!written.ok()) return written;
    changing_ = true;
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    ingest.failed_move_fall_back_to_copy = false;  // a copy would take twice the bytes
    ingest.write_global_seqno = false;
    ingest.fail_if_not_bottommost_level = true;
    return db->IngestExternalFile({file}, ingest);
  });
  file_system_->ForgetEnds();
  // After a success RocksDB has removed this name of the file; after a failure it is ours to remove.
  if (status.ok()) {
    changing_ = false;
  } else {
    (void)env_->DeleteFile(file);
    std::error_code error;
    changing_ = changing_ || std::filesystem::exists(file, error);
  }
  return status;
}

Result<std::string> RocksdbSegmentDb::Get(const std::string& key) {
  const Use db(*this);
  if (db.get() == nullptr) return IoError(path_ + " could not be opened again");
  std::string value;
  const Status status = Guard("cannot read from " + path_, [&] { return ReadValue(db.get(), key, &value); });
  if (!status.ok()) return status;
  return value;
}

Status RocksdbSegmentDb::Drop(uint32_t number) {
  const Use db(*this);
  if (db.get() == nullptr) return IoError(path_ + " could not be opened again");
  const std::string table = TableOf(number);
  if (table.empty()) return Status::Ok();
  const std::string first = Key(number, false, 0);
  const std::string last = Key(number, true, 0);
  const Slice begin(first);
  const Slice end(last);
  const rocksdb::RangePtr range(&begin, &end);
  changing_ = true;
  PREFIXD_RETURN_IF_ERROR(Guard("cannot drop segment " + std::to_string(number), [&] {
    return rocksdb::DeleteFilesInRanges(db.get(), db->DefaultColumnFamily(), &range, 1);
  }));
  // A reader that began before keeps the table. When it ends, nobody removes the file unless asked.
  const auto deadline = std::chrono::steady_clock::now() + kUnlinkTimeout;
  while (ledger_->Contains(table)) {
    if (!std::filesystem::exists(table)) {
      ledger_->Remove(table);  // somebody else removed it
      break;
    }
    if (std::chrono::steady_clock::now() > deadline)
      return Unavailable("segment " + std::to_string(number) +
                         " is still being read; its bytes are not free");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    PREFIXD_RETURN_IF_ERROR(Guard("cannot remove " + table, [&] {
      rocksdb::Status status = db->DisableFileDeletions();
      if (status.ok()) status = db->EnableFileDeletions(/*force=*/true);
      return status;
    }));
  }
  changing_ = false;
  return Status::Ok();
}

Status RocksdbSegmentDb::Recover() {
  if (!changing_) return Status::Ok();
  MutexLock lock(mutex_);
  recovering_ = true;
  while (readers_ > 0) changed_.Wait(mutex_);
  db_ = nullptr;
  const Status status = OpenLocked();
  changing_ = !status.ok();
  recovering_ = false;
  changed_.NotifyAll();
  return status;
}

// Removes the zeros at the end of the manifest, and returns whether there are any. After a crash, a file may
// have the length of its last write but zeros for a part of it. RocksDB ignores a last record that is cut
// off, but not one that ends in zeros. It was never synced, so nothing that was acknowledged is in it.
bool TrimManifest(const RocksdbOptions& options) {
  std::string name;
  std::getline(std::ifstream(options.path + "/CURRENT"), name);
  if (!name.starts_with("MANIFEST-") || name.find('/') != std::string::npos) return false;
  const std::string path = options.path + "/" + name;
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error || size == 0 || size > ManifestBytes(options.max_segments)) return false;
  std::string bytes(size, '\0');
  std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(size));
  const size_t last = bytes.find_last_not_of('\0');
  if (last == std::string::npos || last + 1 == size) return false;
  std::filesystem::resize_file(path, last + 1, error);
  options.ledger->Remeasure(path);
  return !error;
}

class RocksdbSegmentReader final : public SegmentReader {
 public:
  explicit RocksdbSegmentReader(const std::string& path)
      : path_(path),
        env_(rocksdb::NewCompositeEnv(std::make_shared<ReadOnlyFileSystem>())),
        options_(DatabaseOptions(env_.get(), 0, /*direct_reads=*/false)) {}

  // Must be called first; again after a failure.
  Status Open() {
    return Guard("cannot open " + path_, [&] {
      rocksdb::DB* db = nullptr;
      rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options_, path_, &db);
      db_.reset(db);
      return status;
    });
  }
  std::vector<uint32_t> Segments() const override { return SegmentsOf(db_.get()); }
  std::map<uint32_t, uint64_t> PhysicalBytes() const override { return PhysicalBytesOf(db_.get(), path_); }
  Result<std::string> Read(uint32_t number, uint32_t ordinal) override {
    return Get(Key(number, false, ordinal));
  }
  Result<std::string> ReadDirectory(uint32_t number) override { return Get(Key(number, true, 0)); }

 private:
  Result<std::string> Get(const std::string& key) {
    std::string value;
    bool gone = false;
    const Status status = Guard("cannot read from " + path_, [&] {
      rocksdb::Status read = ReadValue(db_.get(), key, &value);
      gone = read.IsPathNotFound();
      return read;
    });
    if (gone) return Unavailable(status.message());
    if (!status.ok()) return status;
    return value;
  }

  const std::string path_;
  const std::unique_ptr<rocksdb::Env> env_;  // the database uses it until it is destroyed
  const rocksdb::Options options_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

Result<std::unique_ptr<SegmentReader>> OpenRocksdbForReading(const std::string& path) {
  auto reader = std::make_unique<RocksdbSegmentReader>(path);
  Status status = reader->Open();
  // Another process may replace the manifest between the reads of CURRENT and of the file that it names.
  for (int again = 0; !status.ok() && again < kOpenAgain; ++again) {
    std::this_thread::sleep_for(kOpenPause);
    status = reader->Open();
  }
  if (!status.ok()) return status;
  return std::unique_ptr<SegmentReader>(std::move(reader));
}

Result<std::unique_ptr<SegmentDb>> OpenRocksdb(const RocksdbOptions& options) {
  auto db = std::make_unique<RocksdbSegmentDb>(options);
  Status status = db->Open();
  if (status.code() == Code::kCorrupt && TrimManifest(options)) {
    db = nullptr;
    db = std::make_unique<RocksdbSegmentDb>(options);
    status = db->Open();
  }
  PREFIXD_RETURN_IF_ERROR(status);
  return std::unique_ptr<SegmentDb>(std::move(db));
}

uint64_t RocksdbReserve(uint64_t max_segments) {
  // While a manifest is written anew, the old one is still there.
  return 2 * ManifestBytes(max_segments) + max_segments * kManifestEntryBytes +
         max_segments * kDirectoryEntryBytes + kSmallFilesBytes;
}

}  // namespace prefixd
