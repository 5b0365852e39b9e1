#include "events/sequence_file.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/log.h"

namespace prefixd {

Result<SequenceFile> SequenceFile::Open(std::string path) {
  if (path.empty()) return SequenceFile("", 0);
  uint64_t next = 0;
  if (std::ifstream file(path); file) {
    std::string text;
    std::getline(file, text);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), next);
    // Far from the end of the numbers: replies have -1 for their end.
    if (error != std::errc() || end != text.data() + text.size() || next > UINT64_MAX / 2)
      return InvalidArgument(
          "\"" + path + "\" has \"" + text.substr(0, 40) +
          "\" in its first line, not a number of a sequence; remove the file, or name another");
  } else if (errno != ENOENT) {
    return InvalidArgument("\"" + path + "\" cannot be read: " + std::strerror(errno));
  }
  SequenceFile sequence(std::move(path), next);
  if (const Status written = sequence.Write(next); !written.ok()) return InvalidArgument(written.message());
  return sequence;
}

uint64_t SequenceFile::Take() {
  if (next_ == reserved_ && !path_.empty()) {
    reserved_ += kReserved;
    if (const Status written = Write(reserved_); !written.ok())
      Log(LogLevel::kWarning, "the sequence of KV events is not kept over a restart",
          {{"error", written.message()}});
  }
  return next_++;
}

// A crash of the machine leaves the old file or the new one.
Status SequenceFile::Write(uint64_t number) const {
  const std::string other = path_ + ".new";
  std::FILE* file = std::fopen(other.c_str(), "we");
  const auto failed = [&](const char* what) {
    return IoError("\"" + path_ + "\" cannot be " + what + ": " + std::strerror(errno));
  };
  if (file == nullptr) return failed("written");
  const bool written = std::fprintf(file, "%llu\n", static_cast<unsigned long long>(number)) > 0 &&
                       std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  if (std::fclose(file) != 0 || !written) return failed("written");
  if (std::rename(other.c_str(), path_.c_str()) != 0) return failed("replaced");
  return Status::Ok();
}

}  // namespace prefixd
