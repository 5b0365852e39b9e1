// Compares lossless codecs on the KV that a model computes for real text, block by block as the lower tiers
// store it: size, speed on one thread, and where compression pays.
//
// The value of a row is the ratio: raw bytes over stored bytes. A cap holds `more_blocks` times as many
// further blocks. encode and decode are MB/s of raw bytes, in CPU time of one thread. A load that reads a
// block and then decodes it is faster than one that reads it raw when the disk gives a thread fewer than
// `pays_below` MB/s. That is decode * (1 - 1 / ratio): the time of the bytes saved is the time of decoding.
#include <algorithm>
#include <ctime>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/check.h"
#include "bench/harness.h"
#include "bench/kv_codecs.h"
#include "bench/kv_samples.h"

namespace prefixd::bench {
namespace {

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

double ThreadSeconds() {
  timespec now;
  PREFIXD_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The shortest of `runs` runs, after one that is not timed.
double BestSeconds(int runs, const std::function<void()>& body) {
  body();
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < runs; ++i) {
    const double begin = ThreadSeconds();
    body();
    best = std::min(best, ThreadSeconds() - begin);
  }
  return best;
}

void MeasureCodec(KvCodec& codec, const KvSamples& samples, int runs, Report* report) {
  std::vector<std::string> stored(samples.blocks);
  const double encode = BestSeconds(runs, [&] {
    for (size_t i = 0; i < samples.blocks; ++i) codec.Encode(samples.Block(i), &stored[i]);
  });
  size_t stored_bytes = 0;
  for (const std::string& block : stored) stored_bytes += block.size();
  std::vector<std::byte> block(samples.layout.BlockBytes());
  const double decode = BestSeconds(runs, [&] {
    for (const std::string& bytes : stored) codec.Decode(bytes, block);
  });
  for (size_t i = 0; i < samples.blocks; ++i) {
    codec.Decode(stored[i], block);
    PREFIXD_CHECK(std::ranges::equal(block, samples.Block(i))) << codec.name() << " changes block " << i;
  }
  const auto raw = static_cast<double>(samples.bytes.size());
  const double ratio = raw / static_cast<double>(stored_bytes);
  const double saved = 1 - 1 / ratio;
  report->Add(std::string(samples.layout.type.name()) + " " + codec.name(), ratio, "ratio",
              {{"more_blocks", ratio - 1},
               {"encode", raw / encode / 1e6},
               {"decode", raw / decode / 1e6},
               {"pays_below", std::max(0.0, saved * raw / decode / 1e6)}});
}

int Main(int argc, char** argv) {
  Arguments arguments("kv_compression_bench", "Compares lossless codecs on the KV of real text.",
                      {{"--model", "DIR", "", "model folder; required"},
                       {"--text", "FILES", "", "texts, separated by commas; required"},
                       {"--tokens", "N", "512", "tokens of each text, at most; a multiple of 16"},
                       {"--kv-dtype", "TYPES", "f32,f16,bf16", "KV dtypes, separated by commas"},
                       {"--threads", "N", "0", "compute threads of the model; 0: one per CPU"},
                       {"--runs", "N", "5", "timed runs, of which the fastest counts"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const std::vector<std::string> texts = SplitAtCommas(arguments.Text("--text"));
  if (arguments.Text("--model").empty()) arguments.Fail(InvalidArgument("--model DIR is missing"));
  if (texts.empty()) arguments.Fail(InvalidArgument("--text FILES is missing"));
  const auto tokens = static_cast<int>(arguments.IntegerOrExit("--tokens", 16, 1 << 14)) / 16 * 16;
  const auto runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 1000));
  const auto threads = static_cast<int>(arguments.IntegerOrExit("--threads", 0, 1024));
  std::vector<DType> dtypes;
  for (const std::string& name : SplitAtCommas(arguments.Text("--kv-dtype"))) {
    if (name != "f32" && name != "f16" && name != "bf16")
      arguments.Fail(InvalidArgument("--kv-dtype " + name + " is none of f32, f16 and bf16"));
    dtypes.push_back(name == "f32" ? DType::kF32 : name == "f16" ? DType::kF16 : DType::kBF16);
  }

  Report report(arguments);
  report.ProbeMachine();
  for (const DType dtype : dtypes) {
    const KvSamples samples = ComputeKvSamples(arguments.Text("--model"), texts, tokens, dtype, threads);
    if (samples.blocks == 0) arguments.Fail(InvalidArgument("the texts have no whole block of tokens"));
    report.Add(std::string(DTypeName(dtype)) + " samples", static_cast<double>(samples.blocks), "blocks",
               {{"block_bytes", static_cast<double>(samples.layout.BlockBytes())}});
    for (const auto& codec : KvCodecs(samples.layout)) MeasureCodec(*codec, samples, runs, &report);
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
