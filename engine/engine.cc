#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <unordered_set>

#include "base/check.h"
#include "base/mutex.h"
#include "engine/engine_checks.h"
#include "engine/kv_memory.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace prefixd {
namespace {

// Returns by how much the work of a block grows with each block before it: its share of attention, relative
// to the matrix products.
float CostPerDepth(const ModelConfig& model, int block_tokens) {
  const double query = model.QueryWidth();
  const double weights =
      model.hidden * (2 * query + 2.0 * model.KvWidth()) + 3.0 * model.hidden * model.intermediate;
  return static_cast<float>(4 * query * block_tokens / (2 * weights));
}

PrefixCache::Options CacheOptions(const EngineOptions& options, const ModelConfig& model) {
  PrefixCache::Options cache;
  cache.block_tokens = options.block_tokens;
  cache.blocks = options.blocks;
  cache.reuse = options.prefix_cache;
  cache.eviction = options.eviction;
  cache.cost_per_depth = CostPerDepth(model, options.block_tokens);
  cache.host_blocks = options.host_blocks;
  cache.disk = options.disk;
  cache.spill_reserve =
      static_cast<uint32_t>((options.context + options.block_tokens - 1) / options.block_tokens);
  return cache;
}

// Returns whether a token is drawn after the chunk.
bool Draws(const PlannedChunk& chunk) {
  return chunk.completes && chunk.sequence->request.sampling.max_tokens > 0;
}

// Held during Step and destruction. A second call meanwhile, from a listener or another thread, aborts.
class ExclusiveUse {
 public:
  explicit ExclusiveUse(std::atomic<bool>* in_use) : in_use_(in_use) {
    PREFIXD_CHECK(!in_use_->exchange(true)) << "the engine is inside Step already";
  }
  ~ExclusiveUse() { in_use_->store(false); }

 private:
  std::atomic<bool>* const in_use_;
};

bool Contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

void EngineHistogram::Add(double seconds) {
  size_t bucket = 0;
  while (bucket < kLatencyBuckets.size() && seconds > kLatencyBuckets[bucket]) ++bucket;
  ++counts[bucket];
  sum += seconds;
}

struct Engine::Impl {
  Impl(const EngineOptions& asked, Transformer* transformer, Backend* computes, const Clock* clock_in,
       std::unique_ptr<KvMemory> memory, const LowerTiers& lower_tiers)
      : options(asked),
        model(transformer),
        backend(computes),
        clock(clock_in),
        kv(std::move(memory)),
        port(lower_tiers ? lower_tiers(kv->pool(), [this] { Wake(); }) : nullptr),
        cache(CacheOptions(asked, transformer->config()), kv.get(), port.get()),
        scheduler({.max_sequences = asked.max_sequences,
                   .step_tokens = asked.step_tokens,
                   .prompt_logit_rows = asked.prompt_logit_rows},
                  &cache) {}

  const EngineOptions options;
  Transformer* const model;
  Backend* const backend;
  const Clock* const clock;

  std::atomic<bool> stepping{false};

  // The inbox. Any thread adds to it; the engine thread empties it. It holds at most max_queue requests, and
  // the cancellations since the last step.
  Mutex inbox_mutex;
  CondVar inbox_filled;
  std::vector<std::unique_ptr<Sequence>> submitted GUARDED_BY(inbox_mutex);
  std::unordered_set<RequestId> cancelled GUARDED_BY(inbox_mutex);
  bool draining GUARDED_BY(inbox_mutex) = false;
  bool transfer_ended GUARDED_BY(inbox_mutex) = false;  // since the last step
  std::atomic<RequestId> last_id{0};
  std::atomic<int> queued{0};  // submitted, not yet admitted
  std::atomic<int> alive{0};   // submitted, not yet finished

