#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <utility>

#include "base/check.h"
#include "engine/never_seen.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

// So many steps in a row may be for one tenant alone.
constexpr int kOwnSteps = 2;
// A tenant floods that has so many times as many sequences as another one.
constexpr double kFlood = 4;

bool Planned(const std::vector<PlannedChunk>& plan, const Sequence& sequence) {
  return std::any_of(plan.begin(), plan.end(),
                     [&](const PlannedChunk& chunk) { return chunk.sequence == &sequence; });
}

void InsertByAge(Scheduler::SequenceList* list, std::unique_ptr<Sequence> sequence) {
  auto at = list->end();
  while (at != list->begin() && (*std::prev(at))->id > sequence->id) --at;
  PREFIXD_CHECK(at == list->begin() || (*std::prev(at))->id < sequence->id)
      << sequence->id << " is there already";
  list->insert(at, std::move(sequence));
}

std::unique_ptr<Sequence> TakeFrom(Scheduler::SequenceList* list, RequestId id) {
  for (auto it = list->begin(); it != list->end(); ++it) {
    if ((*it)->id != id) continue;
    std::unique_ptr<Sequence> sequence = std::move(*it);
    list->erase(it);
    return sequence;
  }
  return nullptr;
}

// Adds the last `tokens` tokens that were acquired to `usage`, each under its source. The others were counted
// before a preemption.
void CountCached(const PrefixCache::Acquired& got, int tokens, PromptUsage* usage) {
  const std::pair<TokenSource, int> sources[] = {
      {TokenSource::kShared, got.shared_tokens},
      {TokenSource::kRemote, got.tier_tokens[static_cast<size_t>(Tier::kRemote)]},
      {TokenSource::kDisk, got.tier_tokens[static_cast<size_t>(Tier::kDisk)]},
      {TokenSource::kHost, got.tier_tokens[static_cast<size_t>(Tier::kHost)]},
      {TokenSource::kDevice, got.tier_tokens[static_cast<size_t>(Tier::kDevice)]}};
  for (const auto& [source, taken] : sources) {
    const int counted = std::min(tokens, taken);
    usage->tokens[static_cast<size_t>(source)] += counted;
    tokens -= counted;
  }
}

}  // namespace

Scheduler::Scheduler(SchedulerLimits limits, PrefixCache* cache, TenantGhost* ghost)
    : limits_(limits), cache_(cache), ghost_(ghost) {
  PREFIXD_CHECK(limits_.max_sequences > 0 && limits_.step_tokens >= limits_.max_sequences)
      << limits_.max_sequences << " sequences, " << limits_.step_tokens << " tokens";
  PREFIXD_CHECK(limits_.prompt_logit_rows > 0) << limits_.prompt_logit_rows;
  PREFIXD_CHECK(cache != nullptr);
}

Sequence* Scheduler::Find(RequestId id) const {
  for (const SequenceList* list : {&running_, &queued_})
    for (const auto& sequence : *list)
      if (sequence->id == id) return sequence.get();
  return nullptr;
}

void Scheduler::Enqueue(std::unique_ptr<Sequence> sequence) {
  PREFIXD_CHECK(!sequence->tokens.empty());
  PREFIXD_CHECK(sequence->phase == SequencePhase::kQueued && !sequence->lease.open()) << sequence->id;
  sequence->tenant = shares_.Join(sequence->request.share);
  InsertByAge(&queued_, std::move(sequence));
}

std::unique_ptr<Sequence> Scheduler::Remove(RequestId id) {
  std::unique_ptr<Sequence> sequence = TakeFrom(&running_, id);
  if (sequence != nullptr) --sequence->tenant->running;
  if (sequence == nullptr) sequence = TakeFrom(&queued_, id);
  if (sequence != nullptr) shares_.Leave(std::exchange(sequence->tenant, nullptr));
  if (sequence != nullptr && sequence->computing == 0)
    sequence->usage.kept = std::max(sequence->usage.kept, sequence->lease.Release());
  return sequence;
}

int Scheduler::BlocksFor(int64_t tokens) const {
  return static_cast<int>((tokens + cache_->block_tokens() - 1) / cache_->block_tokens());
}

