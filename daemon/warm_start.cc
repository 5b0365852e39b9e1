#include "daemon/warm_start.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <list>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "storage/hot_list.h"

namespace prefixd {
namespace {

constexpr size_t kHeadsAtOnce = 256;
constexpr size_t kChainsAtOnce = 8;  // short ones would wait for one round trip after the other
constexpr std::chrono::milliseconds kTick{5};

// Nothing is computed before there are requests: loads are waited for.
class NeverComputed final : public ComputeEstimate {
 public:
  double Seconds(int from, int to) const override { return 1e6 * (to - from); }
  double StepSeconds() const override { return 1e6; }
  bool OnlyLoads() const override { return true; }
};

// Chains that are being loaded, as jobs of the engine thread see them.
class ChainLoads {
 public:
  ChainLoads(WarmPlan* plan, int block_tokens)
      : plan_(*plan), block_tokens_(block_tokens), loaded_(plan->blocks()) {}

  // Takes the next turn. Returns whether all chains are done. When it is late, begins no more, and gives up
  // those that are under way.
  bool Turn(PrefixCache& cache, bool is_late) {
    if (is_late) active_.clear();
    while (!is_late) {
      while (active_.size() < kChainsAtOnce && Begin(cache)) {
      }
      const size_t began = active_.size();
      for (auto chain = active_.begin(); chain != active_.end();)
        chain = IsLoading(cache, *chain) ? std::next(chain) : active_.erase(chain);
      if (active_.size() == began) break;
    }
    return active_.empty();
  }

  uint64_t loaded() const { return static_cast<uint64_t>(std::ranges::count(loaded_, true)); }

 private:
  struct Chain {
    WarmPlan::Chain chain;
    BlockKeys keys;
    Lease lease;  // destroyed first
  };

  bool Begin(PrefixCache& cache) {
    std::optional<WarmPlan::Chain> next = plan_.Next();
    if (!next) return false;
    BlockKeys keys(next->root, block_tokens_);
    Chain& chain = active_.emplace_back(Chain{std::move(*next), std::move(keys), {}});
    chain.lease = cache.Open(&chain.keys);
    return true;
  }

  // What is ready when the lease has nothing to wait for, it has loaded; nobody computes the rest.
  bool IsLoading(PrefixCache& cache, Chain& chain) {
    const std::vector<TokenId>& tokens = chain.chain.tokens;
    const NeverComputed estimate;
    const auto got = cache.Acquire(chain.lease, tokens, static_cast<int>(tokens.size()), &estimate);
    const auto ready = static_cast<size_t>(chain.lease.ready() / block_tokens_);
    for (size_t i = 0; i < ready; ++i) loaded_[chain.chain.blocks[i]] = true;
    return got.state == PrefixCache::AcquireState::kLoading;
  }

