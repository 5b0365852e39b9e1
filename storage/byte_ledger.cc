#include "storage/byte_ledger.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr uint64_t kStatBlock = 512;  // the unit of st_blocks, whatever the file system's own is

uint64_t RoundUp(uint64_t bytes) {
  return (bytes + ByteLedger::kUnit - 1) / ByteLedger::kUnit * ByteLedger::kUnit;
}

}  // namespace

Status ByteLedger::Measure(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> paths{path};
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return Status::Ok();
  if (fs::is_directory(fs::symlink_status(path, error))) {
    // Such as the lost+found of a mount point, which belongs to root.
    fs::recursive_directory_iterator entry(path, fs::directory_options::skip_permission_denied, error);
    for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error))
      paths.push_back(entry->path().string());
    if (error) return IoError("cannot list " + path + ": " + error.message());
  }
  MutexLock lock(mutex_);
  std::map<std::pair<dev_t, ino_t>, File> inodes;
  for (const std::string& name : paths) {
    struct stat info {};
    if (::lstat(name.c_str(), &info) != 0) continue;  // it vanished since it was listed
    if (const auto known = files_.find(name); known != files_.end()) RemoveLocked(known);
    File& file = inodes[{info.st_dev, info.st_ino}];
    if (file == nullptr) {
      file = std::make_shared<uint64_t>(static_cast<uint64_t>(info.st_blocks) * kStatBlock);
      used_ += *file;
    }
    files_[name] = file;
  }
  peak_ = std::max(peak_, used_);
  return Status::Ok();
}

bool ByteLedger::Grow(const std::string& path, uint64_t size) {
  MutexLock lock(mutex_);
  const auto known = files_.find(path);
  const uint64_t before = known == files_.end() ? 0 : *known->second;
  const uint64_t after = std::max(before, RoundUp(size));
  if (after > before && used_ + (after - before) > limit_) return false;
  SetLocked(path, after);
  return true;
}

void ByteLedger::Remeasure(const std::string& path) {
  struct stat info {};
  const bool exists = ::lstat(path.c_str(), &info) == 0;
  MutexLock lock(mutex_);
  if (exists) SetLocked(path, static_cast<uint64_t>(info.st_blocks) * kStatBlock);
}

void ByteLedger::SetLocked(const std::string& path, uint64_t bytes) {
  File& file = files_[path];
  if (file == nullptr) file = std::make_shared<uint64_t>(0);
  used_ += bytes - *file;
  *file = bytes;
  peak_ = std::max(peak_, used_);
}

void ByteLedger::RemoveLocked(std::map<std::string, File>::iterator file) {
  if (file->second.use_count() == 1) used_ -= *file->second;
  files_.erase(file);
}

void ByteLedger::ForTreeLocked(const std::string& path,
                               const std::function<void(std::map<std::string, File>::iterator)>& visit) {
  const std::string below = path + "/";
  if (const auto self = files_.find(path); self != files_.end()) visit(self);
  for (auto file = files_.lower_bound(below); file != files_.end() && file->first.starts_with(below);)
    visit(file++);
}

void ByteLedger::Link(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  const auto source = files_.find(from);
  if (source == files_.end()) return;
  const File file = source->second;
  if (const auto replaced = files_.find(to); replaced != files_.end()) RemoveLocked(replaced);
  files_[to] = file;
}

void ByteLedger::Rename(const std::string& from, const std::string& to) {
  Link(from, to);
  Remove(from);
}

void ByteLedger::Remove(const std::string& path) {
  MutexLock lock(mutex_);
  if (const auto file = files_.find(path); file != files_.end()) RemoveLocked(file);
}

void ByteLedger::RenameTree(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  std::map<std::string, File> moved;
  ForTreeLocked(from, [&](auto file) REQUIRES(mutex_) {
    moved[to + file->first.substr(from.size())] = std::move(file->second);
    files_.erase(file);
  });
  files_.merge(moved);
  PREFIXD_CHECK(moved.empty()) << "a path of the account was moved over another";
}

void ByteLedger::RemoveTree(const std::string& path) {
  MutexLock lock(mutex_);
  ForTreeLocked(path, [&](auto file) REQUIRES(mutex_) { RemoveLocked(file); });
}

uint64_t ByteLedger::used() const {
  MutexLock lock(mutex_);
  return used_;
}

uint64_t ByteLedger::limit() const {
  MutexLock lock(mutex_);
  return limit_;
}

uint64_t ByteLedger::peak() const {
  MutexLock lock(mutex_);
  return peak_;
}

void ByteLedger::SetLimit(uint64_t limit) {
  MutexLock lock(mutex_);
  limit_ = limit;
}

uint64_t ByteLedger::bytes_at(const std::string& path) const {
  MutexLock lock(mutex_);
  std::set<const uint64_t*> seen;
  uint64_t bytes = 0;
  const std::string below = path + "/";
  const auto add = [&](const File& file) {
    if (seen.insert(file.get()).second) bytes += *file;
  };
  if (const auto self = files_.find(path); self != files_.end()) add(self->second);
  for (auto file = files_.lower_bound(below); file != files_.end() && file->first.starts_with(below); ++file)
    add(file->second);
  return bytes;
}

bool ByteLedger::Contains(const std::string& path) const {
  MutexLock lock(mutex_);
  return files_.contains(path);
}

void ByteLedger::CheckInvariants() const {
  MutexLock lock(mutex_);
  std::set<const uint64_t*> seen;
  uint64_t sum = 0;
  for (const auto& [path, file] : files_) {
    if (seen.insert(file.get()).second) sum += *file;
  }
  PREFIXD_CHECK(sum == used_) << sum << " bytes in files, " << used_ << " in the account";
  PREFIXD_CHECK(used_ <= peak_);
}

}  // namespace prefixd
