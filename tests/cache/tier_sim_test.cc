// Random sequences on a cache with three tiers. The lower tiers are slow and fail: host copies fail, records
// are refused, lost, damaged or another block's, and the store loses records by itself. Transfers end late
// and in any order. Now and then the cache restarts and the store has to find its records again, one by one,
// while requests run. After every event the invariants hold, every lease has the KV of its own tokens and
// prefix, and every failure is counted.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/prng.h"
#include "cache/eviction.h"
#include "cache/prefix_cache_impl.h"
#include "storage/kept_records.h"
#include "storage/memory_store.h"
#include "tests/cache/heard_blocks.h"
#include "tests/cache/random_use.h"
#include "tests/cache/token_memory.h"
#include "tests/support/device_memory.h"
#include "tests/support/rounds.h"
#include "tests/support/slow_tiers.h"

namespace prefixd {
namespace {

using State = PrefixCache::AcquireState;
using Tokens = std::vector<TokenId>;
using testing_support::SlowTiers;

constexpr BlockKey kFingerprint{11, 12};

}  // namespace

struct PrefixCacheTestPeer {
  static auto& Inside(PrefixCache& cache) { return *cache.impl_; }
};

namespace {

// Keeps its jobs until the test picks one.
class PickExecutor final : public Executor {
 public:
  bool TrySubmit(Job job) override {
    if (refuses) return false;
    jobs_.push_back(std::move(job));
    return true;
  }
  size_t pending() const { return jobs_.size(); }
  void Run(size_t index) {
    const Job job = std::move(jobs_.at(index));
    jobs_.erase(jobs_.begin() + static_cast<ptrdiff_t>(index));
    job();
  }
  bool refuses = false;

 private:
  std::vector<Job> jobs_;
};

// A store whose reads and writes fail at random, and which after a restart knows its records only little by
// little. `bad_reads` counts the reads that do not return the record whole.
class FaultyStore final : public BlockStore {
 public:
  FaultyStore(uint64_t seed, uint64_t capacity) : random_(seed), records_(capacity) {}

  Result<std::string> Get(const BlockKey& key) override {
    Result<std::string> record = records_.Get(key);
    if (!record.ok() || unknown_.contains(key)) {
      ++bad_reads;
      return NotFound("unknown");
    }
    const uint64_t dice = faults ? random_.Below(40) : 99;
    if (dice < 5) ++bad_reads;
    if (dice == 0) return IoError("bad sector");
    if (dice == 1) (*record)[random_.Below(record->size())] ^= static_cast<char>(1 << random_.Below(8));
    if (dice == 2) record->resize(random_.Below(record->size()));
    if (dice == 3) return NotFound("lost");
    if (dice == 4) record->append("x");
    return record;
  }
  bool Contains(const BlockKey& key) const override {
    return !unknown_.contains(key) && records_.Contains(key);
  }
  Status PutBatch(std::vector<StoreEntry> batch) override {
    if (faults && random_.Chance(0.1)) return IoError("write failed");
    for (const StoreEntry& entry : batch) unknown_.erase(entry.key);
    return records_.PutBatch(std::move(batch));
  }
  // Its time passes with each call.
  bool Keep(const BlockKey& key, const RecordRetention& retention) override {
    kept_.EndExpired(++now_);
    return Contains(key) && kept_.Keep(key, retention, kRecordBytes, now_);
  }
  bool MayKeep(uint64_t owner, uint64_t) const override { return kept_.HasRoom(owner, kRecordBytes); }
  std::optional<RecordRetention> KeptUntil(const BlockKey& key) const override {
    const RecordRetention* kept = Contains(key) ? kept_.Find(key, now_) : nullptr;
    return kept == nullptr ? std::nullopt : std::optional(*kept);
  }
  Status Delete(const BlockKey& key) override { return records_.Delete(key); }
  Status Sync() override { return records_.Sync(); }
  Status Scan(const Visitor& visitor) override { return records_.Scan(visitor); }
  uint64_t bytes() const override { return records_.bytes(); }
  uint64_t capacity() const override { return records_.capacity(); }
  uint64_t max_record_bytes() const override { return records_.max_record_bytes(); }

