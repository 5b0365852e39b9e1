#include "cache/prefix_cache.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

std::string_view MissReasonName(MissReason reason) {
  static constexpr std::array<std::string_view, kMissReasons> kNames = {
      "never_seen",  "evicted_device", "evicted_host", "evicted_disk", "block_tail",        "other_tenant",
      "other_model", "expired",        "corrupt",      "load_slower",  "template_diverged", "disabled"};
  return kNames.at(static_cast<size_t>(reason));
}

PrefixCache::PrefixCache(Options options, BlockMover* mover)
    : impl_(std::make_unique<Impl>(std::move(options), mover)) {}

PrefixCache::~PrefixCache() {
  PREFIXD_CHECK(impl_->leases.empty()) << impl_->leases.size() << " leases outlive the cache";
}

Lease PrefixCache::Open(const BlockKey& root, Reads reads) {
  Lease lease;
  lease.state_ = std::make_unique<Lease::State>();
  Lease::State& state = *lease.state_;
  state.cache = impl_.get();
  state.at = impl_->tree.OpenRoot(root);
  state.tip = root;
  state.detached = !impl_->options.reuse;
  state.reads = reads == Reads::kYes;
  impl_->leases.insert(&state);
  return lease;
}

PrefixCache::Acquired PrefixCache::Acquire(Lease& lease, std::span<const TokenId> tokens, int limit) {
  PREFIXD_CHECK(lease.open());
  return impl_->Acquire(*lease.state_, tokens, limit);
}

std::vector<PrefixCache::MissRun> PrefixCache::ExplainMisses(const Lease& lease,
                                                             std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(lease.open());
  return impl_->ExplainMisses(*lease.state_, tokens);
}

int PrefixCache::CountSharedBlocks(const Lease& lease, std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(lease.open());
  return impl_->CountSharedBlocks(*lease.state_, tokens);
}

bool PrefixCache::Reserve(Lease& lease, int tokens) {
  PREFIXD_CHECK(lease.open());
  return impl_->Reserve(*lease.state_, tokens);
}

void PrefixCache::Commit(Lease& lease, std::span<const TokenId> tokens) {
  PREFIXD_CHECK(lease.open());
  impl_->Commit(*lease.state_, tokens);
}

void PrefixCache::Poll() { impl_->Poll(); }
uint32_t PrefixCache::capacity() const { return impl_->pool.capacity(); }
uint32_t PrefixCache::free_blocks() const { return impl_->pool.free_blocks(); }
uint32_t PrefixCache::cached_blocks() const { return impl_->pool.cached_blocks(); }
uint32_t PrefixCache::leased_blocks() const { return impl_->pool.leased_blocks(); }
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

int Lease::ready() const { return open() ? state_->ready : 0; }

void Lease::Release() {
  if (!open()) return;
  state_->cache->Release(*state_);
  state_.reset();
}

}  // namespace prefixd