std::vector<PlannedChunk> Scheduler::Plan(const StepBudget& budget,
                                          const std::function<void(Sequence&)>& on_admit) {
  // Running sequences acquire before new ones, so a dropped claim goes to the oldest sequence that needs the
  // block.
  for (auto& sequence : running_) {
    if (sequence->phase == SequencePhase::kAcquiring || sequence->computes_part()) Acquire(*sequence, budget);
  }
  Admit(budget, on_admit);
  some_wait_for_loads_ =
      std::ranges::any_of(running_, [](const auto& sequence) { return sequence->load_wait_begun >= 0; });
  std::vector<PlannedChunk> plan;
  ++plans_;
  const FairShares::Tenant* const only = TenantOfOwnStep();
  if (only != nullptr) PlanFor(only, budget, &plan);
  own_steps_ = plan.empty() ? 0 : own_steps_ + 1;
  if (plan.empty()) PlanFor(nullptr, budget, &plan);
  if (plan.empty()) PlanOldestAlone(budget, &plan);
  if (!plan.empty()) starved_since_ = -1;
  return plan;
}

// While a step is in flight, nothing changes but the block tables, which grow, and what the cache evicts for
// them: blocks that no lease has. So there is nothing to plan beside sequences that only decode.
std::vector<PlannedChunk> Scheduler::PlanAhead(const StepBudget& budget,
                                               const std::function<bool(const Sequence&)>& ends) {
  if (!queued_.empty()) {
    Sequence& next = **NextQueued();
    if (CanAdmit(next) || VictimFor(next) != nullptr) return {};
  }
  if (const double most = DecodeUnits(budget); std::isfinite(most)) {
    double units = 0;
    for (const auto& sequence : running_) units += budget.cost().Of(sequence->coming_ready(), 1);
    if (units > most) return {};
  }
  std::vector<PlannedChunk> plan;
  for (const auto& sequence : running_) {
    Sequence& s = *sequence;
    const bool is_last = s.coming_ready() >= s.prompt_tokens && ends(s);
    if (is_last && !queued_.empty()) return {};  // which may then take its place
    if (is_last) continue;
    if (s.constraint) return {};
    if (!s.will_decode() || s.Unscored(s.prompt_tokens) > 0) return {};
    if (!cache_->Reserve(s.lease, s.coming_ready() + 1)) return {};
    plan.push_back({&s, s.coming_ready(), 1, true});
  }
  return plan;
}

// Admits queued sequences, oldest first, while their needed blocks fit in addition to those that running
// sequences still need. A sequence is always admitted when none runs. This is an estimate. It keeps
// preemption rare, and keeps new sequences from taking the blocks that were freed for running ones.
bool Scheduler::CanAdmit(Sequence& next) const {
  if (static_cast<int>(running_.size()) >= limits_.max_sequences) return false;
  next.shared_blocks = next.reads_cache() ? cache_->CountSharedBlocks(next.keys, next.tokens) : 0;
  const int64_t room = static_cast<int64_t>(cache_->RoomFor(next.keys.root())) - OutstandingBlocks();
  return running_.empty() || NeededBlocks(next) <= room;
}

// The oldest sequence of the tenant whose turn it is. Requires a sequence that is queued.
Scheduler::SequenceList::iterator Scheduler::NextQueued() {
  if (shares_.alone()) return queued_.begin();
  return std::ranges::min_element(queued_, {}, [](const auto& s) { return s->tenant->counter; });
}

// The youngest sequence of the tenant with most of them that gives its place to `next`; or null. Only those
// give whose counters are higher, so that none takes back its place in the same step.
Sequence* Scheduler::VictimFor(const Sequence& next) const {
  if (shares_.alone()) return nullptr;
  Sequence* victim = nullptr;
  for (const auto& sequence : running_) {
    const bool ahead = sequence->tenant->counter > next.tenant->counter;
    if (ahead && (victim == nullptr || sequence->tenant->load() >= victim->tenant->load()))
      victim = sequence.get();
  }
  return victim != nullptr && victim->tenant->load(-1) >= next.tenant->load(+1) ? victim : nullptr;
}