  // Deletes a random record, as a store does that needs room.
  void LoseARecord() {
    const std::set<BlockKey> keys = Keys();
    if (keys.empty()) return;
    EXPECT_TRUE(Delete(*std::next(keys.begin(), static_cast<ptrdiff_t>(random_.Below(keys.size())))).ok());
  }
  // The process begins anew: the store has its records and knows of none.
  void Restart() { unknown_ = Keys(); }
  // It finds another of its records.
  void LearnARecord() {
    if (!unknown_.empty()) unknown_.erase(unknown_.begin());
  }

  size_t kept_records() const { return kept_.size(); }

  uint64_t bad_reads = 0;
  bool faults = true;

 private:
  std::set<BlockKey> Keys() {
    std::set<BlockKey> keys;
    EXPECT_TRUE(Scan([&](const BlockKey& key, std::string_view) { return keys.insert(key).second; }).ok());
    return keys;
  }

  static constexpr uint64_t kRecordBytes = 100;  // as they are counted for what is kept

  Prng random_;
  MemoryStore records_;
  KeptRecords kept_{6 * kRecordBytes};
  uint64_t now_ = 1;
  std::set<BlockKey> unknown_;  // some of them may be gone
};

// Counts of events over all seeds. A simulation in which an event never occurs does not test it.
struct Seen {
  uint64_t loading = 0, host_tokens = 0, disk_tokens = 0, shared = 0, copies = 0, restarts = 0, recovered = 0;
  uint64_t purges = 0, pins = 0;
  uint64_t lost_explained = 0, collisions = 0, dedups = 0, parts = 0, kept_records = 0;
  std::array<uint64_t, kPoolTiers> evicted{};
  std::array<uint64_t, kTransferResults> loads{}, spills{};
};

class TierSimulation {
 public:
  TierSimulation(uint64_t seed, KeyFunction key)
      : random_(seed),
        key_(std::move(key)),
        block_tokens_(1 << random_.Below(3)),
        blocks_(static_cast<uint32_t>(random_.Between(3, 14))),
        host_blocks_(static_cast<uint32_t>(random_.Chance(0.3) ? 0 : random_.Between(1, 12))),
        disk_(host_blocks_ == 0 || random_.Chance(0.7)),
        store_(seed, 400 * static_cast<uint64_t>(random_.Between(4, 60))) {
    Start();
  }

  void Run(int events, Seen* seen) {
    seen_ = seen;
    for (int i = 0; i < events && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(testing::Message() << "event " << i);
      Step();
      Check();
    }
    Stop();
  }

 private:
  struct Running {
    Tokens tokens;
    int limit;
    TokenId root;
    std::unique_ptr<BlockKeys> keys;
    Lease lease;
    State state = State::kWaiting;
    int until = 0;  // while it is ready: its tokens after it may come from a lower tier
  };

  // Computing takes any time, and is sometimes not known.
  struct AnyTime final : ComputeEstimate {
    explicit AnyTime(Prng* prng) : random(prng) {}
    double Seconds(int from, int to) const override { return seconds * (to - from); }
    double StepSeconds() const override { return seconds; }
    void Change() { seconds = random->Chance(0.2) ? 0 : 1e-4 * std::pow(10, random->Below(5)); }
    Prng* random;
    double seconds = 0;
  };

  void Start() {
    memory_ = std::make_unique<TokenMemory>(block_tokens_, blocks_);
    const size_t block_bytes = sizeof(TokenMemory::Mark) * static_cast<size_t>(block_tokens_);
    TierTransfers::Options transfers{
        .fingerprint = kFingerprint,
        .block_bytes = block_bytes,
        .codec = {random_.Chance(0.5) ? PayloadCodec::kRaw : PayloadCodec::kPlanesZstd, 4}};
    testing_support::UseDeviceMemory([this](BlockId block) { return memory_->bytes(block); }, &transfers);
    tiers_ = std::make_unique<SlowTiers>(transfers, host_blocks_, &store_, &executor_,
                                         [this](const Transfer& transfer) { return CopyFails(transfer); });
    PrefixCache::Options options{.block_tokens = block_tokens_, .blocks = blocks_};
    options.host_blocks = host_blocks_;
    options.disk = disk_;
    options.write_through = random_.Chance(0.5);
    options.max_transfers = static_cast<uint32_t>(random_.Between(1, 9));
    if (random_.Chance(0.3)) options.spill_reserve = static_cast<uint32_t>(random_.Below(blocks_));
    options.key = key_;
    heard_ = {};
    options.residency = &heard_;
    const auto policies = EvictionPolicyNames();
    options.eviction = policies[random_.Below(policies.size())];
    cache_ = std::make_unique<PrefixCache>(options, memory_.get(), tiers_.get());
    bad_loads_ = store_.bad_reads = 0;
    purging_ = false;
    pinning_.reset();
  }

