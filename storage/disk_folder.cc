#include "storage/disk_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/log.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDatabase = "segments-1";
constexpr std::string_view kVersions = "segments-";
constexpr std::string_view kDamaged = "damaged-";

// The number at the end of a name that begins with `prefix`; -1 for any other name.
int64_t NumberAfter(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 9) return -1;
  int64_t number = 0;
  for (const char c : name.substr(prefix.size())) {
    if (c < '0' || c > '9') return -1;
    number = number * 10 + (c - '0');
  }
  return number;
}

std::vector<std::string> FoldersIn(const std::string& directory, std::string_view prefix) {
  std::vector<std::pair<int64_t, std::string>> found;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const int64_t number = NumberAfter(entry->path().filename().string(), prefix);
    if (number >= 0) found.emplace_back(number, entry->path().string());
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  for (auto& [number, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// All folders that are set aside, the oldest first.
std::vector<std::string> SetAsideFolders(const std::string& path) {
  std::vector<std::string> folders =
      FoldersIn(ParentOf(path), fs::path(path).filename().string() + "." + std::string(kDamaged));
  for (std::string& inside : FoldersIn(path, kDamaged)) folders.push_back(std::move(inside));
  return folders;
}

std::string ErrorText(int error) { return std::error_code(error, std::generic_category()).message(); }

Result<int> Lock(const std::string& path) {
  const std::string file = path + "/lock";
  const int lock = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (lock < 0) return IoError("cannot open " + file + ": " + ErrorText(errno));
  if (::flock(lock, LOCK_EX | LOCK_NB) == 0) {
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(lock, 0) == 0 && ::pwrite(lock, pid.data(), pid.size(), 0) > 0) return lock;
    const Status failed = IoError("cannot write " + file + ": " + ErrorText(errno));
    ::close(lock);
    return failed;
  }
  char pid[32] = {};
  const ssize_t length = ::pread(lock, pid, sizeof pid - 1, 0);
  ::close(lock);
  const std::string owner(pid, length > 0 ? std::strcspn(pid, "\n") : 0);
  return Unavailable("the disk cache " + path + " is in use by process " +
                     (owner.empty() ? "(unknown)" : owner) +
                     "; stop it, or give this daemon a --disk-cache-dir of its own");
}

}  // namespace

Result<std::unique_ptr<DiskFolder>> DiskFolder::Open(const std::string& given, ByteLedger* ledger) {
  std::error_code error;
  const std::string path = fs::absolute(given, error).lexically_normal().string();
  const std::string trimmed = path.size() > 1 && path.back() == '/' ? path.substr(0, path.size() - 1) : path;
  fs::create_directories(trimmed, error);
  // Token ids on the disk are what users wrote: nobody else may read them.
  if (!error) fs::permissions(trimmed, fs::perms::owner_all, error);
  if (error) return IoError("cannot use " + trimmed + " as a disk cache: " + error.message());
  PREFIXD_ASSIGN_OR_RETURN(const int lock, Lock(trimmed));
  std::unique_ptr<DiskFolder> folder(new DiskFolder(trimmed, ledger, lock));
  PREFIXD_RETURN_IF_ERROR(ledger->Measure(trimmed));
  for (const std::string& aside : SetAsideFolders(trimmed)) PREFIXD_RETURN_IF_ERROR(ledger->Measure(aside));
  return folder;
}

DiskFolder::~DiskFolder() { ::close(lock_); }

Result<std::unique_ptr<SegmentDb>> DiskFolder::OpenDatabase(uint64_t max_segments, FileObserver* observer) {
  const std::string database = path_ + "/" + kDatabase;
  const auto open = [&]() -> Result<std::unique_ptr<SegmentDb>> {
    std::error_code error;
    fs::create_directories(database, error);
    if (!error) fs::permissions(database, fs::perms::owner_all, error);
    if (error) return IoError("cannot make " + database + ": " + error.message());
    ledger_->Remeasure(database);
    return OpenRocksdb(
        {.path = database, .max_segments = max_segments, .ledger = ledger_, .observer = observer});
  };
  auto db = open();
  if (db.ok() || db.status().code() != Code::kCorrupt) return db;
  PREFIXD_RETURN_IF_ERROR(SetAside(db.status()));
  return open();
}

Status DiskFolder::SetAside(const Status& why) {
  int64_t next = 1;
  const std::string stem = path_ + "." + std::string(kDamaged);
  for (const std::string& folder : SetAsideFolders(path_)) {
    const std::string name = fs::path(folder).filename().string();
    next = std::max(next, 1 + std::max(NumberAfter(name, fs::path(stem).filename().string()),
                                       NumberAfter(name, kDamaged)));
  }
  const std::string database = path_ + "/" + kDatabase;
  std::error_code error;
  std::string target = stem + std::to_string(next);
  fs::rename(database, target, error);
  if (error) {  // the parent belongs to somebody else, or DIR is a mount point
    target = path_ + "/" + std::string(kDamaged) + std::to_string(next);
    fs::rename(database, target, error);
  }
  if (error) return IoError("cannot set aside the damaged " + database + ": " + error.message());
  ledger_->RenameTree(database, target);
  Log(LogLevel::kError, "set aside a damaged disk cache and began an empty one",
      {{"folder", target}, {"error", why.ToString()}});
  return Status::Ok();
}

Result<bool> DiskFolder::RemoveOldest() {
  std::vector<std::string> folders = SetAsideFolders(path_);
  for (std::string& version : FoldersIn(path_, kVersions))
    if (fs::path(version).filename() != kDatabase) folders.push_back(std::move(version));
  if (folders.empty()) return false;
  std::error_code error;
  fs::remove_all(folders.front(), error);
  if (error) return IoError("cannot remove " + folders.front() + ": " + error.message());
  ledger_->RemoveTree(folders.front());
  Log(LogLevel::kInfo, "removed an old disk cache to make room", {{"folder", folders.front()}});
  return true;
}

}  // namespace prefixd
