#include "tests/sim/simulation.h"
#include "tests/cache/random_use.h"

#include <utility>

#include "base/check.h"
#include "cache/eviction.h"
#include "tests/support/device_memory.h"

namespace prefixd::sim {
namespace {

using Tokens = std::vector<TokenId>;
constexpr BlockKey kFingerprint{11, 12};
constexpr int kMostAtRest = 100'000;  // turns until everything has ended

class Listener final : public RequestListener {
 public:
  void OnEvent(RequestEvent) override {}
};

}  // namespace

Simulation::Simulation(const Options& options)
    : options_(options),
      random_(options.seed),
      weak_keys_(random_.Chance(0.25) ? random_.Chance(0.5) ? 5 : 40 : 0),
      block_tokens_(1 << random_.Below(3)),
      blocks_(static_cast<uint32_t>(random_.Between(4, 20))),
      host_blocks_(static_cast<uint32_t>(random_.Chance(0.3) ? 0 : random_.Between(1, 12))),
      disk_tier_(host_blocks_ == 0 || random_.Chance(0.8)),
      faults_(options.seed + 1, options.random_faults ? 0.01 * static_cast<double>(random_.Below(5)) : 0,
              options.fail_at),
      drops_(std::make_shared<DropQueue>(1 + random_.Below(64))) {
  DropListener on_drop = [this](const BlockKey& key, DropReason reason) { drops_->Add(key, reason); };
  const uint64_t capacity = 400 * static_cast<uint64_t>(random_.Between(4, 60));
  if (options.real_disk) {
    const double error_rate = random_.Chance(0.5) ? 0 : 0.02;
    disk_ = std::make_unique<RealDisk>(options.seed, kFingerprint, error_rate, &clock_, std::move(on_drop));
  } else {
    disk_ = std::make_unique<ModelDisk>(capacity, &faults_, std::move(on_drop));
  }
  SetShares();
  Start();
}

Seen Simulation::Run() {
  for (int i = 0; i < options_.events; ++i) {
    current_event = static_cast<uint64_t>(i);
    NoteTenants();
    Event();
    Check();
  }
  Rest();
  Stop();
  seen_.operations = faults_.operations();
  return seen_;
}

KeyFunction Simulation::Key() const {
  if (weak_keys_ == 0) return ChildKey;
  return [values = weak_keys_](const BlockKey& parent, std::span<const TokenId> tokens) {
    return BlockKey{.low = ChildKey(parent, tokens).low % values};
  };
}

PrefixCache::Options Simulation::CacheOptions() {
  PrefixCache::Options options{.block_tokens = block_tokens_, .blocks = blocks_};
  options.host_blocks = host_blocks_;
  options.disk = disk_tier_;
  options.write_through = random_.Chance(0.5);
  options.max_transfers = static_cast<uint32_t>(random_.Between(1, 9));
  if (random_.Chance(0.3))
    options.spill_reserve = static_cast<uint32_t>(random_.Below(blocks_ - most_guaranteed_));
  options.key = Key();
  const auto policies = EvictionPolicyNames();
  options.eviction = policies[random_.Below(policies.size())];
  if (random_.Chance(0.2))
    options.load_policy = random_.Chance(0.5) ? LoadPolicy::kLoad : LoadPolicy::kRecompute;
  if (random_.Chance(0.5)) options.block_seconds.fill(0.01);
  return options;
}

void Simulation::Start() {
  loads_ = std::make_unique<JobQueue>(&random_, false);
  spills_ = std::make_unique<JobQueue>(&random_, true);
  copies_ = std::make_unique<JobQueue>(&random_, false);
  memory_ = std::make_unique<TokenMemory>(block_tokens_, blocks_);
  const size_t block_bytes = sizeof(TokenMemory::Mark) * static_cast<size_t>(block_tokens_);
  host_.assign(block_bytes * host_blocks_, std::byte{0xDD});
  TierTransfers::Options options;
  options.fingerprint = kFingerprint;
  options.block_bytes = block_bytes;
  options.codec = {random_.Chance(0.5) ? PayloadCodec::kRaw : PayloadCodec::kPlanesZstd, 4};
  testing_support::UseDeviceMemory([this](BlockId block) { return memory_->bytes(block); }, &options);
  options.host_block = [this, block_bytes](BlockId block) {
    return std::span(host_).subspan(block * block_bytes, block_bytes);
  };
  options.is_finite = [this](std::span<const std::byte>) { return IsFinite(); };
  options.clock = &clock_;
  options.drops = drops_;
  tiers_ = std::make_unique<TierTransfers>(
      options, disk_tier_ ? disk_.get() : nullptr,
      TierTransfers::Executors{.loads = loads_.get(), .spills = spills_.get(), .copies = copies_.get()});
  port_ = std::make_unique<testing_support::FaultyCopies>(
      tiers_.get(), [this](const Transfer& transfer) { return CopyFails(transfer); }, options);
  cache_ = std::make_unique<PrefixCache>(CacheOptions(), memory_.get(), port_.get());
  const int step_tokens = static_cast<int>(random_.Between(4, 24));
  scheduler_ = std::make_unique<Scheduler>(
      SchedulerLimits{.max_sequences = static_cast<int>(random_.Between(1, 4)), .step_tokens = step_tokens},
      cache_.get());
  had_ = {};
  TellShares();
  bad_copies_ = nonfinite_ = 0;
  bad_reads_before_ = disk_->bad_reads();
  damaged_before_ = disk_->damaged_reads();
}

// The process is gone, with its requests and all that it had in memory.
void Simulation::Stop() {
  plan_.clear();
  cancelled_.clear();
  ended_ += scheduler_->queued().size() + scheduler_->running().size();
  seen_.preemptions += scheduler_->preemptions();
  const PrefixCacheStats& stats = cache_->stats();
  for (const auto& decisions : stats.load_decisions) {
    for (size_t i = 0; i < kLoadDecisions; ++i) seen_.decisions[i] += decisions[i];
  }
  seen_.collisions += stats.key_collisions;
  for (size_t i = 0; i < kTransferResults; ++i) {
    seen_.loads[i] += stats.loads[i];
    seen_.spills[i] += stats.spills[i];
  }
  seen_.damaged_reads += disk_->damaged_reads() - damaged_before_;
  seen_.nonfinite += nonfinite_;
  seen_.refused_loads += port_->refused_loads();
  seen_.refused += loads_->refused + spills_->refused + copies_->refused;
  scheduler_.reset();
  RunAllJobs();
  cache_.reset();
  port_.reset();
  tiers_.reset();
}

bool Simulation::CopyFails(const Transfer& transfer) {
  const bool fails = faults_.Fails();
  if (fails && transfer.to == Tier::kDevice) ++bad_copies_;
  return fails;
}

bool Simulation::IsFinite() {
  if (!faults_.Chance()) return true;
  ++nonfinite_;
  return false;
}

void Simulation::Event() {
  if (!to_find_.empty() && random_.Chance(0.3) && !disk_->LearnOne()) FinishScan();
  const uint64_t dice = random_.Below(1000);
  loads_->full = faults_.Chance();
  spills_->full = faults_.Chance();
  copies_->full = faults_.Chance();
  if (dice < 120) return Submit();
  if (dice < 150) return Cancel();
  if (dice < 156) return disk_->EvictOne();
  if (dice < 180) return options_.random_faults ? disk_->Damage() : void();
  if (dice < 200) return (void)disk_->Sync();
  if (dice < 250) return clock_.Advance(random_.Between(0, 2'000'000'000));
  if (dice < 255) return cache_->SpillAll(random_.Below(2 * blocks_ + 1));
  if (dice < 262) return Crash();
  if (dice < 268) return Rest();
  if (dice < 270) return ChangeShares();
  if (dice < 550) return RunJob();
  if (!plan_.empty()) return Collect();
  Launch();
}

void Simulation::Submit() {
  if (scheduler_->queued().size() + scheduler_->running().size() >= 6) return;
  Tokens prompt;
  if (!past_.empty() && random_.Chance(0.85)) {
    prompt = past_[random_.Below(past_.size())];
    if (random_.Chance(0.5)) prompt.resize(random_.Below(prompt.size() + 1));
  }
  const size_t extra = random_.Below(static_cast<uint64_t>(3 * block_tokens_)) + 1;
  for (size_t i = 0; i < extra; ++i) prompt.push_back(static_cast<TokenId>(random_.Below(2)));
  const int answer = static_cast<int>(random_.Between(1, 4));
  const int room = block_tokens_ * static_cast<int>(blocks_ - most_guaranteed_ - 1);
  const auto longest = static_cast<size_t>(room - answer);
  if (room <= answer) return;
  if (prompt.size() > longest) prompt.resize(longest);
  if (past_.size() < 8) {
    past_.push_back(prompt);
  } else {
    past_[random_.Below(past_.size())] = prompt;
  }
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = answer;
  request.read_cache = random_.Chance(0.95);
  request.prefix_use = RandomUse(random_, static_cast<int>(request.prompt.size()));
  request.listener = std::make_shared<Listener>();
  const RequestId id = ++last_id_;
  // The requests of a tenant have one of two salts.
  const BlockKey root{.low = id / 5 % 2, .high = static_cast<uint64_t>(TenantOf(id))};
  BlockKeys keys(root, block_tokens_, Key());
  scheduler_->Enqueue(std::make_unique<Sequence>(id, std::move(request), std::move(keys)));
  ++accepted_;
}

// Guarantees leave room for a sequence of the longest prompt.
void Simulation::SetShares() {
  most_guaranteed_ = random_.Chance(0.5) ? static_cast<uint32_t>(random_.Below(blocks_ / 2 + 1)) : 0;
  ChangeShares();
}

void Simulation::ChangeShares() {
  std::array<uint64_t, kPoolTiers> left = {most_guaranteed_, host_blocks_};
  for (uint64_t i = 0; i < kTenants; ++i) {
    shares_[i] = {.tenant = i + 1};
    for (size_t at = 0; at < kPoolTiers; ++at) {
      BlockShare& share = shares_[i].shares[at];
      share.guaranteed = static_cast<uint32_t>(random_.Below(left[at] + 1));
      left[at] -= share.guaranteed;
      if (random_.Chance(0.3)) share.most = share.guaranteed + static_cast<uint32_t>(random_.Below(4));
    }
  }
  if (cache_ != nullptr) TellShares();
  had_ = {};
}

void Simulation::TellShares() {
  std::vector<PrefixCache::TenantBlocks> told(shares_.begin(), shares_.end());
  for (PrefixCache::TenantBlocks& tenant : told) {
    if (options_.forgets_guarantees) tenant.shares = {};
  }
  cache_->SetTenants(std::move(told));
}

void Simulation::Cancel() {
  std::vector<RequestId> ids;
  for (const auto* list : {&scheduler_->queued(), &scheduler_->running()})
    for (const auto& sequence : *list) ids.push_back(sequence->id);
  if (ids.empty()) return;
  cancelled_.insert(ids[random_.Below(ids.size())]);
}

void Simulation::End(RequestId id) {
  if (scheduler_->Remove(id) != nullptr) ++ended_;
}

void Simulation::Launch() {
  for (const RequestId id : std::exchange(cancelled_, {})) {
    End(id);
    ++seen_.cancelled;
  }
  cache_->Poll(clock_.NowSeconds());
  // Computing takes any time, and is sometimes not known.
  if (random_.Chance(0.1))
    budget_.AssumePromptUnit(random_.Chance(0.2) ? 0 : 1e-4 * static_cast<double>(1 << random_.Below(12)));
  if (!Busy()) return;
  plan_ = scheduler_->Plan(budget_, [](Sequence&) {});
  if (plan_.empty()) PREFIXD_CHECK(cache_->running_transfers() > 0) << "requests wait for nothing";
  for (const PlannedChunk& chunk : plan_)
    seen_.parts += chunk.sequence->until < static_cast<int>(chunk.sequence->tokens.size()) ? 1 : 0;
}

void Simulation::Collect() {
  ++seen_.steps;
  const bool ok = !faults_.Chance();
  cache_->EndStep(ok);
  for (const PlannedChunk& chunk : std::exchange(plan_, {})) {
    if (ok) {
      Compute(chunk);
    } else {
      End(chunk.sequence->id);
    }
  }
  if (!ok) ++seen_.failed_steps;
  for (const RequestId id : std::exchange(cancelled_, {})) {
    End(id);
    ++seen_.cancelled;
  }
}

void Simulation::Compute(const PlannedChunk& chunk) {
  Sequence& s = *chunk.sequence;
  CheckKv(s);
  memory_->Compute(s.lease, s.tokens, s.ready() + chunk.tokens, TenantOf(s.id));
  scheduler_->Commit(chunk);
  if (!chunk.completes) return;
  if (s.generated() == 0) AfterPrompt(s);
  if (cancelled_.contains(s.id)) return;
  s.Append(static_cast<TokenId>(random_.Below(2)));
  if (s.generated() < s.request.sampling.max_tokens) return;
  ++seen_.finished;
  End(s.id);
}

void Simulation::RunJob() {
  JobQueue* const queues[] = {loads_.get(), spills_.get(), copies_.get()};
  const size_t first = random_.Below(3);
  for (size_t i = 0; i < 3 && !queues[(first + i) % 3]->RunOne(); ++i) {
  }
}

void Simulation::RunAllJobs() {
  while (loads_->RunOne() || spills_->RunOne() || copies_->RunOne()) {
  }
}

void Simulation::Crash() {
  faults_.SetPower(false);
  disk_->PowerOff();
  Stop();
  to_find_ = disk_->promised();
  disk_->Crash();
  faults_.SetPower(true);
  ++seen_.crashes;
  Start();
  if (!random_.Chance(0.5)) return;
  while (disk_->LearnOne()) {
  }
  if (disk_tier_) {
    for (const BlockKey& key : disk_->promised())
      PREFIXD_CHECK(tiers_->OnDisk(key)) << "a durable record is not found";
  }
  FinishScan();
}

// Takes no new requests until all have ended and all transfers as well.
void Simulation::Rest() {
  loads_->full = spills_->full = copies_->full = false;
  int turns = 0;
  const auto turn = [&] {
    PREFIXD_CHECK(++turns < kMostAtRest)
        << "it does not come to rest: " << scheduler_->queued().size() << " queued, "
        << scheduler_->running().size() << " running, " << cache_->running_transfers() << " transfers, "
        << cache_->pending_disk_blocks() << " blocks wait for the disk";
    if (random_.Chance(0.7)) RunJob();
    clock_.Advance(1'000'000);
  };
  for (; Busy() || !plan_.empty(); turn()) {
    if (!plan_.empty()) {
      Collect();
    } else {
      Launch();
    }
    Check();
  }
  do {  // a Poll may start further transfers, and deletions run in jobs that are no transfer
    turn();
    RunAllJobs();
    cache_->Poll(clock_.NowSeconds());
  } while (cache_->running_transfers() > 0 || cache_->pending_disk_blocks() > 0);
  CheckAtRest();
  ++seen_.rests;
}

}  // namespace prefixd::sim