  // Everything ends, and nothing is leased.
  void Stop() {
    while (!running_.empty()) Release(0);
    executor_.refuses = false;
    for (cache_->Poll(); cache_->running_transfers() > 0; EndTransfer()) {
      if (executor_.pending() == 0) cache_->Poll();  // one was refused
      ASSERT_TRUE(executor_.pending() > 0 || cache_->running_transfers() == 0)
          << "a transfer runs that nobody moves";
    }
    while (executor_.pending() > 0) executor_.Run(0);
    Check();
    for (const Tier tier : {Tier::kDevice, Tier::kHost}) EXPECT_EQ(cache_->leased_blocks(tier), 0u);
    const PrefixCacheStats& stats = cache_->stats();
    if (key_.target<BlockKey (*)(const BlockKey&, std::span<const TokenId>)>() != nullptr) {
      // With other keys, a record may be whole and of another block.
      EXPECT_EQ(stats.loads[1] + stats.loads[2] + stats.loads[3],
                bad_loads_ + store_.bad_reads + tiers_->refused_loads())
          << "each failure of a load is counted once";
    }
    seen_->kept_records += store_.kept_records();
    seen_->copies += stats.partial_copies;
    seen_->collisions += stats.key_collisions;
    seen_->dedups += stats.deduplicated_blocks;
    for (size_t i = 0; i < kPoolTiers; ++i) seen_->evicted[i] += stats.evicted_blocks[i];
    for (size_t i = 0; i < kTransferResults; ++i) {
      seen_->loads[i] += stats.loads[i];
      seen_->spills[i] += stats.spills[i];
    }
  }

  bool CopyFails(const Transfer& transfer) {
    const bool fails = random_.Chance(0.1);
    if (fails && transfer.to == Tier::kDevice) ++bad_loads_;
    return fails;
  }

  void Step() {
    if (random_.Chance(0.3)) store_.LearnARecord();
    const uint64_t dice = random_.Below(1000);
    if (dice < 5) return Restart();
    if (dice < 15) return store_.LoseARecord();
    if (purging_ ? dice < 60 : dice < 20) return Purge();
    if (dice < 63 && !running_.empty()) return Pin(running_[random_.Below(running_.size())]);
    executor_.refuses = random_.Chance(0.02);
    if (running_.empty() || (dice < 120 && running_.size() < 5)) return Open();
    const size_t who = random_.Below(running_.size());
    if (dice < 200) return Release(who);
    if (dice < 500) return EndTransfer();
    const Running& seq = running_[who];
    const bool has_part = seq.until < static_cast<int>(seq.tokens.size());
    const bool needs_next = seq.lease.ready() == seq.until && has_part;
    if (seq.state != State::kReady || needs_next || (has_part && random_.Chance(0.5)))
      return Acquire(running_[who]);
    Compute(running_[who]);
  }

  void Restart() {
    executor_.refuses = false;
    Stop();
    cache_.reset();
    tiers_.reset();
    store_.Restart();
    ++seen_->restarts;
    Start();
  }

  void Open() {
    Tokens tokens;
    if (!past_.empty() && random_.Chance(0.8)) {
      tokens = past_[random_.Below(past_.size())];
      tokens.resize(random_.Below(tokens.size() + 1));
    }
    const size_t extra = random_.Below(static_cast<uint64_t>(3 * block_tokens_)) + 1;
    for (size_t i = 0; i < extra; ++i) tokens.push_back(static_cast<TokenId>(random_.Below(2)));
    const size_t longest = static_cast<size_t>(block_tokens_) * (blocks_ - 1);
    if (tokens.size() > longest) tokens.resize(longest);
    if (past_.size() < 8) {
      past_.push_back(tokens);
    } else {
      past_[random_.Below(past_.size())] = tokens;
    }
    const TokenId root = random_.Chance(0.2) ? 1 : 0;
    const int size = static_cast<int>(tokens.size());
    Running& seq = running_.emplace_back();
    seq.tokens = std::move(tokens);
    seq.limit =
        random_.Chance(0.8) ? size - 1 : static_cast<int>(random_.Below(static_cast<uint64_t>(size) + 1));
    seq.root = root;
    seq.keys = std::make_unique<BlockKeys>(BlockKey{.low = static_cast<uint64_t>(root)}, block_tokens_, key_);
    seq.lease =
        cache_->Open(seq.keys.get(), random_.Chance(0.9) ? PrefixCache::Reads::kYes : PrefixCache::Reads::kNo,
                     RandomUse(random_, size));
  }

