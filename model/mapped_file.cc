#include "model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "model/truncation_guard.h"

namespace prefixd {
namespace {

constexpr size_t kLongestPointer = 1024;  // as git-lfs has it

// A mapping begins at a page, and the kernel takes advice about whole pages.
size_t PageBytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

Status Refused(const std::filesystem::path& path, int error) {
  const Code code = error == ENOENT ? Code::kNotFound : Code::kIo;
  std::string words = path.string() + ": " + std::strerror(error);
  std::error_code ignored;
  if (error == ENOENT && std::filesystem::is_symlink(path, ignored)) {
    words = path.string() + " is a link to " + std::filesystem::read_symlink(path, ignored).string() +
            ", which does not exist; copy the files instead of the links, or download the folder again";
  }
  if (error == EACCES) words += "; give the user that runs prefixd the right to read it (chmod)";
  return Status(code, std::move(words));
}

// A git-lfs pointer is a text file of three lines: version, oid, and "size N" of the file that it stands for.
Status RefusePointer(const std::filesystem::path& path, std::string_view text) {
  if (!text.starts_with("version https://git-lfs.github.com/spec/")) return Status::Ok();
  const size_t size = text.substr(0, kLongestPointer).find("\nsize ");
  const std::string bytes(size == text.npos ? "?"
                                            : text.substr(size + 6, text.find('\n', size + 6) - size - 6));
  return Corrupt(path.string() + " is a git-lfs pointer to a file of " + bytes +
                 " bytes, not the file itself; fetch it: git lfs pull --include " + path.filename().string() +
                 ", or download it again");
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer. Regular files ignore the flag.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Refused(path, errno);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return IoError(path.string() +
                   (S_ISDIR(info.st_mode) ? " is a folder, not a file" : " is not a regular file") +
                   "; remove it, then download the file");
  }
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    return MappedFile(path, VersionOf(info), {});
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (data == MAP_FAILED) return Refused(path, error);
  // The kernel then reads far ahead, and in large requests. A failure costs that alone.
  ::madvise(data, size, MADV_SEQUENTIAL);
  const std::span bytes(static_cast<const std::byte*>(data), size);
  WatchMappedFile(bytes, path.string());
  MappedFile file(path, VersionOf(info), bytes);
  PREFIXD_RETURN_IF_ERROR(RefusePointer(path, {static_cast<const char*>(data), size}));
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), version_(other.version_), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  UnwatchMappedFile(bytes_);
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::Version MappedFile::VersionOf(const struct stat& info) {
  return {info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
}

Status MappedFile::CheckUnchanged() const {
  struct stat info {};
  if (::stat(path_.c_str(), &info) == 0 && VersionOf(info) == version_) return Status::Ok();
  return Corrupt(path_.string() + " has changed while it was read; start again when it is complete");
}

bool MappedFile::IsOpenAt(int descriptor) const {
  struct stat info {};
  return ::fstat(descriptor, &info) == 0 && VersionOf(info) == version_;
}

size_t MappedFile::OffsetOf(std::span<const std::byte> part) const {
  PREFIXD_CHECK(part.data() >= bytes_.data() && part.data() + part.size() <= bytes_.data() + bytes_.size())
      << part.size() << " bytes outside the file";
  return static_cast<size_t>(part.data() - bytes_.data());
}

bool MappedFile::IsResident(size_t offset) const {
  PREFIXD_CHECK(offset < bytes_.size()) << offset << " of " << bytes_.size();
  unsigned char state = 1;
  std::byte* const page = const_cast<std::byte*>(bytes_.data()) + offset / PageBytes() * PageBytes();
  return ::mincore(page, 1, &state) != 0 || (state & 1) != 0;
}

void MappedFile::ReadPages(std::span<const std::byte> part) const {
  const size_t offset = OffsetOf(part), begin = offset / PageBytes() * PageBytes();
  // After a failure the pages are read when they are touched.
  ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, offset + part.size() - begin, MADV_POPULATE_READ);
}

void MappedFile::DropPages(std::span<const std::byte> part) const {
  const size_t offset = OffsetOf(part), page = PageBytes();
  const size_t begin = (offset + page - 1) / page * page, end = (offset + part.size()) / page * page;
  // After a failure the pages stay in memory.
  if (begin < end) ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

Result<std::string> ReadSmallFile(const std::filesystem::path& path, size_t limit) {
  PREFIXD_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (file.bytes().size() > limit) {
    return InvalidArgument(path.string() + ": has " + FormatSize(file.bytes().size()) + ", the limit is " +
                           FormatSize(limit));
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

}  // namespace prefixd
