#include "tests/support/faulty_disk.h"

#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "base/check.h"
#include "tests/support/disk_usage.h"

namespace prefixd::testing_support {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::microseconds kSlow{200};

bool Writes(FileOperation operation) {
  return operation != FileOperation::kOpen && operation != FileOperation::kRead;
}

Status Failure(Code code, const FileCall& call) {
  if (code == Code::kResourceExhausted) return ResourceExhausted("no space left on device: " + call.path);
  return IoError("input/output error: " + call.path);
}

}  // namespace

FaultyDisk::FaultyDisk(std::string folder, uint64_t seed)
    : folder_(std::move(folder)), undo_(folder_ + ".unsynced"), random_(seed) {
  MutexLock lock(mutex_);
  AdoptLocked();
}

void FaultyDisk::AdoptLocked() {
  now_.clear();
  durable_.clear();
  unsynced_.clear();
  fs::remove_all(undo_);
  fs::create_directories(undo_);
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder_, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!entry->is_regular_file()) continue;
    auto file = std::make_shared<Inode>();
    file->synced = entry->file_size();
    now_[entry->path().string()] = durable_[entry->path().string()] = file;
  }
}

void FaultyDisk::FailFrom(uint64_t skip, uint64_t count, Code code) {
  MutexLock lock(mutex_);
  fail_from_ = operations_ + skip;
  fail_until_ = count > UINT64_MAX - fail_from_ ? UINT64_MAX : fail_from_ + count;
  fail_code_ = code;
}

void FaultyDisk::SetRates(const FaultRates& rates) {
  MutexLock lock(mutex_);
  rates_ = rates;
}

void FaultyDisk::Heal() {
  MutexLock lock(mutex_);
  rates_ = {};
  fail_from_ = UINT64_MAX;
}

void FaultyDisk::PowerOff() {
  MutexLock lock(mutex_);
  off_ = true;
}

Status FaultyDisk::Verdict(const FileCall& call, uint64_t* part) {
  const uint64_t number = operations_++;
  if (off_) return Failure(Code::kIo, call);
  if (call.operation == FileOperation::kRead && random_.Chance(rates_.short_read) && call.bytes > 0)
    *part = random_.Below(call.bytes);
  Code code = Code::kOk;
  if (number >= fail_from_ && number < fail_until_) {
    code = Writes(call.operation) ? fail_code_ : Code::kIo;
  } else if (random_.Chance(rates_.io_error)) {
    code = Code::kIo;
  } else if ((call.operation == FileOperation::kAppend || call.operation == FileOperation::kCreate) &&
             random_.Chance(rates_.disk_full)) {
    code = Code::kResourceExhausted;
  }
  if (code == Code::kOk) return Status::Ok();
  ++faults_;
  if (call.operation == FileOperation::kAppend) *part = random_.Below(call.bytes + 1);
  const auto known = now_.find(call.path);
  if (call.operation == FileOperation::kSync && known != now_.end()) known->second->poisoned = true;
  return Failure(code, call);
}

Status FaultyDisk::Before(const FileCall& call, uint64_t* part) {
  if (Writes(call.operation) && limit_ != 0 && DiskUsage(folder_) > limit_) ++violations_;
  bool slow = false;
  {
    MutexLock lock(mutex_);
    PREFIXD_RETURN_IF_ERROR(Verdict(call, part));
    slow = random_.Chance(rates_.slow);
    if (call.operation == FileOperation::kDelete) SaveLocked(call.path, false);
    if (call.operation == FileOperation::kRename) {
      SaveLocked(call.path, false);
      SaveLocked(call.target, false);
    }
    // A file that exists is truncated, which a crash may undo as well.
    if (call.operation == FileOperation::kCreate) SaveLocked(call.path, true);
  }
  if (slow) std::this_thread::sleep_for(kSlow);
  return Status::Ok();
}