void Scheduler::MoveToRunning(SequenceList::iterator queued) {
  ++(*queued)->tenant->running;
  InsertByAge(&running_, std::move(*queued));
  queued_.erase(queued);
}

void Scheduler::Admit(const StepBudget& budget, const std::function<void(Sequence&)>& on_admit) {
  while (!queued_.empty()) {
    const auto queued = NextQueued();
    Sequence& next = **queued;
    if (!CanAdmit(next)) {
      Sequence* const victim = VictimFor(next);
      if (victim == nullptr) break;
      Preempt(*victim);
      continue;
    }
    PrefixUse use = next.request.prefix_use;
    use.owner = Checksum(std::as_bytes(std::span(next.request.cache_namespace.tenant)));
    next.lease = cache_->Open(
        &next.keys, next.reads_cache() ? PrefixCache::Reads::kYes : PrefixCache::Reads::kNo, std::move(use));
    next.usage.asked_kept = next.request.prefix_use.asked_tokens();
    MoveToRunning(queued);
    next.phase = SequencePhase::kAcquiring;
    on_admit(next);
    Acquire(next, budget);
  }
}

// A sequence shares the budget of prompts with the others that compute one, in equal parts: until its own
// work is done, each of the others does as much, or all that it has.
class Scheduler::Computing final : public ComputeEstimate {
 public:
  Computing(const Scheduler& scheduler, const StepBudget& budget, const Sequence& sequence)
      : scheduler_(scheduler), budget_(budget), sequence_(sequence) {}

  double Seconds(int from, int to) const override {
    const double own = budget_.cost().Of(from, to - from);
    double units = own;
    for (const auto& other : scheduler_.running_) {
      if (other.get() == &sequence_ || other->phase != SequencePhase::kComputing || other->decoding())
        continue;
      units += std::min(own, budget_.cost().Of(other->ready(), other->computable()));
    }
    return units * budget_.prompt_unit_seconds();
  }
  double SecondsAlone(int from, int to) const override {
    return budget_.cost().Of(from, to - from) * budget_.prompt_unit_seconds();
  }
  double StepSeconds() const override { return budget_.prompt_step_seconds(); }

 private:
  const Scheduler& scheduler_;
  const StepBudget& budget_;
  const Sequence& sequence_;
};

void Scheduler::Acquire(Sequence& sequence, const StepBudget& budget) {
  const int before = sequence.ready();
  // A prompt that is scored takes no block and claims none: a sequence that waited for it would wait for its
  // logit rows. Every other sequence computes at least its last token, because the request needs the logits
  // of that token.
  const bool scored = sequence.Unscored(sequence.prompt_tokens) > 0;
  const auto wanted = std::span<const TokenId>(sequence.tokens).first(scored ? 0 : sequence.tokens.size());
  const int limit = std::max(0, static_cast<int>(wanted.size()) - 1);
  const Computing computing(*this, budget, sequence);
  const PrefixCache::Acquired got = cache_->Acquire(sequence.lease, wanted, limit, &computing);
  // Tokens below high_water have had their source recorded before a preemption.
  const int first_new = std::max(before, sequence.high_water);
  const int in_prompt = std::max(0, std::min(sequence.ready(), sequence.prompt_tokens) - first_new);
  CountCached(got, in_prompt, &sequence.usage);
  for (int i = 0; i < kLoadDecisions; ++i) sequence.usage.load_decisions[i] += got.decisions[i];
  sequence.high_water = std::max(sequence.high_water, sequence.ready());
  sequence.write_mark = std::max(sequence.write_mark, sequence.ready());
  CountWait(sequence, got);
  if (got.state != PrefixCache::AcquireState::kReady) {
    sequence.phase = SequencePhase::kAcquiring;
    return;
  }
  const bool part = static_cast<size_t>(got.until) < wanted.size();
  sequence.until = part ? got.until : static_cast<int>(sequence.tokens.size());
  sequence.phase = SequencePhase::kComputing;
  ExplainMisses(sequence);
}

