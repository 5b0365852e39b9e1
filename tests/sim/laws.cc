// The laws of the simulation.
#include <utility>

#include "base/check.h"
#include "tests/sim/simulation.h"

namespace prefixd::sim {

void Simulation::Check() {
  CheckTenants();
  cache_->CheckInvariants();
  scheduler_->CheckInvariants();
  for (const auto& sequence : scheduler_->running()) CheckKv(*sequence);
}

bool Simulation::IsBusy(uint64_t tenant) const {
  for (const auto* list : {&scheduler_->queued(), &scheduler_->running()})
    for (const auto& sequence : *list)
      if (static_cast<uint64_t>(TenantOf(sequence->id)) == tenant) return true;
  return false;
}

uint32_t Simulation::BlocksOf(uint64_t tenant, size_t at) const {
  return cache_->tenant_blocks(tenant - 1, static_cast<Tier>(at));
}

// Transfers that have lost a block of the host tier, maybe: loads that found it damaged, and spills for which
// a block of the same tenant gave way before they failed.
uint64_t Simulation::LostBlocks() const {
  uint64_t lost = 0;
  for (size_t i = 1; i < kTransferResults; ++i) lost += cache_->stats().loads[i] + cache_->stats().spills[i];
  return lost;
}

void Simulation::NoteTenants() {
  for (uint64_t i = 0; i < kTenants; ++i) {
    had_[i].idle = !IsBusy(i + 1);
    for (size_t at = 0; at < kPoolTiers; ++at) had_[i].blocks[at] = BlocksOf(i + 1, at);
  }
  evicted_before_ = cache_->stats().evicted_blocks;
  lost_before_ = LostBlocks();
}

void Simulation::CheckTenants() {
  if (LostBlocks() != lost_before_) return;
  for (uint64_t i = 0; i < kTenants; ++i) {
    if (!had_[i].idle || IsBusy(i + 1)) continue;
    for (size_t at = 0; at < kPoolTiers; ++at) {
      const BlockShare& share = shares_[i].shares[at];
      const uint32_t had = had_[i].blocks[at];
      const uint32_t has = BlocksOf(i + 1, at);
      // Blocks of its own give way to those that its own transfers fill.
      const size_t coming = cache_->running_transfers();
      PREFIXD_CHECK(has + coming >= std::min(had, share.guaranteed))
          << "tenant " << i + 1 << " had " << had << " blocks of tier " << at << ", has " << has
          << ", and is guaranteed " << share.guaranteed;
      if (had > 0 && had <= share.guaranteed && cache_->stats().evicted_blocks[at] > evicted_before_[at])
        ++seen_.guarded;
    }
  }
}

void Simulation::CheckKv(const Sequence& s) {
  if (!s.lease.open()) return;
  const auto marks = TokenMemory::Marks(s.tokens, TenantOf(s.id));
  // The copies of a step that has not ended are in order as well.
  for (int i = 0; i < s.ready(); ++i) {
    const BlockId block = s.lease.blocks()[static_cast<size_t>(i / block_tokens_)];
    PREFIXD_CHECK(memory_->content(block)[static_cast<size_t>(i % block_tokens_)] ==
                  marks[static_cast<size_t>(i)])
        << "wrong KV at token " << i << " of " << s.ready() << " of request " << s.id;
  }
}

void Simulation::AfterPrompt(const Sequence& s) {
  PREFIXD_CHECK(s.usage.total() == s.prompt_tokens) << s.usage.total() << " of " << s.prompt_tokens;
  uint64_t explained = 0;
  for (const uint64_t tokens : s.miss_tokens) explained += tokens;
  PREFIXD_CHECK(explained == static_cast<uint64_t>(s.usage.computed()))
      << explained << " of " << s.usage.computed();
  const auto count = [&](TokenSource source) {
    return static_cast<uint64_t>(s.usage.tokens[static_cast<size_t>(source)]);
  };
  seen_.host_tokens += count(TokenSource::kHost);
  seen_.disk_tokens += count(TokenSource::kDisk);
  seen_.shared_tokens += count(TokenSource::kShared);
  if (cache_->stats().spills[0] == 0) seen_.recovered_tokens += count(TokenSource::kDisk);
}

// What was durable is there, unless it was deleted or told dropped since.
void Simulation::FinishScan() {
  for (const BlockKey& key : std::exchange(to_find_, {})) {
    if (!disk_->promised().contains(key)) continue;
    PREFIXD_CHECK(disk_->Contains(key)) << "a durable record is lost";
    ++seen_.recovered_records;
  }
}

void Simulation::CheckAtRest() {
  PREFIXD_CHECK(accepted_ == ended_) << accepted_ << " accepted, " << ended_ << " ended";
  PREFIXD_CHECK(cache_->running_transfers() == 0 && cache_->pending_disk_blocks() == 0);
  for (const Tier tier : {Tier::kDevice, Tier::kHost}) {
    PREFIXD_CHECK(cache_->leased_blocks(tier) == 0);
    PREFIXD_CHECK(cache_->free_blocks(tier) + cache_->cached_blocks(tier) == cache_->capacity(tier));
  }
  for (uint64_t i = 0; i < kTenants && !options_.forgets_guarantees; ++i) {
    for (size_t at = 0; at < kPoolTiers; ++at)
      PREFIXD_CHECK(BlocksOf(i + 1, at) <= shares_[i].shares[at].most) << "tenant " << i + 1;
  }
  uint64_t bad_loads = 0, damaged = 0;
  for (size_t i = 1; i < kTransferResults; ++i) bad_loads += cache_->stats().loads[i];
  for (const auto failure : {VerifyFailure::kTokens, VerifyFailure::kChecksum, VerifyFailure::kFingerprint,
                             VerifyFailure::kShort, VerifyFailure::kDecompress})
    damaged += tiers_->stats().verify_failures[static_cast<size_t>(failure)];
  const uint64_t bad = bad_copies_ + disk_->bad_reads() - bad_reads_before_ + port_->refused_loads();
  const uint64_t damaged_reads = disk_->damaged_reads() - damaged_before_;
  // With weak keys a record may be whole and of another block.
  PREFIXD_CHECK(weak_keys_ != 0 ? bad_loads >= bad : bad_loads == bad)
      << bad_loads << " loads are counted as failed, " << bad << " failed";
  PREFIXD_CHECK(weak_keys_ != 0 ? damaged >= damaged_reads : damaged == damaged_reads)
      << damaged << " records are counted as damaged, " << damaged_reads << " were";
  // With weak keys two blocks may load the same record at once.
  PREFIXD_CHECK(weak_keys_ != 0 || disk_->repeated_reads() == 0) << "a record is read again that was no good";
  PREFIXD_CHECK(tiers_->stats().verify_failures[static_cast<size_t>(VerifyFailure::kNonfinite)] ==
                nonfinite_);
}

}  // namespace prefixd::sim
