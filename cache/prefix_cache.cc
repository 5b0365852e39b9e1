#include "cache/prefix_cache.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

PrefixCache::PrefixCache(Options options, DeviceCopier* copier, TransferPort* port)
    : impl_(std::make_unique<Impl>(std::move(options), copier, port)) {}

PrefixCache::~PrefixCache() {
  PREFIXD_CHECK(impl_->leases.empty()) << impl_->leases.size() << " leases outlive the cache";
}

Lease PrefixCache::Open(BlockKeys* keys, Reads reads, PrefixUse use) {
  PREFIXD_CHECK(keys != nullptr);
  Lease lease;
  lease.state_ = std::make_unique<Lease::State>();
  Lease::State& state = *lease.state_;
  state.cache = impl_.get();
  state.keys = keys;
  state.root = impl_->tree.OpenRoot(keys->root()).root;
  state.detached = !impl_->options.reuse || impl_->IsPurging(keys->root());
  state.reads = reads == Reads::kYes;
  state.use = std::move(use);
  impl_->leases.insert(&state);
  return lease;
}

PrefixCache::Acquired PrefixCache::Acquire(Lease& lease, std::span<const TokenId> tokens, int limit,
                                           const ComputeEstimate* compute) {
  PREFIXD_CHECK(lease.open());
  return impl_->Acquire(*lease.state_, {tokens, limit, compute});
}

std::vector<PrefixCache::MissRun> PrefixCache::ExplainMisses(const Lease& lease,
                                                             std::span<const TokenId> tokens) {
  PREFIXD_CHECK(lease.open());
  return impl_->ExplainMisses(*lease.state_, tokens);
}

int PrefixCache::CountSharedBlocks(const BlockKeys& keys, std::span<const TokenId> tokens) const {
  return impl_->CountSharedBlocks(keys, tokens);
}

bool PrefixCache::Reserve(Lease& lease, int tokens) {
  PREFIXD_CHECK(lease.open());
  return impl_->Reserve(*lease.state_, tokens);
}

std::vector<PrefixCache::Run> PrefixCache::Commit(Lease& lease, std::span<const TokenId> tokens,
                                                  TableInUse in_use) {
  PREFIXD_CHECK(lease.open());
  return impl_->Commit(*lease.state_, tokens, in_use);
}

void PrefixCache::EndStep(bool ok) { impl_->EndStep(ok); }
void PrefixCache::Poll(double now, bool idle) { impl_->Poll(now, idle); }
const LoadPlanner& PrefixCache::load_planner() const { return impl_->planner; }
const SpillBudget& PrefixCache::spill_budget() const { return impl_->budget; }
uint64_t PrefixCache::pending_disk_blocks() const { return impl_->pending_disk_blocks; }
void PrefixCache::WithdrawTransfers() {
  if (impl_->port != nullptr) impl_->port->Withdraw();
}
void PrefixCache::SpillAll(uint64_t most_blocks) { impl_->SpillAll(most_blocks); }
void PrefixCache::LoseDevice() { impl_->device_lost = true; }
size_t PrefixCache::running_transfers() const { return impl_->running.size(); }
bool PrefixCache::waits_for_tiers() const {
  return running_transfers() > 0 ||
         std::ranges::any_of(impl_->leases, [this](const Lease::State* lease) { return lease->is_asking; });
}
uint32_t PrefixCache::capacity(Tier tier) const { return impl_->pool(tier).capacity(); }
uint32_t PrefixCache::free_blocks(Tier tier) const { return impl_->pool(tier).free_blocks(); }
uint32_t PrefixCache::cached_blocks(Tier tier) const { return impl_->pool(tier).cached_blocks(); }
uint32_t PrefixCache::leased_blocks(Tier tier) const { return impl_->pool(tier).leased_blocks(); }
uint32_t PrefixCache::kept_blocks(Tier tier) const {
  return static_cast<uint32_t>(impl_->tier(tier).retention.size());
}
uint32_t PrefixCache::most_kept_blocks(Tier tier) const {
  return static_cast<uint32_t>(impl_->tier(tier).retention.budget());
}
bool PrefixCache::BeginPurge(const PurgeScope& scope) { return impl_->BeginPurge(scope); }
bool PrefixCache::ContinuePurge(uint32_t most_nodes) { return impl_->ContinuePurge(most_nodes); }
PrefixCache::PurgedNames PrefixCache::TakePurgedNames() { return std::move(impl_->purge.value().names); }
PrefixCache::Purged PrefixCache::EndPurge() { return impl_->EndPurge(); }
bool PrefixCache::Pin(Pinning* pinning, uint32_t most_nodes) { return impl_->Pin(pinning, most_nodes); }
size_t PrefixCache::nodes() const { return impl_->tree.size(); }
size_t PrefixCache::memory_bytes() const {
  size_t bytes = impl_->tree.MemoryBytes() + impl_->ghosts.MemoryBytes() + impl_->times.MemoryBytes() +
                 impl_->losses.MemoryBytes();
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) bytes += impl_->pool(tier).MemoryBytes();
  return bytes;
}

