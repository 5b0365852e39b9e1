#include "storage/disk_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDatabase = "segments-1";
constexpr std::string_view kVersions = "segments-";
constexpr std::string_view kDamaged = "damaged-";
constexpr std::string_view kDatabaseNames[] = {"CURRENT", "IDENTITY", "LOCK", "LOG", "staging"};
constexpr std::string_view kDatabaseBeginnings[] = {"LOG.old.", "MANIFEST-", "OPTIONS-"};
constexpr std::string_view kDatabaseEnds[] = {".sst", ".log", ".dbtmp"};

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

// Whether RocksDB or SegmentDb gives such a name to what it makes in the folder of a database.
bool IsOfDatabase(std::string_view name) {
  const auto is = [&](std::string_view word) { return name == word; };
  const auto begins = [&](std::string_view word) { return name.starts_with(word); };
  const auto ends = [&](std::string_view word) { return name.ends_with(word); };
  return std::ranges::any_of(kDatabaseNames, is) || std::ranges::any_of(kDatabaseBeginnings, begins) ||
         std::ranges::any_of(kDatabaseEnds, ends);
}

// Removes what a database made in its folder. Returns the paths of everything else, which stay.
Result<std::vector<std::string>> RemoveFilesOfDatabase(const std::string& folder) {
  std::vector<std::string> foreign;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!IsOfDatabase(entry->path().filename().string()))
      foreign.push_back(entry->path().string());
    else if (fs::remove_all(entry->path(), error); error)
      break;
  }
  if (error) return IoError("cannot remove what is in " + folder + ": " + error.message());
  std::sort(foreign.begin(), foreign.end());
  return foreign;
}

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// All folders that are set aside, the oldest first.
std::vector<std::string> SetAsideFolders(const std::string& path) {
  std::vector<std::string> folders =
      FoldersIn(ParentOf(path), fs::path(path).filename().string() + "." + std::string(kDamaged));
  // Others may write to the parent: what is not ours is neither counted nor removed.
  std::erase_if(folders, [](const std::string& folder) {
    struct stat info {};
    return ::lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != ::geteuid();
  });
  for (std::string& inside : FoldersIn(path, kDamaged)) folders.push_back(std::move(inside));
  return folders;
}

// The device and the inode of a path; 0 when there is none.
std::pair<uint64_t, uint64_t> InodeOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

std::string ErrorText(int error) { return std::error_code(error, std::generic_category()).message(); }

// The process id that the holder of the lock wrote; empty when there is none.
std::string ReadOwner(int lock) {
  char pid[32] = {};
  const ssize_t length = ::pread(lock, pid, sizeof pid - 1, 0);
  return {pid, length > 0 ? std::strcspn(pid, "\n") : 0};
}

// The second line of the file; empty when there is none, or it is too long.
std::string ReadNote(int lock) {
  char text[DiskFolder::kMostNote + 64] = {};
  const ssize_t length = ::pread(lock, text, sizeof text, 0);
  const std::string_view all(text, length > 0 ? static_cast<size_t>(length) : 0);
  const size_t begin = all.find('\n');
  const size_t end = begin == std::string_view::npos ? begin : all.find('\n', begin + 1);
  return end == std::string_view::npos ? "" : std::string(all.substr(begin + 1, end - begin - 1));
}