  void Acquire(Running& seq) {
    const int before = seq.lease.ready();
    if (random_.Chance(0.1)) compute_.Change();
    const PrefixCache::Acquired got = cache_->Acquire(seq.lease, seq.tokens, seq.limit, &compute_);
    seq.state = got.state;
    seq.until = got.until;
    EXPECT_EQ(got.tokens(), seq.lease.ready() - before);
    EXPECT_LE(seq.lease.ready(), seq.limit);
    if (got.state == State::kLoading) {
      ++seen_->loading;
      EXPECT_GT(cache_->running_transfers(), 0u) << "it waits for nothing";
    }
    seen_->host_tokens += static_cast<uint64_t>(got.tier_tokens[static_cast<size_t>(Tier::kHost)]);
    const auto disk_tokens = static_cast<uint64_t>(got.tier_tokens[static_cast<size_t>(Tier::kDisk)]);
    seen_->disk_tokens += disk_tokens;
    // Since the restart nothing was written.
    if (cache_->stats().spills[static_cast<size_t>(TransferResult::kOk)] == 0)
      seen_->recovered += disk_tokens;
    seen_->shared += static_cast<uint64_t>(got.shared_tokens);
    if (got.state != State::kReady) return;
    int explained = 0;
    const auto tokens = std::span(seq.tokens).first(static_cast<size_t>(got.until));
    for (const PrefixCache::MissRun& run : cache_->ExplainMisses(seq.lease, tokens)) {
      explained += run.tokens;
      seen_->lost_explained += run.reason == MissReason::kCorrupt ? 1 : 0;
    }
    EXPECT_EQ(explained, got.until - seq.lease.ready());
    if (got.until < static_cast<int>(seq.tokens.size())) {
      ++seen_->parts;
      EXPECT_GT(got.until, seq.lease.ready());
    }
  }

  void Compute(Running& seq) {
    if (seq.lease.ready() == static_cast<int>(seq.tokens.size())) {
      seq.tokens.push_back(static_cast<TokenId>(random_.Below(2)));
      ++seq.until;
    }
    const int until = static_cast<int>(random_.Between(seq.lease.ready() + 1, seq.until));
    if (!cache_->Reserve(seq.lease, until)) return;
    if (random_.Chance(0.1)) return cache_->EndStep(false);
    cache_->EndStep(true);
    memory_->Compute(seq.lease, seq.tokens, until, seq.root);
    cache_->Commit(seq.lease, std::span(seq.tokens).first(static_cast<size_t>(until)));
    EXPECT_EQ(seq.lease.ready(), until);
  }

  // Begins a purge of something, or goes on with the one that is under way.
  void Purge() {
    using Scope = PrefixCache::PurgeScope;
    if (!purging_) {
      Scope scope{.kind = static_cast<Scope::Kind>(random_.Below(3))};
      scope.node = static_cast<NodeId>(random_.Below(64));
      auto& tree = PrefixCacheTestPeer::Inside(*cache_).tree;
      if (tree.Contains(scope.node)) scope.key = tree.key(scope.node);
      purging_ = cache_->BeginPurge(scope);
      purges_all_ = scope.kind != Scope::Kind::kPrefix;
      return;
    }
    if (!cache_->ContinuePurge(static_cast<uint32_t>(random_.Between(1, 40)))) return;
    for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
      if (purges_all_) {
        EXPECT_EQ(cache_->cached_blocks(tier), 0u) << "both roots have the same high half";
      }
    }
    cache_->EndPurge();
    purging_ = false;
    ++seen_->purges;
  }

  // A part of a pin, and other events before the next one.
  void Pin(const Running& seq) {
    if (!pinning_) {
      auto& inside = PrefixCacheTestPeer::Inside(*cache_);
      const auto root = inside.tree.FindRoot(seq.keys->root());
      if (!root || seq.keys->size() == 0) return;
      const NodeId node = inside.tree.FindChild(*root, seq.keys->key(0));
      if (node == kNoNode) return;
      pinning_ = PrefixCache::Pinning{.node = node, .key = seq.keys->key(0), .pin = random_.Chance(0.5)};
      while (random_.Chance(0.8) && inside.tree.only_child(pinning_->node) != kNoNode) {
        pinning_->node = inside.tree.only_child(pinning_->node);
        pinning_->key = inside.tree.key(pinning_->node);
      }
    }
    if (!cache_->Pin(&*pinning_, 1)) return;
    if (pinning_->result) seen_->pins += pinning_->result->blocks[0];
    pinning_.reset();
  }