// Notes why the tokens that can be computed now are computed.
void Scheduler::ExplainMisses(Sequence& sequence) {
  sequence.misses.clear();
  const int end = std::min(sequence.until, sequence.prompt_tokens);
  if (sequence.ready() >= end) return;
  // Tokens whose source was recorded before a preemption and that are computed again.
  int known = sequence.usage.total() - sequence.ready();
  const std::span<const TokenId> prompt(sequence.tokens.data(), static_cast<size_t>(end));
  std::vector<PrefixCache::MissRun> runs = cache_->ExplainMisses(sequence.lease, prompt);
  const auto another_model = [&](int block) {
    return (block + 1) * cache_->block_tokens() <= sequence.other_model;
  };
  if (sequence.other_model > 0)
    ExplainNeverSeen(sequence.ready(), cache_->block_tokens(), MissReason::kOtherModel, another_model, &runs);
  if (ghost_ != nullptr && !sequence.digests.empty()) {
    const uint64_t tenant = sequence.keys.root().high;
    ghost_->Explain(tenant, sequence.digests, sequence.ready(), cache_->block_tokens(), &runs);
    ghost_->Add(tenant, sequence.digests);
  }
  for (PrefixCache::MissRun run : runs) {
    const int skip = std::clamp(known, 0, run.tokens);
    known -= skip;
    run.tokens -= skip;
    if (run.tokens > 0) sequence.misses.push_back(run);
  }
  if (!sequence.first_miss && !sequence.misses.empty())
    sequence.first_miss = {cache_->PlaceOfMiss(sequence.lease, prompt), sequence.misses.front().reason};
}

void Scheduler::CountWait(Sequence& sequence, const PrefixCache::Acquired& got) {
  const double now = cache_->load_planner().now();
  if (sequence.load_wait_begun >= 0) {
    const auto from = static_cast<size_t>(sequence.loads_from);
    sequence.usage.load_wait_seconds[from] += now - sequence.load_wait_begun;
  }
  sequence.loads_from = got.loads_from;
  sequence.load_wait_begun = got.state == PrefixCache::AcquireState::kLoading ? now : -1;
}

// Returns how many blocks the sequence still needs from the pool for its tokens and the next one, plus one
// while it may copy a block.
int64_t Scheduler::NeededBlocks(const Sequence& sequence) const {
  const int64_t total = BlocksFor(static_cast<int64_t>(sequence.tokens.size()) + 1);
  const int64_t have =
      std::max(static_cast<int64_t>(sequence.lease.blocks().size()) + sequence.lease.arriving_blocks(),
               static_cast<int64_t>(sequence.shared_blocks));
  return std::max<int64_t>(0, total - have) + (sequence.phase == SequencePhase::kComputing ? 0 : 1);
}

int64_t Scheduler::OutstandingBlocks() const {
  int64_t blocks = 0;
  for (const auto& sequence : running_) blocks += NeededBlocks(*sequence);
  return blocks;
}

// Reserves blocks for the first `tokens` tokens of the sequence, preempting younger sequences that are not in
// the plan. In a step for one tenant alone, answers of others are not in the plan and are not preempted.
bool Scheduler::ReserveFor(Sequence& sequence, int tokens, const FairShares::Tenant* only,
                           const std::vector<PlannedChunk>& plan) {
  while (!cache_->Reserve(sequence.lease, tokens)) {
    Sequence* victim = nullptr;
    for (auto it = running_.rbegin(); it != running_.rend() && (*it)->id > sequence.id; ++it) {
      const bool spared = only != nullptr && (*it)->tenant != only && (*it)->decoding();
      if (spared || Planned(plan, **it)) continue;
      victim = it->get();
      break;
    }
    if (victim == nullptr) return false;
    Preempt(*victim);
  }
  return true;
}

double Scheduler::LargestLoad() const {
  double largest = 0;
  for (const auto& sequence : running_) largest = std::max(largest, sequence->tenant->load());
  return largest;
}