// LookIntoDiskFolder takes the lock for a moment, to see whether it is free. That moment is waited for.
bool TryLock(int lock) {
  for (int again = 0;; ++again) {
    if (::flock(lock, LOCK_EX | LOCK_NB) == 0) return true;
    if (again == 5) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// Opens the file of the lock; -1 with errno when that is not possible. A link or a pipe in its place is
// refused: writing to the one would change another file, and opening the other would wait.
int OpenLock(const std::string& file, int flags) {
  const int lock = ::open(file.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR);
  struct stat info {};
  if (lock < 0 || (::fstat(lock, &info) == 0 && S_ISREG(info.st_mode))) return lock;
  ::close(lock);
  errno = EINVAL;
  return -1;
}

// Whether a directory that exists may become a cache: it is empty, or it has a database or what one leaves.
bool MayBeCache(const std::string& path) {
  bool others = false;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (NumberAfter(name, kVersions) >= 0 || NumberAfter(name, kDamaged) >= 0) return true;
    others = others || (name != "lock" && name != "lost+found");
  }
  return !others;
}

Status NotACache(const std::string& path) {
  return InvalidArgument("'" + path + "' is not empty and is not the directory of a disk cache; give a " +
                         "directory of its own");
}

Status InUse(const std::string& path, const std::string& owner) {
  return Unavailable("the disk cache " + path + " is in use by process " +
                     (owner.empty() ? "(unknown)" : owner) +
                     "; stop it, or give this daemon a --disk-cache-dir of its own");
}

// Removes the logs without bytes. Nothing is ever written to the log of RocksDB, which begins one with each
// opening and keeps all of them.
void RemoveEmptyLogs(const std::string& database, ByteLedger* ledger) {
  std::vector<std::string> logs;
  std::error_code error;
  for (fs::directory_iterator entry(database, error), end; !error && entry != end; entry.increment(error)) {
    struct stat info {};
    const std::string path = entry->path().string();
    if (path.ends_with(".log") && ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_size == 0)
      logs.push_back(path);
  }
  for (const std::string& path : logs)
    if (::unlink(path.c_str()) == 0) ledger->Remove(path);
}

// What a directory is, who owns it, or how it is called is wrong, and not the medium.
bool IsMistake(int error) {
  return error == ENOTDIR || error == EEXIST || error == EACCES || error == EPERM || error == ENOENT ||
         error == ELOOP || error == ENAMETOOLONG;
}

// Why a directory cannot be a cache. `what` could not be done.
Status CannotUse(const std::string& what, int error) {
  const std::string why = what + ": " + ErrorText(error);
  if (!IsMistake(error)) return IoError(why);
  return InvalidArgument(why + "; give a directory that the user with the id " + std::to_string(::geteuid()) +
                         " may write, or one that can be made");
}

Result<int> Lock(const std::string& path, std::string_view note, std::string* note_before) {
  const std::string file = path + "/lock";
  const int lock = OpenLock(file, O_CREAT | O_RDWR);
  if (lock < 0) return CannotUse("cannot open " + file + " as a file", errno);
  if (TryLock(lock)) {
    *note_before = ReadNote(lock);
    std::string text = std::to_string(::getpid()) + "\n";
    text.append(note.empty() ? *note_before : note);
    text += '\n';
    if (::ftruncate(lock, 0) == 0 && ::pwrite(lock, text.data(), text.size(), 0) > 0) return lock;
    const Status failed = IoError("cannot write " + file + ": " + ErrorText(errno));
    ::close(lock);
    return failed;
  }
  const std::string owner = ReadOwner(lock);
  ::close(lock);
  return InUse(path, owner);
}

// Absolute, without links and without a slash at the end: the bytes of a link's target count.
std::string PlainPath(const std::string& given) {
  std::error_code error;
  std::string path = fs::weakly_canonical(fs::absolute(given, error), error).string();
  if (path.empty()) path = fs::absolute(given, error).lexically_normal().string();
  return path.size() > 1 && path.back() == '/' ? path.substr(0, path.size() - 1) : path;
}

// Why a directory cannot be looked into, with what to do about it.
Status CannotRead(const std::string& path, int error) {
  struct stat info {};
  std::string remedy;
  if (error == EACCES) {
    remedy = ::lstat(path.c_str(), &info) == 0
                 ? "; it belongs to the user with the id " + std::to_string(info.st_uid) +
                       ": run this as that user, or as root"
                 : "; run this as the user of the daemon, or as root";
  }
  return InvalidArgument("cannot read the directory '" + path + "': " + ErrorText(error) + remedy);
}

}  // namespace

Result<DiskFolderContents> LookIntoDiskFolder(const std::string& given) {
  const std::string path = PlainPath(given);
  struct stat info {};
  if (given.empty() || (::stat(path.c_str(), &info) != 0 && errno == ENOENT)) {
    return InvalidArgument("there is no directory '" + given +
                           "'; give the --disk-cache-dir of the daemon whose cache is meant");
  }
  if (::stat(path.c_str(), &info) != 0) return CannotRead(path, errno);
  if (!S_ISDIR(info.st_mode)) {
    return InvalidArgument("'" + path + "' is not a directory; give the --disk-cache-dir of the daemon");
  }
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return CannotRead(path, errno);
  ::close(folder);
  DiskFolderContents contents{.path = path, .set_aside = SetAsideFolders(path)};
  for (std::string& version : FoldersIn(path, kVersions)) {
    if (fs::path(version).filename() == kDatabase)
      contents.database = std::move(version);
    else
      contents.other_versions.push_back(std::move(version));
  }
  const int lock = OpenLock(path + "/lock", O_RDONLY);
  if (lock < 0 && errno == EACCES) return CannotRead(path, errno);
  if (lock >= 0) {
    contents.in_use = ::flock(lock, LOCK_SH | LOCK_NB) != 0;
    if (contents.in_use) contents.owner = ReadOwner(lock);
    ::close(lock);
  } else if (contents.database.empty() && contents.set_aside.empty() && contents.other_versions.empty()) {
    return InvalidArgument("'" + path + "' is not the directory of a disk cache: it has neither a file " +
                           "'lock' nor a folder '" + kDatabase + "'");
  }
  return contents;
}

Status CheckDiskFolder(const std::string& given) {
  const std::string path = PlainPath(given);
  if (!MayBeCache(path)) return NotACache(path);
  const int lock = OpenLock(path + "/lock", O_RDONLY);
  if (lock < 0) return Status::Ok();
  const bool in_use = ::flock(lock, LOCK_SH | LOCK_NB) != 0;
  const std::string owner = in_use ? ReadOwner(lock) : "";
  ::close(lock);
  return in_use ? InUse(path, owner) : Status::Ok();
}

