#include "tests/support/slow_disk.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fstream>

namespace prefixd::testing_support {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kCheckEvery = kSecond / 100;
constexpr double kMinRate = 1e3;
constexpr double kMaxRate = 1e15;
constexpr double kMaxSeconds = 3600;

int64_t Nanos(double seconds) { return std::llround(seconds * static_cast<double>(kSecond)); }

// Takes a number from the beginning of `text`, and spaces before it. Returns false when there is none.
bool TakeNumber(std::string_view* text, double* number) {
  text->remove_prefix(std::min(text->find_first_not_of(' '), text->size()));
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return text->empty() || text->front() == ' ';
}

bool InRange(double number, double from, double to) { return number >= from && number <= to; }

}  // namespace

Result<DiskSpeed> ParseDiskSpeed(std::string_view line) {
  DiskSpeed speed;
  std::string_view rest = line;
  const bool read = TakeNumber(&rest, &speed.bytes_per_second) && TakeNumber(&rest, &speed.latency) &&
                    TakeNumber(&rest, &speed.hang) && rest.find_first_not_of(' ') == std::string_view::npos;
  const double rate = speed.bytes_per_second;
  if (!read || !(rate == 0 || InRange(rate, kMinRate, kMaxRate)) || !InRange(speed.latency, 0, kMaxSeconds) ||
      !InRange(speed.hang, 0, kMaxSeconds)) {
    return InvalidArgument(
        "'" + std::string(line) +
        "' is not BYTES_PER_SECOND (0, or 1000 to 1e15) LATENCY_SECONDS HANG_SECONDS (0 to "
        "3600)");
  }
  return speed;
}

void DiskTimetable::SetSpeed(const DiskSpeed& speed, int64_t changed) {
  speed_ = speed;
  hangs_until_ = speed.hang > 0 ? changed + Nanos(speed.hang) : INT64_MIN;
}

int64_t DiskTimetable::Take(int64_t now, uint64_t bytes) {
  int64_t end = now;
  if (speed_.bytes_per_second > 0) {
    free_at_ = std::max(now, free_at_) + Nanos(static_cast<double>(bytes) / speed_.bytes_per_second);
    end = free_at_ + Nanos(speed_.latency);
  }
  return now < hangs_until_ ? std::max(end, hangs_until_) : end;
}

SlowDisk::SlowDisk(std::string file, const Clock* clock, Wait wait, FileObserver* next)
    : file_(std::move(file)), clock_(clock), wait_(std::move(wait)), next_(next) {}

Status SlowDisk::Load() {
  MutexLock lock(mutex_);
  version_ = {};
  return LoadLocked(clock_->NowNanos());
}

Status SlowDisk::LoadLocked(int64_t now) {
  checked_ = now;
  struct stat info {};
  if (::stat(file_.c_str(), &info) != 0) return IoError("cannot read " + file_);
  const Version version = {info.st_ino, info.st_mtim.tv_sec * kSecond + info.st_mtim.tv_nsec};
  if (version == version_) return Status::Ok();
  std::ifstream stream(file_);
  std::string line;
  std::getline(stream, line);
  PREFIXD_ASSIGN_OR_RETURN(const DiskSpeed speed, ParseDiskSpeed(line));
  version_ = version;
  const int64_t unix_now = std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  timetable_.SetSpeed(speed, now - (unix_now - version.second));
  return Status::Ok();
}

Status SlowDisk::Before(const FileCall& call, uint64_t* part) {
  if (call.operation == FileOperation::kRead) {
    ++reads_;
    read_bytes_ += call.bytes;
    const int64_t now = clock_->NowNanos();
    int64_t end = now;
    {
      MutexLock lock(mutex_);
      if (now - checked_ >= kCheckEvery) (void)LoadLocked(now);
      end = timetable_.Take(now, call.bytes);
    }
    if (end > now) wait_(end);
  }
  return next_ == nullptr ? Status::Ok() : next_->Before(call, part);
}

void SlowDisk::AfterRead(const FileCall& call, std::span<char> data) {
  if (next_ != nullptr) next_->AfterRead(call, data);
}

void SlowDisk::After(const FileCall& call) {
  if (next_ != nullptr) next_->After(call);
}

}  // namespace prefixd::testing_support