// Returns how many units the decodes of a step may have.
double Scheduler::DecodeUnits(const StepBudget& budget) const {
  const double most = budget.DecodeUnits();
  if (std::isinf(most)) return most;  // as with one tenant: nothing is to be looked at
  const double largest = LargestLoad();
  const bool floods = std::ranges::any_of(
      running_, [&](const auto& sequence) { return largest >= kFlood * sequence->tenant->load(); });
  const bool alone = std::ranges::all_of(
      running_, [&](const auto& sequence) { return sequence->tenant == running_.front()->tenant; });
  return floods || alone ? most : std::numeric_limits<double>::infinity();
}

// Which tenant the step is for, if it is for one alone: the one with the lowest counter of those that can
// compute, when it has a prompt to compute and another one floods.
const FairShares::Tenant* Scheduler::TenantOfOwnStep() const {
  if (shares_.alone() || own_steps_ >= kOwnSteps) return nullptr;
  const FairShares::Tenant* lowest = nullptr;
  for (const auto& sequence : running_) {
    if (sequence->can_compute() && (lowest == nullptr || sequence->tenant->counter < lowest->counter))
      lowest = sequence->tenant;
  }
  if (lowest == nullptr || LargestLoad() < kFlood * lowest->load()) return nullptr;
  const bool prompt = std::ranges::any_of(running_, [&](const auto& sequence) {
    return sequence->tenant == lowest && sequence->can_compute() && !sequence->decoding();
  });
  return prompt ? lowest : nullptr;
}

// `only`: of this tenant alone; null: of all.
void Scheduler::PlanFor(const FairShares::Tenant* only, const StepBudget& budget,
                        std::vector<PlannedChunk>* plan) {
  PlanDecodes(only, budget, plan);
  PlanPrefills(only, budget, plan);
}

void Scheduler::PlanDecodes(const FairShares::Tenant* only, const StepBudget& budget,
                            std::vector<PlannedChunk>* plan) {
  const auto units_of = [&](const Sequence& s) { return budget.cost().Of(s.ready(), 1); };
  std::vector<Sequence*> decodes;
  double all = 0;
  for (const auto& s : running_) {
    if (!s->decoding() || !s->can_compute() || (only != nullptr && s->tenant != only)) continue;
    decodes.push_back(s.get());
    all += units_of(*s);
  }
  const double most = DecodeUnits(budget);
  if (all > most) {
    // Half of the room is for those that have waited longest, the other half goes by tenant.
    std::ranges::stable_sort(decodes, {}, &Sequence::last_completed);
    double waited = 0;
    const auto rest = std::ranges::find_if(
        decodes, [&](const Sequence* s) { return (waited += units_of(*s)) > most / 2 && s != decodes[0]; });
    if (!shares_.alone()) {
      std::ranges::stable_sort(rest, decodes.end(), {}, [](const Sequence* s) { return s->tenant->counter; });
    }
  }
  double units = 0;
  for (Sequence* const s : decodes) {
    if (units > 0 && units + units_of(*s) > most) break;
    if (s->phase == SequencePhase::kQueued) continue;  // preempted for one before it
    if (!ReserveFor(*s, static_cast<int>(s->tokens.size()), only, *plan)) continue;
    plan->push_back({s, s->ready(), 1, true});
    units += units_of(*s);
  }
}

void Scheduler::Preempt(Sequence& sequence) {
  std::unique_ptr<Sequence> owned = TakeFrom(&running_, sequence.id);
  owned->lease.Release(/*is_over=*/false);
  --owned->tenant->running;
  CountWait(*owned, {});
  owned->phase = SequencePhase::kQueued;
  ++preemptions_;
  InsertByAge(&queued_, std::move(owned));
}

void Scheduler::CountWritten(Sequence& s, PrefixCache::Run run) {
  const int prompt_end = s.prompt_tokens / cache_->block_tokens() * cache_->block_tokens();
  const int first = std::max(run.begin, s.write_mark);
  const int prompt = std::max(0, std::min(run.end, prompt_end) - first);
  const int answer = std::max(0, run.end - std::max(first, prompt_end));
  s.usage.written += prompt;
  for (size_t i = 0; i < kLongLifetimes.size(); ++i) {
    const int end = std::min({run.end, prompt_end, s.request.prefix_use.TokensFor(kLongLifetimes[i])});
    s.usage.written_for[i] += std::max(0, end - first);
  }
  const int by_kind[] = {prompt, answer, run.end - run.begin - prompt - answer};
  for (int kind = 0; kind < kWriteKinds; ++kind)
    written_tokens_[kind] += static_cast<uint64_t>(by_kind[kind]);
}

