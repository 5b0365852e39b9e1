#include "daemon/tier_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/serve_plan_probe.h"

namespace prefixd {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr int kPieces = 8;
constexpr double kSeconds = 0.1;

class File {
 public:
  explicit File(const std::string& directory)
      : descriptor_(open(directory.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600)) {}
  ~File() {
    if (descriptor_ >= 0) (void)close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  const int descriptor_;
};

}  // namespace

double ProbeReads(const std::string& directory) {
  const File file(directory);
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(4096, kPiece), &std::free);
  if (file.descriptor() < 0 || buffer == nullptr) return 0;
  std::fill_n(static_cast<char*>(buffer.get()), kPiece, 'p');
  const SystemClock clock;
  const double begun = clock.NowSeconds();
  const auto at = [](int piece) { return static_cast<off_t>(kPiece) * piece; };
  int written = 0;
  while (written < kPieces && clock.NowSeconds() - begun < kSeconds / 2) {
    if (pwrite(file.descriptor(), buffer.get(), kPiece, at(written)) != ssize_t{kPiece}) break;
    ++written;
  }
  const double reads_begun = clock.NowSeconds();
  int read = 0;
  while (read < written && clock.NowSeconds() - begun < kSeconds) {
    if (pread(file.descriptor(), buffer.get(), kPiece, at(read)) != ssize_t{kPiece}) return 0;
    ++read;
  }
  const double seconds = clock.NowSeconds() - reads_begun;
  return read == 0 || seconds <= 0 ? 0 : static_cast<double>(kPiece) * read / seconds;
}

TierProbe ProbeTiers(const ServePlan& plan, const KvLayout& layout) {
  TierProbe probe;
  if (plan.tiers.host_blocks == 0 && !plan.tiers.disk.on) return probe;
  const auto bytes = static_cast<double>(layout.BlockBytes());
  const Result<ProbedRates> rates =
      ProbeRates(plan.backend, plan.threads.count, plan.model.config.dtype.value_or(DType::kF32));
  if (rates.ok()) {
    probe.block_seconds[static_cast<size_t>(Tier::kHost)] = bytes / rates->copy_bytes;
    probe.token_seconds = 1 / rates->PrefillTokensPerSecond(plan.model.parameters);
  }
  const double reads = plan.tiers.disk.on ? ProbeReads(plan.tiers.disk.dir) : 0;
  if (reads > 0) probe.block_seconds[static_cast<size_t>(Tier::kDisk)] = bytes / reads;
  Log(LogLevel::kInfo, "rates assumed for loads",
      {{"prefill_tokens_per_second", probe.token_seconds > 0 ? 1 / probe.token_seconds : 0.0},
       {"host_bytes_per_second", rates.ok() ? rates->copy_bytes : 0.0},
       {"disk_bytes_per_second", reads}});
  return probe;
}

}  // namespace prefixd