void FaultyDisk::AfterRead(const FileCall&, std::span<char> data) {
  MutexLock lock(mutex_);
  if (data.empty() || !random_.Chance(rates_.flipped_bit)) return;
  ++faults_;
  char& byte = data[random_.Below(data.size())];
  byte = static_cast<char>(byte ^ (1 << random_.Below(8)));
}

void FaultyDisk::After(const FileCall& call) {
  MutexLock lock(mutex_);
  const auto known = now_.find(call.path);
  switch (call.operation) {
    case FileOperation::kCreate:
      ChangeLocked({{call.path, std::make_shared<Inode>()}});
      break;
    case FileOperation::kSync:
      if (known != now_.end() && !known->second->poisoned) {
        std::error_code error;
        const uint64_t size = fs::file_size(call.path, error);
        if (!error) known->second->synced = size;
      }
      break;
    case FileOperation::kLink:
      if (known != now_.end()) ChangeLocked({{call.target, known->second}});
      break;
    case FileOperation::kRename:
      if (known != now_.end()) ChangeLocked({{call.target, known->second}, {call.path, nullptr}});
      break;
    case FileOperation::kDelete:
      ChangeLocked({{call.path, nullptr}});
      break;
    case FileOperation::kSyncDirectory:
      SyncFolderLocked(call.path);
      break;
    case FileOperation::kOpen:
    case FileOperation::kAppend:
    case FileOperation::kRead:
    case FileOperation::kClose:
      break;
  }
}

void FaultyDisk::SaveLocked(const std::string& path, bool copy) {
  const auto known = now_.find(path);
  if (known == now_.end() || !known->second->saved.empty()) return;
  const std::string name = undo_ + "/" + std::to_string(saved_++);
  std::error_code error;
  if (copy) {
    fs::copy_file(path, name, error);
  } else {
    fs::create_hard_link(path, name, error);
  }
  if (!error) known->second->saved = name;
}

void FaultyDisk::ChangeLocked(Change change) {
  for (const auto& [path, file] : change) {
    if (file != nullptr) {
      now_[path] = file;
    } else {
      now_.erase(path);
    }
  }
  unsynced_.push_back(std::move(change));
}

void FaultyDisk::MakeDurableLocked(const Change& change) {
  for (const auto& [path, file] : change) {
    if (file != nullptr) {
      durable_[path] = file;
    } else {
      durable_.erase(path);
    }
  }
}

void FaultyDisk::SyncFolderLocked(const std::string& folder) {
  std::erase_if(unsynced_, [&](const Change& change) REQUIRES(mutex_) {
    if (fs::path(change.front().first).parent_path() != folder) return false;
    MakeDurableLocked(change);
    return true;
  });
}

void FaultyDisk::Crash(bool by_chance) {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(off_);
  const uint64_t kept = by_chance ? random_.Below(unsynced_.size() + 1) : 0;
  for (uint64_t i = 0; i < kept; ++i) MakeDurableLocked(unsynced_[i]);
  std::error_code error;
  // Every file needs a second name while the first ones change.
  for (const auto& [path, file] : now_) {
    if (!file->saved.empty() || !fs::exists(path, error)) continue;
    file->saved = undo_ + "/" + std::to_string(saved_++);
    fs::create_hard_link(path, file->saved, error);
  }
  for (const auto& [path, file] : now_) fs::remove(path, error);
  for (const auto& [path, file] : durable_) {
    // A file that was moved away by other means is not there to be brought back.
    if (file->saved.empty()) continue;
    CutLocked(file->saved, *file, by_chance);
    fs::create_hard_link(file->saved, path, error);
  }
  off_ = false;
  fail_from_ = UINT64_MAX;
  AdoptLocked();
}

void FaultyDisk::CutLocked(const std::string& path, const Inode& file, bool by_chance) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error || size <= file.synced) return;
  const uint64_t length = by_chance ? file.synced + random_.Below(size - file.synced + 1) : file.synced;
  fs::resize_file(path, length, error);
  // A length may reach the disk before the data.
  if (by_chance && random_.Chance(0.3)) fs::resize_file(path, size, error);
}

}  // namespace prefixd::testing_support
