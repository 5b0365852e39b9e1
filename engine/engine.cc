#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "engine/answer.h"
#include "engine/cache_options.h"
#include "engine/engine_checks.h"
#include "engine/exclusive_use.h"
#include "engine/inbox.h"
#include "engine/kv_memory.h"
#include "engine/mask_maker.h"
#include "engine/scheduler.h"
#include "engine/step_budget.h"
#include "engine/steps_in_flight.h"

namespace prefixd {
namespace {
constexpr std::chrono::milliseconds kLoadTick{5};
}  // namespace

struct Engine::Impl {
  Impl(const EngineOptions& asked, ModelRunner* runs, const Clock* clock_in, std::unique_ptr<KvMemory> memory,
       const LowerTiers& lower_tiers)
      : options(asked),
        model(runs),
        clock(clock_in),
        inbox(asked.max_queue, asked.max_tokens_in_flight, asked.context),
        kv(std::move(memory)),
        port(lower_tiers ? lower_tiers(kv->pool(), [this] { WakeBetweenSteps(); }) : nullptr),
        cache(CacheOptions(asked, runs->shape()), kv.get(), port.get()),
        tenants(asked.fingerprint, runs->shape().Kv(asked.block_tokens, asked.kv_dtype).BlockBytes()),
        scheduler({.max_sequences = asked.max_sequences,
                   .step_tokens = asked.step_tokens,
                   .prompt_logit_rows = asked.prompt_logit_rows},
                  &cache, &ghost),
        what_if(WhatIfOptions(asked)),
        view([this] { inbox.Wake(); }, asked.residency, asked.hot),
        budget(RowCost(runs->shape()), asked.step_seconds),
        steps(runs, clock_in, [this] { inbox.Wake(); }),
        masks(asked.mask_executor, asked.mask_work, [this] { WakeBetweenSteps(); }) {
    budget.AssumePromptUnit(asked.prompt_token_seconds);
  }

  const EngineOptions options;
  ModelRunner* const model;
  const Clock* const clock;

  std::atomic<bool> stepping{false};
  Inbox inbox;
  std::atomic<RequestId> last_id{0};
  std::atomic<int> alive{0};  // submitted, not yet finished
  static constexpr uint64_t kNotAsked = UINT64_MAX;
  std::atomic<uint64_t> spill_all{kNotAsked};  // blocks
  std::atomic<uint64_t> turns{0};              // of the engine thread that did not wait for the backend
  std::atomic<bool> step_runs{false};          // `steps` is not empty

  // Engine thread only.
  const std::unique_ptr<KvMemory> kv;
  const std::unique_ptr<TransferPort> port;  // null: there is no lower tier
  PrefixCache cache;
  TenantCaches tenants;
  TenantGhost ghost;
  Scheduler scheduler;
  WhatIf what_if;
  EngineView view;
  StepBudget budget;
  StepsInFlight steps;
  MaskMaker masks;
  std::unordered_set<RequestId> cancelled;  // running; finished before the next step is planned
  uint64_t taken = 0;                       // sequences out of the inbox, in all
  bool all_wait = false;                    // every sequence that runs waits for a load or a mask
  bool again = false;                       // the next turn may find work, although nothing wakes it
  EngineStats live_stats;
  struct Event {
    std::shared_ptr<RequestListener> listener;
    RequestEvent event;
  };
  std::vector<Event> events;  // in order; delivered at the end of a turn

  struct Published {
    EngineStats stats;
    uint64_t taken = 0;
  };
  mutable Mutex stats_mutex;
  Published published GUARDED_BY(stats_mutex);

