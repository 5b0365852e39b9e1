#include "model/direct_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

// Of memory, offset and size. Where a disk or a file system needs more, reads fail.
constexpr size_t kAlign = 4096;

size_t Up(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

DirectBuffer::DirectBuffer(size_t bytes)
    : part_bytes_(bytes),
      memory_(
          static_cast<std::byte*>(std::aligned_alloc(kAlign, Up(bytes) + kAlign))) {  // it begins in a block
  if (memory_ == nullptr) throw std::bad_alloc();
}

void DirectBuffer::Free::operator()(std::byte* memory) const { std::free(memory); }

std::optional<DirectFile> DirectFile::Open(const MappedFile& file) {
  const int direct = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
  if (direct < 0) return std::nullopt;
  const int cached = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (cached < 0) {
    ::close(direct);
    return std::nullopt;
  }
  // A look at a page then never makes the kernel read those behind it.
  (void)::posix_fadvise(cached, 0, 0, POSIX_FADV_RANDOM);
  DirectFile opened(direct, cached);
  if (!file.IsOpenAt(direct) || !file.IsOpenAt(cached)) return std::nullopt;
  return opened;
}

DirectFile::DirectFile(DirectFile&& other) noexcept
    : direct_(std::exchange(other.direct_, -1)), cached_(std::exchange(other.cached_, -1)) {}

DirectFile::~DirectFile() {
  if (direct_ >= 0) ::close(direct_);
  if (cached_ >= 0) ::close(cached_);
}

bool DirectFile::IsCached(const MappedFile& file) const {
  const size_t bytes = file.bytes().size();
  size_t cached = 0;
  for (size_t i = 0; i < kLooks && bytes > 0; ++i) {
    const size_t offset = bytes / kLooks * i + bytes % kLooks * i / kLooks;  // bytes * i / kLooks
    cached += file.IsResident(offset) && HasAtOnce(offset) ? 1 : 0;
  }
  return bytes == 0 || cached > kLooks / 2;
}

// IsResident is true for a user who may not know, and where a filter of system calls refuses mincore, as that
// of the systemd unit does. Of a page that is not there this makes the kernel begin to read, which may end in
// time for a true answer.
bool DirectFile::HasAtOnce(size_t offset) const {
  std::byte byte;
  const iovec to{&byte, 1};
  return ::preadv2(cached_, &to, 1, static_cast<off_t>(offset), RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

std::span<const std::byte> DirectFile::Read(size_t offset, size_t bytes, DirectBuffer& buffer) const {
  PREFIXD_CHECK(bytes <= buffer.part_bytes()) << bytes << " bytes, room for " << buffer.part_bytes();
  const size_t begin = offset / kAlign * kAlign, wanted = offset - begin + bytes;
  std::byte* const memory = buffer.memory_.get();
  for (size_t have = 0; have < wanted;) {
    const ssize_t got = ::pread(direct_, memory + have, Up(wanted) - have, static_cast<off_t>(begin + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {};
    have += static_cast<size_t>(got);
    // After a part of a block there is no aligned place to go on at; only the end of the file looks so.
    if (have < wanted && have % kAlign != 0) return {};
  }
  return {memory + (offset - begin), bytes};
}

}  // namespace prefixd
