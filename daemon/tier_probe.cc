#include "daemon/tier_probe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/usable_cpus.h"
#include "daemon/serve_plan_probe.h"
#include "storage/record.h"

namespace prefixd {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kLongestPiece = size_t{1} << 20, kFileBytes = size_t{8} << 20;
constexpr double kSeconds = 0.1;
constexpr double kDecodeSeconds = 0.02;

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

double ProbeReads(const std::string& directory, size_t piece, uint64_t most) {
  const File file(directory);
  const size_t length = std::clamp((piece + kPage - 1) / kPage * kPage, kPage, kLongestPiece);
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(kPage, kLongestPiece),
                                                           &std::free);
  if (file.descriptor() < 0 || buffer == nullptr) return 0;
  std::fill_n(static_cast<char*>(buffer.get()), kLongestPiece, 'p');
  const SystemClock clock;
  const double begun = clock.NowSeconds();
  size_t written = 0;
  while (written + kLongestPiece <= std::min<uint64_t>(most, kFileBytes) &&
         clock.NowSeconds() - begun < kSeconds / 2) {
    if (pwrite(file.descriptor(), buffer.get(), kLongestPiece, static_cast<off_t>(written)) !=
        ssize_t{kLongestPiece})
      break;
    written += kLongestPiece;
  }
  const double reads_begun = clock.NowSeconds();
  size_t read = 0;
  while (read + length <= written && clock.NowSeconds() - begun < kSeconds) {
    if (pread(file.descriptor(), buffer.get(), length, static_cast<off_t>(read)) !=
        static_cast<ssize_t>(length))
      return 0;
    read += length;
  }
  const double seconds = clock.NowSeconds() - reads_begun;
  return read == 0 || seconds <= 0 ? 0 : static_cast<double>(read) / seconds;
}

double ProbeDecoding(const KvLayout& layout, const CodecChoice& codec) try {
  // Values of KV: a sign, an exponent near that of 1 and a mantissa that is noise.
  std::vector<std::byte> block(layout.BlockBytes());
  std::minstd_rand random(1);
  for (size_t i = 0; i < block.size(); ++i) {
    const bool is_last = (i + 1) % layout.type.element_bytes() == 0;
    block[i] = static_cast<std::byte>(is_last ? 0x3e + (random() & 0x81) : random() >> 8);
  }
  const std::vector<TokenId> tokens(layout.block_tokens);
  std::string compressed;
  const std::string bytes = EncodeRecord({.tokens = tokens}, 0,
                                         EncodePayload(codec.codec, codec.element_bytes, block, &compressed));
  const SystemClock clock;
  double best = kDecodeSeconds;
  for (const double begun = clock.NowSeconds(); clock.NowSeconds() - begun < kDecodeSeconds;) {
    const double before = clock.NowSeconds();
    const DecodedRecord record = DecodeRecord(std::as_bytes(std::span(bytes)));
    if (ReadRecordPayload(record, block) != RecordDefect::kNone) return 0;
    best = std::min(best, clock.NowSeconds() - before);
  }
  return best;
} catch (const std::bad_alloc&) {
  return 0;
}

TierProbe ProbeTiers(const ServePlan& plan, const KvLayout& layout, uint64_t disk_room) {
  TierProbe probe;
  if (plan.tiers.host_blocks == 0 && !plan.tiers.disk.on && !plan.tiers.remote.on) return probe;
  const auto bytes = static_cast<double>(layout.BlockBytes());
  const Result<ProbedRates> rates = ProbeRates(plan);
  if (rates.ok()) {
    probe.block_seconds[static_cast<size_t>(Tier::kHost)] = bytes / rates->copy_bytes;
    probe.token_seconds = 1 / rates->PrefillTokensPerSecond(plan.model.parameters);
  }
  const DiskPlan& disk = plan.tiers.disk;
  // Long reads: a small block takes longer one by one, but several threads load at the same time.
  const double reads = disk.on ? ProbeReads(disk.dir, kLongestPiece, disk_room / 2) : 0;
  // The threads that load decode at the same time, as far as there are processors for them.
  const int decoders = std::clamp(CountUsableCpus().count, 1, kLoadThreads);
  const double decoding = reads > 0 ? ProbeDecoding(layout, disk.codec) / decoders : 0;
  double loads = 0;  // bytes per second
  if (reads > 0) {
    probe.block_seconds[static_cast<size_t>(Tier::kDisk)] = bytes / reads + decoding;
    loads = bytes / (bytes / reads + decoding);
  }
  Log(LogLevel::kInfo, "rates assumed for loads",
      {{"prefill_tokens_per_second", probe.token_seconds > 0 ? 1 / probe.token_seconds : 0.0},
       {"host_bytes_per_second", rates.ok() ? rates->copy_bytes : 0.0},
       {"disk_bytes_per_second", loads},
       {"load_policy", LoadPolicyName(plan.tiers.load_policy)}});
  return probe;
}

}  // namespace prefixd