void Scheduler::CommitAllButLast(PlannedChunk chunk) {
  chunk.completes = false;
  if (--chunk.tokens > 0) Commit(chunk);
}

void Scheduler::Commit(const PlannedChunk& chunk) {
  Sequence& s = *chunk.sequence;
  const int from = s.ready();
  const int to = from + chunk.tokens;
  PREFIXD_CHECK(chunk.tokens > 0 && chunk.begin == from && static_cast<size_t>(to) <= s.tokens.size())
      << chunk.tokens << " tokens from " << chunk.begin << ", and " << from << " of " << s.tokens.size()
      << " are ready";
  using enum PrefixCache::TableInUse;
  for (const PrefixCache::Run run :
       cache_->Commit(s.lease, {s.tokens.data(), static_cast<size_t>(to)}, s.computing > 0 ? kByStep : kNo))
    CountWritten(s, run);
  s.write_mark = std::max(s.write_mark, to / cache_->block_tokens() * cache_->block_tokens());
  if (chunk.completes) s.last_completed = plans_;
  if (s.tenant != nullptr) shares_.Charge(s.tenant, chunk.tokens);
  recomputed_tokens_ += static_cast<uint64_t>(std::max(0, std::min(to, s.high_water) - from));
  int news = std::max(0, std::min(to, s.prompt_tokens) - std::max(from, s.high_water));
  s.high_water = std::max(s.high_water, to);
  s.usage.kept = s.lease.kept_tokens();
  s.usage.tokens[static_cast<int>(TokenSource::kComputed)] += news;
  while (news > 0) {
    PREFIXD_CHECK(!s.misses.empty()) << news << " computed tokens without a reason";
    PrefixCache::MissRun& run = s.misses.front();
    const int taken = std::min(news, run.tokens);
    s.miss_tokens[static_cast<size_t>(run.reason)] += static_cast<uint64_t>(taken);
    run.tokens -= taken;
    news -= taken;
    if (run.tokens == 0) s.misses.erase(s.misses.begin());
  }
}

void Scheduler::CheckInvariants() const {
  PREFIXD_CHECK(static_cast<int>(running_.size()) <= limits_.max_sequences) << running_.size();
  const auto by_age = [](auto& a, auto& b) { return a->id < b->id; };
  PREFIXD_CHECK(std::is_sorted(queued_.begin(), queued_.end(), by_age));
  PREFIXD_CHECK(std::is_sorted(running_.begin(), running_.end(), by_age));
  std::map<const FairShares::Tenant*, std::pair<int, int>> counted;  // sequences, running
  for (const SequenceList* list : {&queued_, &running_}) {
    for (const auto& sequence : *list) {
      auto& [sequences, running] = counted[sequence->tenant];
      ++sequences;
      running += list == &running_ ? 1 : 0;
    }
  }
  for (const auto& [tenant, count] : counted)
    PREFIXD_CHECK(tenant->sequences == count.first && tenant->running == count.second) << tenant->running;
  for (const auto& sequence : queued_) {
    PREFIXD_CHECK(sequence->phase == SequencePhase::kQueued && !sequence->lease.open()) << sequence->id;
  }
  for (const auto& sequence : running_) {
    PREFIXD_CHECK(sequence->phase != SequencePhase::kQueued && sequence->lease.open()) << sequence->id;
    PREFIXD_CHECK(sequence->pending() > 0) << sequence->id;
    PREFIXD_CHECK(sequence->phase != SequencePhase::kComputing || sequence->ready() <= sequence->until)
        << sequence->id << " has computed " << sequence->ready() << " of " << sequence->until;
    PREFIXD_CHECK(sequence->high_water >= sequence->ready()) << sequence->id;
    PREFIXD_CHECK(sequence->usage.total() == std::min(sequence->high_water, sequence->prompt_tokens))
        << sequence->id;
  }
}

}  // namespace prefixd