  WarmPlan& plan_;
  const int block_tokens_;
  std::vector<bool> loaded_;  // by number of the plan
  std::list<Chain> active_;   // a lease refers to the keys beside it
};

}  // namespace

std::string WarmStartStats::Check() const {
  if (phase == Phase::kOff) return "off";
  if (phase == Phase::kWaiting) return "waiting for the model";
  const std::string counts = std::to_string(loaded()) + " of " + std::to_string(tried) + " blocks";
  if (phase == Phase::kRuns) return "loading: " + counts;
  return "ok: " + counts + (trouble.empty() ? "" : "; " + trouble);
}

WarmStart::WarmStart(const Clock* clock, bool on) : clock_(*clock) {
  if (on) stats_.phase = Phase::kWaiting;
}

WarmStartStats WarmStart::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

void WarmStart::SetTrouble(std::string why) {
  MutexLock lock(mutex_);
  if (stats_.trouble.empty()) stats_.trouble = std::move(why);
}

void WarmStart::Count(WarmBlock result, uint64_t blocks) {
  MutexLock lock(mutex_);
  stats_.blocks[static_cast<size_t>(result)] += blocks;
}

size_t WarmStart::ReadHeads(const Options& options, RemoteTier* store, WarmPlan* plan) {
  const Result<std::string> bytes = store->GetHotList(HotList::kMostBytes);
  uint64_t written = 0;
  Result<HotList> list = bytes.ok() ? HotList::Decode(*bytes, options.plan.fingerprint, &written)
                                    : Result<HotList>(bytes.status());
  if (!list.ok()) {
    SetTrouble(list.status().message());
    return 0;
  }
  const size_t most = std::min<uint64_t>(options.bytes / options.record_bytes, options.most_blocks);
  std::vector<BlockKey> blocks;
  for (const HotBlock& block : list->blocks()) {
    // Others may have longer contexts.
    if (blocks.size() < most && block.depth < options.plan.most_depth) blocks.push_back(block.key);
  }
  {
    MutexLock lock(mutex_);
    stats_.tried = blocks.size();
  }
  size_t seen = 0;
  while (seen < blocks.size() && !IsLate()) {
    const auto keys = std::span(blocks).subspan(seen, std::min(blocks.size() - seen, kHeadsAtOnce));
    const auto heads = store->GetHeads(keys, WarmPlan::HeadBytes(options.plan.block_tokens));
    if (!heads.ok()) {
      SetTrouble(heads.status().message());
      break;
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      const WarmPlan::Found found = plan->Add(keys[i], (*heads)[i]);
      if (found == WarmPlan::Found::kMissing) Count(WarmBlock::kMissing);
      if (found == WarmPlan::Found::kDamaged) Count(WarmBlock::kDamaged);
    }
    seen += keys.size();
  }
  return seen;
}

void WarmStart::Load(Engine* engine, WarmPlan* plan) {
  ChainLoads loads(plan, engine->options().block_tokens);
  bool done = plan->blocks() == 0;
  if (done) return;
  engine->view().Do([&](PrefixCache& cache) {
    done = loads.Turn(cache, IsLate());
    MutexLock lock(mutex_);
    stats_.blocks[static_cast<size_t>(WarmBlock::kLoaded)] = loads.loaded();
    return done ? EngineView::JobTurn::kDone : EngineView::JobTurn::kWaits;
  });
  while (!done) {
    engine->Advance();
    if (!done) engine->WaitForWork(kTick);
  }
}

void WarmStart::Run(const Options& options, Engine* engine, RemoteTier* store) {
  const double begun = clock_.NowSeconds();
  deadline_ = begun + options.seconds;
  {
    MutexLock lock(mutex_);
    stats_.phase = Phase::kRuns;
  }
  const auto read_bytes = [&] {
    const auto& bytes = engine->Stats().transfers.read_bytes;
    return bytes[static_cast<size_t>(Tier::kDisk)] + bytes[static_cast<size_t>(Tier::kRemote)];
  };
  const uint64_t read_before = read_bytes();
  WarmPlan plan(options.plan);
  const size_t seen = ReadHeads(options, store, &plan);
  Load(engine, &plan);
  const bool is_late = IsLate();
  if (is_late) SetTrouble("the time of warm-start-seconds was up");
  WarmStartStats done = stats();
  const uint64_t left = done.tried - seen + plan.blocks() - done.loaded();
  done.blocks[static_cast<size_t>(is_late ? WarmBlock::kLate : WarmBlock::kFailed)] += left;
  done.bytes = read_bytes() - read_before;
  done.seconds = clock_.NowSeconds() - begun;
  done.phase = Phase::kDone;
  Log(LogLevel::kInfo, "warm start",
      {{"blocks", done.loaded()},
       {"tried", done.tried},
       {"bytes", FormatSize(done.bytes)},
       {"seconds", done.seconds},
       {"trouble", done.trouble.empty() ? "none" : done.trouble}});
  MutexLock lock(mutex_);
  stats_ = std::move(done);
}

}  // namespace prefixd