  // Engine thread only.
  const std::unique_ptr<KvMemory> kv;
  const std::unique_ptr<TransferPort> port;  // null: there is no lower tier
  PrefixCache cache;
  Scheduler scheduler;
  EngineStats live_stats;  // copied to published_stats after every step
  struct Event {
    std::shared_ptr<RequestListener> listener;
    RequestEvent event;
  };
  std::vector<Event> events;  // of this step, in order; delivered at its end
  std::vector<TokenId> step_tokens;
  std::vector<SequenceSpan> spans;
  std::vector<int> logit_rows;
  std::vector<SampleRow> samples;            // of the chunks of the plan that draw, in order
  std::vector<std::vector<TokenId>> banned;  // of `samples`

  mutable Mutex stats_mutex;
  EngineStats published_stats GUARDED_BY(stats_mutex);

  void Wake();
  void TakeInbox();
  void RunModel(const std::vector<PlannedChunk>& plan);
  const float* AfterChunk(const PlannedChunk& chunk, const float* logits, TokenId drawn, double now);
  std::vector<GeneratedToken> ScorePrompt(const PlannedChunk& chunk, const float* logits) const;
  void DrawTokens(const std::vector<PlannedChunk>& plan, const float* logits);
  std::vector<TokenId> Banned(const Sequence& sequence) const;
  std::optional<FinishReason> Ending(const Sequence& sequence, TokenId token) const;
  void Finish(RequestId id, RequestEvent event, FinishReason reason);
  void FailAll(const Status& error);
  void Emit(const Sequence& sequence, RequestEvent event);
  void Publish();
  void PublishAndDeliver();
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  const ExclusiveUse use(&impl_->stepping);
  Drain();  // so that no listener submits a request that would never finish
  impl_->TakeInbox();
  std::vector<RequestId> left;
  for (const auto& sequence : impl_->scheduler.running()) left.push_back(sequence->id);
  for (const auto& sequence : impl_->scheduler.queued()) left.push_back(sequence->id);
  for (const RequestId id : left) impl_->Finish(id, {}, FinishReason::kCancelled);
  impl_->PublishAndDeliver();
}

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, Transformer* model,
                                               Backend* backend, const Clock* clock,
                                               const LowerTiers& lower_tiers) {
  PREFIXD_CHECK(model != nullptr && backend != nullptr && clock != nullptr);
  PREFIXD_RETURN_IF_ERROR(CheckOptions(options));
  PREFIXD_RETURN_IF_ERROR(CheckModelLimits(options, model->limits()));
  if (!lower_tiers && (options.host_blocks > 0 || options.disk))
    return InvalidArgument("a host or disk tier needs the code that moves KV to it");
  const KvLayout layout = model->kv_layout(options.block_tokens, options.kv_dtype);
  PREFIXD_ASSIGN_OR_RETURN(auto kv, KvMemory::Create(backend, layout, options.blocks));
  auto impl = std::make_unique<Impl>(options, model, backend, clock, std::move(kv), lower_tiers);
  impl->live_stats.block_bytes = layout.BlockBytes();
  impl->Publish();
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

const EngineOptions& Engine::options() const { return impl_->options; }

Result<RequestId> Engine::Submit(Request request) {
  PREFIXD_CHECK(request.listener != nullptr);
  Impl& e = *impl_;
  PREFIXD_RETURN_IF_ERROR(CheckRequest(e.options, e.model->config().vocab, request));
  // Sorted and unique, because every generated token is searched in it.
  std::vector<TokenId>& stops = request.sampling.stop_token_ids;
  std::sort(stops.begin(), stops.end());
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
  const RequestId id = ++e.last_id;
  BlockKeys keys(RootKey(e.options.fingerprint, request.tenant_salt), e.options.block_tokens);
  // O(prompt), so outside the lock.
  auto sequence = std::make_unique<Sequence>(id, std::move(request), std::move(keys));
  {
    MutexLock lock(e.inbox_mutex);
    if (e.draining) return Unavailable("shutting down");
    if (e.queued.load() >= e.options.max_queue) {
      return ResourceExhausted("the queue of " + std::to_string(e.options.max_queue) + " requests is full");
    }
    sequence->times.submitted = e.clock->NowSeconds();
    e.submitted.push_back(std::move(sequence));
    ++e.queued;
    ++e.alive;
  }
  e.inbox_filled.NotifyOne();
  return id;
}

void Engine::Cancel(RequestId id) {
  {
    MutexLock lock(impl_->inbox_mutex);
    impl_->cancelled.insert(id);
  }
  impl_->inbox_filled.NotifyOne();
}

void Engine::Drain() {
  MutexLock lock(impl_->inbox_mutex);
  impl_->draining = true;
}

bool Engine::idle() const { return impl_->alive.load() == 0; }

void Engine::WaitForWork(std::chrono::nanoseconds timeout) {
  Impl& e = *impl_;
  MutexLock lock(e.inbox_mutex);
  if (e.submitted.empty() && e.cancelled.empty() && !e.transfer_ended)
    e.inbox_filled.WaitFor(e.inbox_mutex, timeout);
}

EngineStats Engine::Stats() const {
  MutexLock lock(impl_->stats_mutex);
  return impl_->published_stats;
}

void Engine::CheckInvariants() const {
  impl_->scheduler.CheckInvariants();
  impl_->cache.CheckInvariants();
  const EngineStats& live_stats = impl_->live_stats;
  uint64_t misses = 0;
  for (const uint64_t tokens : live_stats.miss_tokens) misses += tokens;
  PREFIXD_CHECK(misses == live_stats.prompt_tokens[static_cast<int>(TokenSource::kComputed)]) << misses;
  if (impl_->scheduler.running().empty() && impl_->cache.running_transfers() == 0)
    PREFIXD_CHECK(impl_->cache.leased_blocks() == 0) << impl_->cache.leased_blocks();
}

bool Engine::Step() {
  Impl& e = *impl_;
  const ExclusiveUse use(&e.stepping);
  e.TakeInbox();
  e.cache.Poll();
  if (e.scheduler.queued().empty() && e.scheduler.running().empty()) {
    e.PublishAndDeliver();
    return false;
  }
  const double begin = e.clock->NowSeconds();
  const auto on_admit = [&](Sequence& sequence) {
    if (sequence.was_scheduled) return;  // readmitted after a preemption
    sequence.was_scheduled = true;
    sequence.times.scheduled = begin;
    e.live_stats.queue_time.Add(begin - sequence.times.submitted);
    --e.queued;
  };
  const std::vector<PlannedChunk> plan = e.scheduler.Plan(on_admit);
  if (plan.empty()) {
    PREFIXD_CHECK(e.cache.running_transfers() > 0) << "requests wait for nothing";
  } else {
    e.RunModel(plan);
  }
  e.PublishAndDeliver();
  return !plan.empty();
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

// Any thread.
void Engine::Impl::Wake() {
  {
    MutexLock lock(inbox_mutex);
    transfer_ended = true;
  }
  inbox_filled.NotifyOne();
}

void Engine::Impl::TakeInbox() {
  std::vector<std::unique_ptr<Sequence>> arrived;
  std::unordered_set<RequestId> cancels;
  {
    MutexLock lock(inbox_mutex);
    arrived.swap(submitted);
    cancels.swap(cancelled);
    transfer_ended = false;
  }
  for (auto& sequence : arrived) scheduler.Enqueue(std::move(sequence));
  for (const RequestId id : cancels) Finish(id, {}, FinishReason::kCancelled);
}

void Engine::Impl::RunModel(const std::vector<PlannedChunk>& plan) {
  step_tokens.clear();
  spans.clear();
  logit_rows.clear();
  int prefill_rows = 0;
  for (const PlannedChunk& chunk : plan) {
    const Sequence& s = *chunk.sequence;
    const int first_row = static_cast<int>(step_tokens.size());
    const auto begin = s.tokens.begin() + s.ready();
    step_tokens.insert(step_tokens.end(), begin, begin + chunk.tokens);
    spans.push_back({first_row, chunk.tokens, s.ready(), s.lease.blocks()});
    for (int i = 0; i < chunk.prompt_logits(); ++i)
      logit_rows.push_back(first_row + s.high_water - s.ready() + i);
    if (Draws(chunk)) logit_rows.push_back(first_row + chunk.tokens - 1);
    if (!s.decoding()) prefill_rows += chunk.tokens;
  }
  const double begin = clock->NowSeconds();
  Result<const float*> logits = model->Forward({step_tokens, spans}, logit_rows, kv->pool());
  cache.EndStep(logits.ok());
  if (!logits.ok()) {
    FailAll(logits.status().WithContext("model step"));
    return;
  }
  const double now = clock->NowSeconds();
  live_stats.step_time.Add(now - begin);
  if (2 * prefill_rows > static_cast<int>(step_tokens.size()) && now > begin) {
    const double rate = static_cast<double>(step_tokens.size()) / (now - begin);
    double& estimate = live_stats.prefill_tokens_per_second;
    estimate = estimate == 0 ? rate : 0.8 * estimate + 0.2 * rate;
  }
  DrawTokens(plan, *logits);
  const float* row = *logits;
  size_t drawn = 0;
  for (const PlannedChunk& chunk : plan)
    row = AfterChunk(chunk, row, Draws(chunk) ? samples[drawn++].token : -1, now);
}

std::vector<GeneratedToken> Engine::Impl::ScorePrompt(const PlannedChunk& chunk, const float* logits) const {
  const Sequence& s = *chunk.sequence;
  const size_t vocab = static_cast<size_t>(model->config().vocab);
  std::vector<GeneratedToken> scored;
  for (int i = 0; i < chunk.prompt_logits(); ++i, logits += vocab) {
    const TokenId next = s.tokens[static_cast<size_t>(s.high_water + i + 1)];
    scored.push_back(WithLogprobs(next, s.request.sampling.prompt_logprobs, {logits, vocab}));
  }
  return scored;
}

// Draws the tokens of all chunks of a computed plan, whose logits begin at `logits`, into `samples`.
void Engine::Impl::DrawTokens(const std::vector<PlannedChunk>& plan, const float* logits) {
  const size_t vocab = static_cast<size_t>(model->config().vocab);
  samples.clear();
  banned.clear();
  banned.reserve(plan.size());  // `samples` points into it
  for (const PlannedChunk& chunk : plan) {
    logits += static_cast<size_t>(chunk.prompt_logits()) * vocab;
    if (!Draws(chunk)) continue;
    const Sequence& s = *chunk.sequence;
    banned.push_back(Banned(s));
    samples.push_back(
        SampleRowOf(s.request.sampling, s.counts, static_cast<int>(s.tokens.size()), logits, banned.back()));
    logits += vocab;
  }
  backend->Sample(samples, model->config().vocab);
}

std::vector<TokenId> Engine::Impl::Banned(const Sequence& s) const {
  std::vector<TokenId> ids;
  if (s.generated() < s.request.sampling.min_tokens) {  // with ignore_eos too, as in vLLM
    ids = s.request.sampling.stop_token_ids;
    ids.insert(ids.end(), options.eos.begin(), options.eos.end());
  }
  return ids;
}

// Processes a computed chunk, whose logits begin at `logits`. `drawn` is its token, if it completes the
// sequence and draws one. Returns the begin of the next chunk's logits.
const float* Engine::Impl::AfterChunk(const PlannedChunk& chunk, const float* logits, TokenId drawn,
                                      double now) {
  Sequence& s = *chunk.sequence;
  const size_t vocab = static_cast<size_t>(model->config().vocab);
  RequestEvent event;
  event.prompt_logprobs = ScorePrompt(chunk, logits);
  logits += event.prompt_logprobs.size() * vocab;
  scheduler.Commit(chunk);
  if (!chunk.completes) {
    if (!event.prompt_logprobs.empty()) Emit(s, std::move(event));
    return logits;
  }

  // kLength stays for a request with max_tokens 0: its prompt is computed.
  std::optional<FinishReason> ending = FinishReason::kLength;
  const bool first = s.generated() == 0;
  if (Draws(chunk)) {
    const int top = s.request.sampling.logprobs;
    event.tokens.push_back(top < 0 ? GeneratedToken{drawn, 0, {}}
                                   : WithLogprobs(drawn, top, {logits, vocab}));
    logits += vocab;
    s.Append(drawn);
    ++live_stats.generation_tokens;
    ending = Ending(s, drawn);
  }
  if (first) {
    for (size_t i = 0; i < kTokenSources; ++i)
      live_stats.prompt_tokens[i] += static_cast<uint64_t>(s.usage.tokens[i]);
    for (size_t i = 0; i < kMissReasons; ++i) live_stats.miss_tokens[i] += s.miss_tokens[i];
    live_stats.prefix_query_tokens += static_cast<uint64_t>(s.prompt_tokens);
    live_stats.prefix_hit_tokens += static_cast<uint64_t>(s.usage.cached());
    live_stats.time_to_first_token.Add(now - s.times.submitted);
  } else {
    live_stats.inter_token.Add(now - s.last_token_time);
  }
  s.last_token_time = now;
  event.prompt = s.usage;
  event.times = s.times;
  if (ending) {
    Finish(s.id, std::move(event), *ending);
  } else {
    Emit(s, std::move(event));
  }
  return logits;
}

std::optional<FinishReason> Engine::Impl::Ending(const Sequence& s, TokenId token) const {
  const SamplingParams& params = s.request.sampling;
  if (s.generated() >= params.min_tokens) {
    if (!params.ignore_eos && Contains(options.eos, token)) return FinishReason::kStop;
    if (Contains(params.stop_token_ids, token)) return FinishReason::kStop;
  }
  if (s.generated() >= params.max_tokens || static_cast<int>(s.tokens.size()) >= options.context)
    return FinishReason::kLength;
  return std::nullopt;
}

// Removes the request, returns its blocks to the cache and reports the finish. No effect when it has
// finished.
void Engine::Impl::Finish(RequestId id, RequestEvent event, FinishReason reason) {
  std::unique_ptr<Sequence> s = scheduler.Remove(id);
  if (s == nullptr) return;
  if (!s->was_scheduled) --queued;
  s->times.finished = clock->NowSeconds();
  ++live_stats.finished[static_cast<size_t>(reason)];
  live_stats.end_to_end.Add(s->times.finished - s->times.submitted);
  event.finish = reason;
  event.prompt = s->usage;
  event.times = s->times;
  Emit(*s, std::move(event));
}

void Engine::Impl::FailAll(const Status& error) {
  std::vector<RequestId> ids;
  for (const auto& s : scheduler.running()) ids.push_back(s->id);
  for (const RequestId id : ids) {
    RequestEvent event;
    event.error = error;
    Finish(id, std::move(event), FinishReason::kError);
  }
}

void Engine::Impl::Publish() {
  live_stats.running = static_cast<int>(scheduler.running().size());
  live_stats.waiting =
      queued.load() + static_cast<int>(std::count_if(scheduler.queued().begin(), scheduler.queued().end(),
                                                     [](auto& s) { return s->was_scheduled; }));
  live_stats.blocks_free = cache.free_blocks();
  live_stats.blocks_cached = cache.cached_blocks();
  live_stats.blocks_leased = cache.leased_blocks();
  live_stats.preemptions = scheduler.preemptions();
  live_stats.recomputed_tokens = scheduler.recomputed_tokens();
  live_stats.cache = cache.stats();
  MutexLock lock(stats_mutex);
  published_stats = live_stats;
}

}  // namespace prefixd