  void WakeBetweenSteps();
  void TakeInbox();
  void TakeMasks();
  void FinishCancelled();
  bool LaunchStep();
  bool LaunchAhead();
  void Launch(std::vector<PlannedChunk> plan, double begun);
  void PollTiers();
  void CollectStep();
  void FailStep(const StepBatch& batch, const Status& status);
  void AfterChunk(const PlannedChunk& chunk, std::vector<GeneratedToken> scored,
                  std::optional<GeneratedToken> drawn, double now);
  void Finish(RequestId id, RequestEvent event, FinishReason reason);
  void Emit(const Sequence& sequence, RequestEvent event);
  void Publish();
  void PublishAndDeliver();
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  Impl& e = *impl_;
  const ExclusiveUse use(&e.stepping);
  Drain();  // so that no listener submits a request that would never finish
  while (!e.steps.empty()) {
    e.cache.EndStep(e.steps.Collect().status.ok());
    e.steps.Forget();
  }
  e.TakeInbox();
  std::vector<RequestId> left;
  for (const auto& sequence : e.scheduler.running()) left.push_back(sequence->id);
  for (const auto& sequence : e.scheduler.queued()) left.push_back(sequence->id);
  for (const RequestId id : left) e.Finish(id, {}, FinishReason::kCancelled);
  e.PublishAndDeliver();
}

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, ModelRunner* model,
                                               Backend* backend, const Clock* clock,
                                               const LowerTiers& lower_tiers) {
  PREFIXD_CHECK(model != nullptr && backend != nullptr && clock != nullptr);
  PREFIXD_RETURN_IF_ERROR(CheckOptions(options));
  PREFIXD_RETURN_IF_ERROR(CheckModelLimits(options, model->limits()));
  if (!lower_tiers && (options.host_blocks > 0 || options.disk || options.remote))
    return InvalidArgument("a lower tier needs the code that moves KV to it");
  const KvLayout layout = model->shape().Kv(options.block_tokens, options.kv_dtype);
  PREFIXD_ASSIGN_OR_RETURN(auto kv, KvMemory::Create(backend, layout, options.blocks));
  auto impl = std::make_unique<Impl>(options, model, clock, std::move(kv), lower_tiers);
  impl->live_stats.block_bytes = layout.BlockBytes();
  impl->Publish();
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

const EngineOptions& Engine::options() const { return impl_->options; }

Result<RequestId> Engine::Submit(Request request) {
  PREFIXD_CHECK(request.listener != nullptr);
  Impl& e = *impl_;
  PREFIXD_RETURN_IF_ERROR(CheckRequest(e.options, e.model->shape().vocab, request));
  // Sorted and unique, because every generated token is searched in it.
  std::vector<TokenId>& stops = request.sampling.stop_token_ids;
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
  const RequestId id = ++e.last_id;
  const auto& [tenant, salt] = request.cache_namespace;
  BlockKeys keys(RootKey(e.options.fingerprint, tenant, salt), e.options.block_tokens);
  auto sequence = std::make_unique<Sequence>(id, std::move(request), std::move(keys));  // O(prompt)
  sequence->LookElsewhere(e.options.fingerprint, e.options.block_tokens, e.options.other_models);
  if (!sequence->has_allowed()) return sequence->WhyNoneAllowed();
  ++e.alive;  // before the engine thread can finish it
  const Status added = e.inbox.Add(std::move(sequence), *e.clock);
  if (added.ok()) return id;
  --e.alive;
  return added;
}

void Engine::Cancel(RequestId id) { impl_->inbox.Cancel(id); }

void Engine::Drain() { impl_->inbox.Drain(); }

void Engine::SpillAll(uint64_t most_blocks) {
  impl_->spill_all = most_blocks;
  impl_->inbox.Wake();
}

void Engine::SetTenants(std::vector<TenantCache> tenants) {
  impl_->tenants.Set(std::move(tenants));
  impl_->inbox.Wake();
}

bool Engine::idle() const { return impl_->alive.load() == 0; }

// A load that is late wakes nobody: whether to wait for it on has to be asked again.
void Engine::WaitForWork(std::chrono::nanoseconds timeout) {
  if (impl_->all_wait && (impl_->options.load_policy == LoadPolicy::kAuto || impl_->options.remote))
    timeout = std::min<std::chrono::nanoseconds>(timeout, kLoadTick);
  if (!std::exchange(impl_->again, false)) impl_->inbox.Wait(timeout);
}

uint64_t Engine::progress() const { return impl_->turns.load() + impl_->model->progress(); }

// What the inbox has accepted since the last turn waits as well.
EngineStats Engine::Stats() const {
  Impl::Published published;
  {
    MutexLock lock(impl_->stats_mutex);
    published = impl_->published;
  }
  published.stats.waiting += static_cast<int>(impl_->inbox.accepted() - published.taken);
  return published.stats;
}

EngineView& Engine::view() { return impl_->view; }

void Engine::CheckInvariants() const {
  impl_->scheduler.CheckInvariants();
  impl_->cache.CheckInvariants();
  const EngineStats& live_stats = impl_->live_stats;
  uint64_t misses = 0;
  for (const uint64_t tokens : live_stats.miss_tokens) misses += tokens;
  uint64_t written = 0;
  for (const uint64_t tokens : impl_->scheduler.written_tokens()) written += tokens;
  PREFIXD_CHECK(written == impl_->cache.stats().written_tokens) << written;
  PREFIXD_CHECK(misses == live_stats.prompt_tokens[static_cast<int>(TokenSource::kComputed)]) << misses;
  if (impl_->scheduler.running().empty() && impl_->steps.empty() && impl_->cache.running_transfers() == 0)
    PREFIXD_CHECK(impl_->cache.leased_blocks() == 0) << impl_->cache.leased_blocks();
}

bool Engine::Advance() {
  Impl& e = *impl_;
  const ExclusiveUse use(&e.stepping);
  e.TakeInbox();
  bool worked = false;
  if (!e.steps.empty() && e.steps.Done()) {
    e.CollectStep();
    worked = true;
  }
  if (e.steps.empty()) {
    ++e.turns;
    worked = e.LaunchStep() || worked;
  }
  if (worked) e.LaunchAhead();
  e.PublishAndDeliver();
  e.view.Turn(e.cache);
  e.again = worked && (e.steps.empty() || e.steps.Done());  // the ends of two steps wake once
  return worked;
}

bool Engine::Step() {
  Impl& e = *impl_;
  const ExclusiveUse use(&e.stepping);
  e.TakeInbox();
  const bool runs = !e.steps.empty() || e.LaunchStep();
  if (runs) e.CollectStep();
  ++e.turns;
  e.PublishAndDeliver();
  e.view.Turn(e.cache);
  return runs;
}

void Engine::Impl::Emit(const Sequence& s, RequestEvent event) {
  events.push_back({s.request.listener, std::move(event)});
}

// The statistics come first, so that whoever has an answer finds it in the counters.
void Engine::Impl::PublishAndDeliver() {
  Publish();
  for (auto& [listener, event] : std::exchange(events, {})) {
    const bool finished = event.finish.has_value();
    listener->OnEvent(std::move(event));
    if (finished) --alive;
  }
}

// After a transfer, or when a mask was made; any thread. While a step runs, its end wakes the engine, which
// looks at both after that: a turn before could do nothing, and would take a processor from the step.
void Engine::Impl::WakeBetweenSteps() {
  if (!step_runs.load()) inbox.Wake();
}

void Engine::Impl::TakeInbox() {
  tenants.Tell(&cache);
  Inbox::Content content = inbox.Take();
  taken += content.submitted.size();
  for (auto& sequence : content.submitted) scheduler.Enqueue(std::move(sequence));
  for (const RequestId id : content.cancelled) {
    const Sequence* s = scheduler.Find(id);
    if (s != nullptr && s->phase != SequencePhase::kQueued) {
      cancelled.insert(id);
    } else {
      Finish(id, {}, FinishReason::kCancelled);
    }
  }
}

void Engine::Impl::FinishCancelled() {
  for (const RequestId id : std::exchange(cancelled, {})) Finish(id, {}, FinishReason::kCancelled);
}

// Plans and launches a step. Returns false when there is nothing to compute. No step is in flight.
bool Engine::Impl::LaunchStep() {
  FinishCancelled();
  TakeMasks();
  PollTiers();
  if (const uint64_t most_blocks = spill_all.exchange(kNotAsked); most_blocks != kNotAsked) {
    cache.SpillAll(most_blocks);
    live_stats.spills_all = true;
  }
  all_wait = false;
  if (scheduler.queued().empty() && scheduler.running().empty()) return false;
  const double now = clock->NowSeconds();
  const auto on_admit = [&](Sequence& sequence) {
    if (sequence.was_scheduled) return;  // readmitted after a preemption
    sequence.was_scheduled = true;
    sequence.times.scheduled = now;
    live_stats.queue_time.Add(now - sequence.times.submitted);
    inbox.LeftQueue(sequence);
  };
  budget.SetShared(scheduler.shared(now));
  std::vector<PlannedChunk> plan = scheduler.Plan(budget, on_admit);
  if (port != nullptr) live_stats.tier_seconds += clock->NowSeconds() - now;
  if (plan.empty()) {
    PREFIXD_CHECK(cache.waits_for_tiers() || masks.pending() > 0) << "requests wait for nothing";
    all_wait = true;
    return false;
  }
  Launch(std::move(plan), now);
  return true;
}

// Launches the step after the one in flight, if all of it is known by now but the tokens that the one in
// flight draws. Otherwise the next step waits for the end of that one.
bool Engine::Impl::LaunchAhead() {
  if (steps.empty() || !steps.MayLaunch() || !cancelled.empty() || spill_all.load() != kNotAsked)
    return false;
  const double begun = clock->NowSeconds();
  PollTiers();
  std::vector<PlannedChunk> plan = scheduler.PlanAhead(budget, [this](const Sequence& sequence) {
    return sequence.coming_generated() >= sequence.request.sampling.max_tokens ||
           sequence.coming_tokens() >= options.context;
  });
  if (plan.empty()) return false;
  ++live_stats.steps_ahead;
  Launch(std::move(plan), begun);
  return true;
}

void Engine::Impl::Launch(std::vector<PlannedChunk> plan, double begun) {
  StepWork work;
  for (const PlannedChunk& chunk : plan)
    (chunk.decodes() ? work.decodes : work.prompts) += budget.cost().Of(chunk.begin, chunk.tokens);
  step_runs = true;
  steps.Launch(std::move(plan), work, begun, options.eos, &kv->pool());
}

void Engine::Impl::PollTiers() {
  const double begun = clock->NowSeconds();
  if (port != nullptr && kv->lost()) cache.LoseDevice();
  cache.Poll(begun, scheduler.queued().empty() && scheduler.running().empty());
  if (port != nullptr) live_stats.tier_seconds += clock->NowSeconds() - begun;
}

// Waits for the oldest step in flight and processes its results.
void Engine::Impl::CollectStep() {
  const StepsInFlight::Collected step = steps.Collect();
  cache.EndStep(step.status.ok());
  masks.BeginStep();
  live_stats.attention += model->attention_reads();
  const double now = clock->NowSeconds();
  if (!step.status.ok() && !step.is_void) {
    FailStep(step.batch, step.status);
  } else if (!step.is_void) {
    live_stats.failed_steps_in_row = 0;
    live_stats.step_time.Add(step.seconds);
    budget.Observe(step.work, step.seconds);
    step.batch.ForEachResult([&](const PlannedChunk& chunk, std::vector<GeneratedToken> scored,
                                 std::optional<GeneratedToken> drawn) {
      AfterChunk(chunk, std::move(scored), std::move(drawn), now);
    });
  }
  steps.Forget();
  step_runs = !steps.empty();
  FinishCancelled();  // one whose token was dropped has nothing left to compute
}

void Engine::Impl::FailStep(const StepBatch& batch, const Status& status) {
  ++live_stats.failed_steps;
  ++live_stats.failed_steps_in_row;
  Log(LogLevel::kError, "a step failed; its requests end with an error",
      {{"error", status.ToString()},
       {"requests", batch.plan().size()},
       {"in_row", live_stats.failed_steps_in_row}});
  for (const PlannedChunk& chunk : batch.plan()) {
    if (cancelled.contains(chunk.sequence->id)) continue;  // it ends with kCancelled
    RequestEvent event;
    event.error = status.WithContext("model step");
    Finish(chunk.sequence->id, std::move(event), FinishReason::kError);
  }
}

// Processes a computed chunk. `scored` are tokens of its prompt; `drawn` is its token, if it completes the
// sequence and draws one.
void Engine::Impl::AfterChunk(const PlannedChunk& chunk, std::vector<GeneratedToken> scored,
                              std::optional<GeneratedToken> drawn, double now) {
  Sequence& s = *chunk.sequence;
  if (s.has_ended) {  // with the token that this one follows
    if (drawn) ++live_stats.dropped_tokens;
    return;
  }
  if (drawn && s.Refuses(drawn->token)) {
    ++live_stats.refused_tokens;
    masks.SetAllowed(s);
    scheduler.CommitAllButLast(chunk);
    if (!scored.empty()) Emit(s, {.prompt_logprobs = std::move(scored)});
    return;
  }
  scheduler.Commit(chunk);
  const bool first = s.generated() == 0;
  if (first && chunk.completes) {  // also of a cancelled request: it was computed
    CountPrompt(s, &live_stats);
    live_stats.prefill_seconds_saved +=
        budget.cost().Of(0, s.usage.from_tiers()) * budget.prompt_unit_seconds();
  }
  if (cancelled.contains(s.id)) {
    if (drawn) ++live_stats.dropped_tokens;
    return;
  }
  RequestEvent event;
  event.prompt_logprobs = std::move(scored);
  if (!chunk.completes) {
    if (!event.prompt_logprobs.empty()) Emit(s, std::move(event));
    return;
  }
  // kLength stays for a request with max_tokens 0: its prompt is computed.
  std::optional<FinishReason> ending = FinishReason::kLength;
  if (drawn) {
    AppendedTokens appended = AppendTokens(s, *std::move(drawn), {options.eos, options.context}, &masks);
    live_stats.generation_tokens += appended.tokens.size();
    live_stats.forced_tokens += static_cast<uint64_t>(appended.forced());
    ending = appended.ending;
    event.tokens = std::move(appended.tokens);
  }
  if (first) {
    event.misses = std::make_shared<const MissReport>(MissReport{s.miss_tokens, s.first_miss});
    s.times.first_token = now;
    live_stats.time_to_first_token.Add(now - s.times.submitted);
  } else {
    live_stats.inter_token.Add(now - s.last_token_time);
  }
  s.last_token_time = now;
  event.prompt = s.usage;
  event.times = s.times;
  if (!ending && !s.awaits_mask) ending = EndingOfFormat(s, &event);
  if (ending) {
    Finish(s.id, std::move(event), *ending);
  } else {
    Emit(s, std::move(event));
  }
}

// Sequences that waited for a mask go on.
void Engine::Impl::TakeMasks() {
  for (const Sequence* s : masks.Take([this](RequestId id) { return scheduler.Find(id); })) {
    RequestEvent event{.prompt = s->usage, .times = s->times};
    if (const auto ending = EndingOfFormat(*s, &event)) Finish(s->id, std::move(event), *ending);
  }
}

// Unless the request has finished: removes it, returns its blocks to the cache and reports the finish.
void Engine::Impl::Finish(RequestId id, RequestEvent event, FinishReason reason) {
  const double begun = clock->NowSeconds();
  std::unique_ptr<Sequence> s = scheduler.Remove(id);
  if (s == nullptr) return;
  if (port != nullptr) live_stats.tier_seconds += clock->NowSeconds() - begun;
  if (!s->was_scheduled) inbox.LeftQueue(*s);
  if (s->usage.total() == s->prompt_tokens) what_if.Add(s->keys, s->prompt_tokens);
  inbox.Finished(*s);
  s->times.finished = clock->NowSeconds();
  ++live_stats.finished[static_cast<size_t>(reason)];
  live_stats.end_to_end.Add(s->times.finished - s->times.submitted);
  event.finish = reason;
  event.prompt = s->usage;
  event.misses = std::make_shared<const MissReport>(MissReport{s->miss_tokens, s->first_miss});
  event.times = s->times;
  view.Add(*s, reason);
  Emit(*s, std::move(event));
  s->has_ended = true;
  if (s->computing > 0) steps.Keep(std::move(s));
}

void Engine::Impl::Publish() {
  live_stats.running = static_cast<int>(scheduler.running().size());
  live_stats.waiting = static_cast<int>(scheduler.queued().size());
  ReadCache(cache, tenants.told(), &live_stats);
  if (port != nullptr) live_stats.transfers = port->stats();
  const double unit = budget.prompt_unit_seconds();
  live_stats.prefill_tokens_per_second = unit > 0 ? 1 / unit : 0;
  live_stats.draw_cpu_seconds = model->draw_cpu_seconds();
  live_stats.preemptions = scheduler.preemptions();
  live_stats.late_masks = masks.late();
  live_stats.recomputed_tokens = scheduler.recomputed_tokens();
  live_stats.written_tokens = scheduler.written_tokens();
  live_stats.ghost_hit_tokens = what_if.hit_tokens();
  MutexLock lock(stats_mutex);
  published.stats = live_stats;
  published.taken = taken;
}

}  // namespace prefixd
