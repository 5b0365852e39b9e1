#include "model/new_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace prefixd {
namespace {

namespace fs = std::filesystem;

Status SystemError(const fs::path& path, std::string_view doing) {
  const int error = errno;
  return IoError("cannot " + std::string(doing) + " " + path.string() + ": " + std::strerror(error) +
                 (error == ENOSPC || error == EDQUOT ? "; free space there, or name another place" : ""));
}

fs::path PartialOf(const fs::path& path) { return path.string() + ".partial"; }

// Without a slash at the end, which would have an empty name.
fs::path Named(const fs::path& path) {
  return path.has_filename() || !path.has_parent_path() ? path : path.parent_path();
}

Status Exists(const fs::path& path, std::string_view remedy) {
  return InvalidArgument(path.string() + " exists; " + std::string(remedy));
}

Status PartialExists(const fs::path& partial) {
  return Exists(partial, "another conversion writes it, or did not end: then remove it");
}

// Writes the entries of a folder to the disk.
Status SyncFolder(const fs::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return SystemError(folder, "open");
  // Some file systems have no fsync of a folder.
  const bool synced = ::fsync(descriptor) == 0 || errno == EINVAL;
  const Status status = synced ? Status::Ok() : SystemError(folder, "sync");
  ::close(descriptor);
  return status;
}

// Gives `partial` its name, and does not replace what has come to exist there meanwhile.
Status Rename(const fs::path& partial, const fs::path& path, bool replace) {
  int done = -1;
  if (!replace) {
    done = ::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
    if (done != 0 && errno == EEXIST) return Exists(path, "name another file, or add --overwrite");
    if (done != 0 && errno != EINVAL && errno != ENOSYS) return SystemError(path, "make");
  }
  if (done != 0 && ::rename(partial.c_str(), path.c_str()) != 0) return SystemError(path, "make");
  return SyncFolder(path.parent_path());
}

Status CheckParent(const fs::path& path) {
  std::error_code error;
  if (path.empty() || path.filename() == "." || path.filename() == "..")
    return InvalidArgument("'" + path.string() + "' is no name for what is to be made");
  const fs::path parent = path.parent_path();
  if (!parent.empty() && !fs::is_directory(parent, error))
    return InvalidArgument("there is no folder " + parent.string() + " for " + path.filename().string() +
                           "; make it first");
  return Status::Ok();
}

// The first file in a folder that is none of `names`; empty where there is none.
Result<std::string> OtherFile(const fs::path& folder, std::span<const std::string_view> names) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    std::string name = entries->path().filename().string();
    if (std::ranges::find(names, name) == names.end()) return name;
  }
  if (error) return IoError("cannot read " + folder.string() + ": " + error.message());
  return std::string();
}

}  // namespace

Result<NewFile> NewFile::Create(const fs::path& path, bool replace) {
  PREFIXD_RETURN_IF_ERROR(CheckParent(path));
  std::error_code error;
  if (fs::is_directory(path, error))
    return InvalidArgument(path.string() + " is a folder; give the name of a file in it");
  if (!replace && fs::exists(fs::symlink_status(path, error)))
    return Exists(path, "name another file, or add --overwrite");
  const fs::path partial = PartialOf(path);
  const int descriptor = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0 && errno == EEXIST) return PartialExists(partial);
  if (descriptor < 0) return SystemError(partial, "make");
  return NewFile(path, replace, descriptor);
}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      replace_(other.replace_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

NewFile::~NewFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  std::error_code ignored;
  fs::remove(PartialOf(path_), ignored);
}

Status NewFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path_, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Status::Ok();
}

Status NewFile::Commit() {
  if (::fsync(descriptor_) != 0) return SystemError(path_, "write");
  PREFIXD_RETURN_IF_ERROR(Rename(PartialOf(path_), path_, replace_));
  ::close(std::exchange(descriptor_, -1));
  return Status::Ok();
}

Result<NewFolder> NewFolder::Create(const fs::path& given, bool replace,
                                    std::span<const std::string_view> names) {
  const fs::path path = Named(given);
  PREFIXD_RETURN_IF_ERROR(CheckParent(path));
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error))) {
    if (!fs::is_directory(path, error)) return Exists(path, "and is not a folder; name another place");
    PREFIXD_ASSIGN_OR_RETURN(const std::string any, OtherFile(path, {}));
    if (!any.empty() && !replace) return Exists(path, "name another folder, or add --overwrite");
    PREFIXD_ASSIGN_OR_RETURN(const std::string other, OtherFile(path, names));
    if (!other.empty())
      return InvalidArgument(path.string() + " has a file that a conversion does not make, " + other +
                             "; name another folder");
  }
  const fs::path partial = PartialOf(path);
  if (::mkdir(partial.c_str(), 0777) != 0)
    return errno == EEXIST ? PartialExists(partial) : SystemError(partial, "make");
  return NewFolder(path, replace);
}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : path_(std::exchange(other.path_, fs::path())), replace_(other.replace_) {}

NewFolder::~NewFolder() {
  if (path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(partial(), ignored);
}

fs::path NewFolder::partial() const { return PartialOf(path_); }

Status NewFolder::Commit() {
  PREFIXD_RETURN_IF_ERROR(SyncFolder(partial()));
  // A folder that is there has the files that Create allowed. It changes places with the new one, and goes.
  if (::rename(partial().c_str(), path_.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) return SystemError(path_, "make");
    if (!replace_) return Exists(path_, "name another folder, or add --overwrite");
    if (::renameat2(AT_FDCWD, partial().c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0)
      return SystemError(path_, "replace");
    std::error_code error;
    fs::remove_all(partial(), error);
    if (error) return IoError("cannot remove " + partial().string() + ": " + error.message());
  }
  const fs::path path = std::exchange(path_, fs::path());
  return SyncFolder(path.parent_path());
}

}  // namespace prefixd