// A node has a block in a pool tier, or it is a ghost, or it is being loaded from the disk, or it is the one
// that is being added: the ancestors of a node lose their KV after it, so they are forgotten after it.
size_t PrefixCache::MaxMemoryBytes(const Options& options) {
  const size_t in_memory = size_t{options.blocks} + options.host_blocks;
  const size_t ghosts = size_t{kGhostsPerBlock} * options.blocks;
  const size_t nodes = in_memory + ghosts + (options.disk || options.remote ? options.max_transfers : 0) + 1;
  return RadixTree::MaxMemoryBytes(options.block_tokens, in_memory, nodes) +
         GhostIndex::MaxMemoryBytes(ghosts) + UseTimes::MaxMemoryBytes() +
         LossLog::MaxMemoryBytes(MostLosses(options)) + BlockPool::MaxMemoryBytes(options.blocks) +
         BlockPool::MaxMemoryBytes(options.host_blocks) +
         Retention::MaxMemoryBytes(MostKept(options, options.blocks) +
                                   MostKept(options, options.host_blocks)) +
         (options.disk ? in_memory * kDiskKeptBytes : 0) + SessionHints::MaxMemoryBytes(MostHints(options)) +
         MaxEvictionBytes(options.blocks, nodes, options.host_blocks > 0 || options.disk) +
         MaxEvictionBytes(options.host_blocks, nodes, options.disk) +
         (options.tenants ? TenantEviction::MaxMemoryBytes(options.blocks, nodes) +
                                TenantEviction::MaxMemoryBytes(options.host_blocks, nodes)
                          : 0);
}

int PrefixCache::block_tokens() const { return impl_->block_tokens; }
const PrefixCacheStats& PrefixCache::stats() const { return impl_->stats; }
void PrefixCache::CheckInvariants() const { impl_->CheckInvariants(); }

Lease::Lease() = default;
Lease::Lease(Lease&&) noexcept = default;

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    Release();
    state_ = std::move(other.state_);
  }
  return *this;
}

Lease::~Lease() { Release(); }

bool Lease::open() const { return state_ != nullptr; }

std::span<const BlockId> Lease::blocks() const {
  if (!open()) return {};
  return state_->blocks;
}

int Lease::kept_tokens() const { return open() ? state_->kept_tokens : 0; }
int Lease::ready() const { return open() ? state_->ready : 0; }
int Lease::arriving_blocks() const {
  return open() ? static_cast<int>(state_->loading.size() - state_->to_start) : 0;
}

int Lease::Release(bool is_over) {
  if (!open()) return 0;
  state_->cache->Release(*state_, is_over);
  const int kept = state_->kept_tokens;
  state_.reset();
  return kept;
}

}  // namespace prefixd