uint64_t DiskFolderBytes(const std::string& given) {
  const std::string path = PlainPath(given);
  ByteLedger ledger(UINT64_MAX);
  (void)ledger.Measure(path);  // what cannot be seen does not count
  for (const std::string& aside : SetAsideFolders(path)) (void)ledger.Measure(aside);
  return ledger.used();
}

Result<std::unique_ptr<DiskFolder>> DiskFolder::Open(const std::string& given, ByteLedger* ledger,
                                                     std::string_view note) {
  PREFIXD_CHECK(note.size() <= kMostNote && note.find('\n') == std::string_view::npos) << note;
  std::error_code error;
  const std::string trimmed = PlainPath(given);
  fs::create_directories(trimmed, error);
  if (error) return CannotUse("cannot use '" + trimmed + "' as a disk cache", error.value());
  if (!MayBeCache(trimmed)) return NotACache(trimmed);
  std::string before;
  PREFIXD_ASSIGN_OR_RETURN(const int lock, Lock(trimmed, note, &before));
  std::unique_ptr<DiskFolder> folder(new DiskFolder(trimmed, ledger, lock, std::move(before)));
  // Token ids on the disk are what users wrote: nobody else may read them.
  fs::permissions(trimmed, fs::perms::owner_all, error);
  if (error) return CannotUse("cannot make " + trimmed + " private", error.value());
  PREFIXD_RETURN_IF_ERROR(ledger->Measure(trimmed));
  for (const std::string& aside : SetAsideFolders(trimmed)) PREFIXD_RETURN_IF_ERROR(ledger->Measure(aside));
  return folder;
}

DiskFolder::~DiskFolder() { ::close(lock_); }

Result<std::unique_ptr<SegmentDb>> DiskFolder::OpenDatabase(uint64_t max_segments, FileObserver* observer,
                                                            bool read_ahead) {
  const std::string database = path_ + "/" + kDatabase;
  const auto open = [&]() -> Result<std::unique_ptr<SegmentDb>> {
    std::error_code error;
    fs::create_directories(database, error);
    if (!error) fs::permissions(database, fs::perms::owner_all, error);
    if (error) return IoError("cannot make " + database + ": " + error.message());
    ledger_->Remeasure(database);
    RemoveEmptyLogs(database, ledger_);
    auto opened = OpenRocksdb({.path = database,
                               .max_segments = max_segments,
                               .ledger = ledger_,
                               .observer = observer,
                               .read_ahead = read_ahead});
    // RocksDB makes this file itself, and readable for all.
    (void)::chmod((database + "/LOCK").c_str(), S_IRUSR | S_IWUSR);
    return opened;
  };
  auto db = open();
  if (!db.ok() && db.status().code() == Code::kCorrupt) {
    PREFIXD_RETURN_IF_ERROR(SetAside(db.status()));
    db = open();
  }
  database_ = InodeOf(database);
  return db;
}

Status DiskFolder::StillThere() const {
  struct stat lock {};
  const std::string file = path_ + "/lock";
  if (::fstat(lock_, &lock) != 0 || InodeOf(file) != std::pair<uint64_t, uint64_t>(lock.st_dev, lock.st_ino))
    return IoError("the directory " + path_ + " was removed or replaced");
  if (InodeOf(path_ + "/" + kDatabase) != database_)
    return IoError("the database in " + path_ + " was removed or replaced");
  return Status::Ok();
}

Status DiskFolder::HasRoomFor(uint64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(path_, error);
  if (error || space.available >= bytes) return Status::Ok();
  return ResourceExhausted("the file system of " + path_ + " is full: it has room for " +
                           FormatSize(space.available) + ", and a segment takes " + FormatSize(bytes) +
                           "; free some, or lower disk-cache");
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

Result<std::vector<std::string>> DiskFolder::RemoveAll() {
  std::vector<std::string> folders = SetAsideFolders(path_);
  for (std::string& version : FoldersIn(path_, kVersions)) folders.push_back(std::move(version));
  std::vector<std::string> staying;
  for (const std::string& folder : folders) {
    std::error_code error;
    // Without its first file the rest is no database any more, should this be interrupted.
    fs::remove(folder + "/CURRENT", error);
    std::vector<std::string> foreign;
    if (fs::path(folder).filename() == kDatabase) {
      PREFIXD_ASSIGN_OR_RETURN(foreign, RemoveFilesOfDatabase(folder));
    }
    if (foreign.empty()) fs::remove_all(folder, error);
    if (error) return IoError("cannot remove " + folder + ": " + error.message());
    ledger_->RemoveTree(folder);
    if (foreign.empty()) continue;
    PREFIXD_RETURN_IF_ERROR(ledger_->Measure(folder));
    staying.insert(staying.end(), foreign.begin(), foreign.end());
  }
  return staying;
}

}  // namespace prefixd
