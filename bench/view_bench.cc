// What operators cost the engine thread: the turns of a look at all prefixes (cache/prefix_scan.h), of
// purges and of pins, in a tree of many blocks. A turn is what a step may have to wait for. Times are
// processor time of the thread, so that other processes do not count. The trees have the shapes that make
// turns longest:
//
//   groups   prompts of 256 blocks; the first half is shared by eight of them
//   wide     one block that very many prompts begin with, of one further block each
//   deep     a few prompts of as many tokens as the longest contexts have
//
// Every prompt is served and then found once, so that every prefix has the same worth: each is a row until
// the look is over.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "bench/harness.h"
#include "cache/prefix_cache.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr uint32_t kNodes = 2048;  // EngineView::kNodesPerTurn
constexpr BlockKey kRoot{.low = 1, .high = 2};

struct Shape {
  const char* name;
  size_t group;          // prompts that share
  size_t shared, alone;  // blocks
};

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId /*from*/, BlockId /*to*/) override {}
};

// Blocks of one prompt differ from all others by the number of the prompt, or of its group.
std::vector<TokenId> Prompt(const Shape& shape, size_t number) {
  std::vector<TokenId> tokens;
  for (size_t block = 0; block < shape.shared + shape.alone; ++block) {
    const size_t owner = block < shape.shared ? number / shape.group : number;
    tokens.push_back(static_cast<TokenId>(block));
    tokens.push_back(static_cast<TokenId>(owner));
    tokens.insert(tokens.end(), kBlockTokens - 2, block < shape.shared ? 1 : 2);
  }
  return tokens;
}

struct FilledCache {
  FilledCache(const Shape& shape, size_t blocks) {
    const size_t most = std::max<size_t>(1, (blocks - std::min(blocks, shape.shared)) / shape.alone);
    const auto room = static_cast<uint32_t>(blocks + 2 * (shape.shared + shape.alone));
    cache = std::make_unique<PrefixCache>(PrefixCache::Options{.block_tokens = kBlockTokens, .blocks = room},
                                          &copies);
    for (size_t i = 0; i < most && cache->cached_blocks() < blocks; ++i) {
      const std::vector<TokenId> tokens = Prompt(shape, i);
      Use(tokens);
      Use(tokens);
    }
  }

  void Use(const std::vector<TokenId>& tokens) {
    const auto count = static_cast<int>(tokens.size());
    BlockKeys keys(kRoot, kBlockTokens);
    Lease lease = cache->Open(&keys);
    PREFIXD_CHECK(cache->Acquire(lease, tokens, count).state == PrefixCache::AcquireState::kReady);
    PREFIXD_CHECK(cache->Reserve(lease, count));
    cache->EndStep(true);
    cache->Commit(lease, tokens);
  }

  NoCopies copies;
  std::unique_ptr<PrefixCache> cache;
};

// Calls `turn` until it returns true. Prints the longest one.
void AddTurns(Report* report, const std::string& name, const std::function<bool()>& turn) {
  std::vector<double> turns;
  double all = 0;
  for (bool done = false; !done; all += turns.back()) {
    const int64_t begun = SystemClock().ThreadNanos();
    done = turn();
    turns.push_back(1e-9 * static_cast<double>(SystemClock().ThreadNanos() - begun));
  }
  std::ranges::sort(turns);
  report->Add(name, turns.back() * 1e6, "us",
              {{"p50_us", turns[turns.size() / 2] * 1e6},
               {"turns", static_cast<double>(turns.size())},
               {"all_ms", all * 1e3}});
}

std::vector<PrefixRow> Look(PrefixCache& cache, Report* report, const std::string& name) {
  PrefixScan scan(100);
  AddTurns(report, name, [&] { return cache.Scan(&scan, kNodes); });
  return scan.Rows();
}

void Pin(PrefixCache& cache, const PrefixRow& row, bool pin, Report* report, const std::string& name) {
  PrefixCache::Pinning pinning{.node = row.node, .key = row.key, .pin = pin};
  AddTurns(report, name, [&] { return cache.Pin(&pinning, kNodes); });
  PREFIXD_CHECK(pinning.result && (pinning.result->blocks[0] > 0) == pin) << "nothing was pinned";
}

void Purge(PrefixCache& cache, const PrefixCache::PurgeScope& scope, Report* report,
           const std::string& name) {
  const size_t before = cache.nodes();
  PrefixCache::PurgedNames names;
  bool begun = false, seen = false;
  AddTurns(report, name, [&] {
    if (!std::exchange(begun, true)) {
      PREFIXD_CHECK(cache.BeginPurge(scope));
      return false;
    }
    if (!seen) {
      seen = cache.ContinuePurge(kNodes);
      if (seen) names = cache.TakePurgedNames();
      return false;
    }
    cache.EndPurge();
    return true;
  });
  PREFIXD_CHECK(cache.nodes() < before) << "nothing was purged";
}

void Measure(const Shape& shape, size_t blocks, Report* report) {
  using Kind = PrefixCache::PurgeScope::Kind;
  const std::string name = shape.name;
  const FilledCache filled(shape, blocks);
  PrefixCache& cache = *filled.cache;
  const std::vector<PrefixRow> rows =
      Look(cache, report, name + ": look at " + std::to_string(cache.nodes()) + " nodes");
  // The row that begins the most; among equal ones the one of greatest worth.
  const PrefixRow& first =
      shape.shared > 0 ? *std::ranges::min_element(rows, {}, &PrefixRow::tokens) : rows[0];
  Pin(cache, first, /*pin=*/true, report, name + ": pin");
  Pin(cache, first, /*pin=*/false, report, name + ": unpin");
  Purge(cache, {.kind = Kind::kPrefix, .node = first.node, .key = first.key}, report,
        name + ": purge a prefix");
  const FilledCache again(shape, blocks);
  Purge(*again.cache, {.kind = Kind::kAll}, report, name + ": purge all");
}

int Main(int argc, char** argv) {
  Arguments arguments("view_bench", "Measures the longest turn of the engine thread for operators.",
                      {{"--blocks", "N", "1000000", "cached blocks"},
                       {"--shape", "NAME", "all", "groups, wide, deep or all"},
                       {"--context", "N", "131072", "tokens of a deep prompt"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const auto blocks = static_cast<size_t>(arguments.IntegerOrExit("--blocks", 1000, 10'000'000));
  const auto context = static_cast<size_t>(arguments.IntegerOrExit("--context", 16, 16 * 1'000'000));
  Report report(arguments);
  report.ProbeMachine();
  const Shape shapes[] = {
      {"groups", 8, 128, 128}, {"wide", blocks, 1, 1}, {"deep", 1, 0, context / kBlockTokens}};
  const Result<std::string> wanted = arguments.OneOf("--shape", {"groups", "wide", "deep", "all"});
  if (!wanted.ok()) arguments.Fail(wanted.status());
  for (const Shape& shape : shapes) {
    if (*wanted == "all" || *wanted == shape.name) Measure(shape, blocks, &report);
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