  void Release(size_t who) {
    running_[who].lease.Release();
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(who));
  }

  void EndTransfer() {
    if (executor_.pending() > 0) executor_.Run(random_.Below(executor_.pending()));
    now_ += 1e-3 * static_cast<double>(random_.Below(20));
    cache_->Poll(now_);
  }

  void Check() {
    cache_->CheckInvariants();
    for (const Running& seq : running_) memory_->ExpectHolds(seq.lease, seq.tokens, seq.root);
    for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
      EXPECT_EQ(cache_->free_blocks(tier) + cache_->cached_blocks(tier) + cache_->leased_blocks(tier),
                cache_->capacity(tier));
    }
    heard_.ExpectReported(*cache_);
  }

  Prng random_;
  AnyTime compute_{&random_};
  HeardBlocks heard_;
  double now_ = 1;
  const KeyFunction key_;
  const int block_tokens_;
  const uint32_t blocks_;
  const uint32_t host_blocks_;
  const bool disk_;
  FaultyStore store_;
  PickExecutor executor_;
  std::unique_ptr<TokenMemory> memory_;
  std::unique_ptr<SlowTiers> tiers_;
  std::unique_ptr<PrefixCache> cache_;
  std::vector<Running> running_;
  std::vector<Tokens> past_;
  uint64_t bad_loads_ = 0;
  bool purging_ = false, purges_all_ = false;
  std::optional<PrefixCache::Pinning> pinning_;
  Seen* seen_ = nullptr;
};

// The number of seeds: `standard`, fewer under a sanitizer, or PREFIXD_SIM_SEEDS for a campaign.
int Seeds(int standard) {
  constexpr int kEnough = 60;  // to see what is rare
  const char* asked = std::getenv("PREFIXD_SIM_SEEDS");
  return asked == nullptr ? std::max(testing_support::Rounds(standard), kEnough) : std::atoi(asked);
}

Seen RunSeeds(int seeds, int events, const KeyFunction& key) {
  Seen seen;
  for (int seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    TierSimulation(static_cast<uint64_t>(seed), key).Run(events, &seen);
  }
  EXPECT_GT(seen.loading, 0u);
  EXPECT_GT(seen.host_tokens, 0u);
  EXPECT_GT(seen.disk_tokens, 0u);
  EXPECT_GT(seen.shared, 0u);
  EXPECT_GT(seen.copies, 0u);
  EXPECT_GT(seen.restarts, 0u);
  EXPECT_GT(seen.recovered, 0u);
  EXPECT_GT(seen.lost_explained, 0u);
  EXPECT_GT(seen.dedups, 0u);
  EXPECT_GT(seen.kept_records, 0u);
  EXPECT_GT(seen.purges, 0u);
  EXPECT_GT(seen.pins, 0u);
  EXPECT_GT(seen.parts, 0u) << "a part is computed while the rest is loaded";
  for (const uint64_t count : seen.evicted) EXPECT_GT(count, 0u);
  for (const uint64_t count : seen.loads) EXPECT_GT(count, 0u);
  EXPECT_GT(seen.spills[static_cast<size_t>(TransferResult::kOk)], 0u);
  EXPECT_GT(seen.spills[static_cast<size_t>(TransferResult::kFailed)], 0u);
  return seen;
}

TEST(TierSimulation, SlowAndFaultyTiersNeverGiveWrongKv) {
  EXPECT_EQ(RunSeeds(Seeds(200), 400, ChildKey).collisions, 0u);
}

// Keys take only a few values, so records and nodes with different tokens or prefixes often have equal keys.
TEST(TierSimulation, CollidingKeysNeverGiveWrongKv) {
  for (const uint64_t values : {5, 40}) {
    SCOPED_TRACE(testing::Message() << values << " values");
    const auto few = [values](const BlockKey& parent, std::span<const TokenId> tokens) {
      return BlockKey{.low = ChildKey(parent, tokens).low % values};
    };
    EXPECT_GT(RunSeeds(Seeds(240), 400, few).collisions, 0u);
  }
}

}  // namespace
}  // namespace prefixd
