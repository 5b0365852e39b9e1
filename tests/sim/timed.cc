#include "tests/sim/timed.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "tests/sim/seeds.h"

namespace prefixd::sim {
namespace {

constexpr double kTick = 0.005;  // see Engine::WaitForWork
constexpr size_t kRequests = 24;
constexpr int kMostSequences = 6;
constexpr int kStepTokens = 512;
constexpr uint64_t kEventsPerCheck = 16;
constexpr double kStart = 10;  // seconds; times are above 0

class NoListener final : public RequestListener {
 public:
  void OnEvent(RequestEvent) override {}
};

ModelShape SmallShape() {
  ModelShape shape;
  shape.layers = 2;
  shape.hidden = 256;
  shape.intermediate = 512;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 64;
  shape.windows = {0, 0};
  return shape;
}

// Prompts begin with a part of one of a few texts.
std::vector<TimedRequest> MakeRequests(uint64_t seed, const TimedConditions& conditions, bool one_at_a_time) {
  Prng random(seed ^ 0x5EED);
  std::vector<std::vector<TokenId>> texts(static_cast<size_t>(random.Between(2, 6)));
  // A request has room beside all loads and spills that run at once.
  const int most = (static_cast<int>(conditions.blocks) / 2 - 10) * conditions.block_tokens;
  for (auto& text : texts) {
    text.resize(static_cast<size_t>(random.Between(most / 5, most)));
    for (TokenId& token : text) token = static_cast<TokenId>(random.Below(1000));
  }
  const double gap = conditions.typical * std::pow(10.0, -1 + 2 * random.Unit());
  std::vector<TimedRequest> requests(kRequests);
  double arrival = kStart;
  for (TimedRequest& request : requests) {
    const double wait = gap * -std::log(1 - random.Unit());
    arrival += random.Chance(0.3) ? 0 : wait;  // some come together
    request.arrival = one_at_a_time ? wait : arrival;
    request.prompt = texts[random.Below(texts.size())];
    if (random.Chance(0.5)) request.prompt.resize(1 + random.Below(request.prompt.size()));
    for (size_t more = 1 + random.Below(64); more > 0; --more)
      request.prompt.push_back(static_cast<TokenId>(random.Below(1000)));
    request.answer = static_cast<int>(random.Between(1, 6));
  }
  return requests;
}

PrefixCache::Options CacheOptions(const TimedConditions& conditions, const ModelShape& shape,
                                  LoadPolicy policy) {
  PrefixCache::Options options{.block_tokens = conditions.block_tokens, .blocks = conditions.blocks};
  options.cost_per_depth = static_cast<float>(UnitsPerPosition(shape) * conditions.block_tokens);
  options.host_blocks = conditions.host_blocks;
  options.disk = conditions.disk;
  options.write_through = conditions.write_through;
  options.spills_slow_steps = conditions.spill_work > 0;
  options.max_transfers = conditions.max_transfers;
  options.load_policy = policy;
  options.block_seconds = conditions.probed;
  options.block_bytes = 1;
  options.spill_reserve = conditions.blocks / 4;
  return options;
}

}  // namespace

TimedSimulation::TimedSimulation(uint64_t seed, LoadPolicy policy, bool one_at_a_time)
    : seed_(seed),
      one_at_a_time_(one_at_a_time),
      conditions_(seed),
      port_(seed + 1, &conditions_),
      budget_(RowCost(SmallShape()), conditions_.step_seconds),
      requests_(MakeRequests(seed, conditions_, one_at_a_time)),
      results_(requests_.size()),
      now_(kStart),
      ended_(kStart) {
  cache_ = std::make_unique<PrefixCache>(CacheOptions(conditions_, SmallShape(), policy), &copier_, &port_);
  scheduler_ = std::make_unique<Scheduler>(
      SchedulerLimits{.max_sequences = kMostSequences, .step_tokens = kStepTokens}, cache_.get());
  budget_.AssumePromptUnit(conditions_.assumed_unit);
}

std::vector<TimedResult> TimedSimulation::Run() {
  while (arrived_ < requests_.size() || Busy()) {
    current_event = events_;
    Turn();
  }
  Rest();
  preemptions = scheduler_->preemptions();
  return results_;
}

double TimedSimulation::NextArrival() const {
  if (arrived_ == requests_.size() || (one_at_a_time_ && Busy()))
    return std::numeric_limits<double>::infinity();
  return requests_[arrived_].arrival + (one_at_a_time_ ? ended_ : 0);
}

void TimedSimulation::Arrive() {
  while (NextArrival() <= now_) {
    results_[arrived_].arrival = NextArrival();
    Request request;
    request.prompt = requests_[arrived_].prompt;
    request.sampling.max_tokens = requests_[arrived_].answer;
    request.listener = std::make_shared<NoListener>();
    scheduler_->Enqueue(std::make_unique<Sequence>(++arrived_, std::move(request),
                                                   BlockKeys(BlockKey{1, 2}, conditions_.block_tokens)));
  }
}

// What Engine::Advance does. When there is nothing to compute, the time of the next event comes.
void TimedSimulation::Turn() {
  ++events_;
  Arrive();
  port_.SetTime(now_);
  cache_->Poll(now_, !Busy());
  Check(false);
  std::vector<PlannedChunk> plan;
  if (Busy()) {
    plan = scheduler_->Plan(budget_, [](Sequence&) {});
    Check(false);
    if (one_at_a_time_) NoteWhatComputingTakes(*scheduler_->running().front());
  }
  if (!plan.empty()) return Launch(plan);
  double next = std::min(port_.NextEnd(), NextArrival());
  if (Busy()) {
    PREFIXD_CHECK(cache_->running_transfers() > 0) << "requests wait for nothing";
    next = std::min(next, now_ + kTick);
  }
  PREFIXD_CHECK(next < std::numeric_limits<double>::infinity()) << "nothing happens any more";
  now_ = std::max(now_, next);
}

void TimedSimulation::Launch(const std::vector<PlannedChunk>& plan) {
  StepWork work;
  for (const PlannedChunk& chunk : plan) {
    (chunk.sequence->decoding() ? work.decodes : work.prompts) +=
        budget_.cost().Of(chunk.sequence->ready(), chunk.tokens);
  }
  const double seconds = conditions_.StepSeconds(now_, work);
  for (const PlannedChunk& chunk : plan) {
    if (chunk.sequence->until < static_cast<int>(chunk.sequence->tokens.size())) ++parts;
  }
  for (const auto& sequence : scheduler_->running()) {
    double& longest = results_[sequence->id - 1].longest_step;
    if (sequence->generated() == 0) longest = std::max(longest, seconds);
  }
  now_ += seconds;
  cache_->EndStep(true);
  budget_.Observe(work, seconds);
  for (const PlannedChunk& chunk : plan) AfterChunk(chunk);
  Check(false);
}

void TimedSimulation::AfterChunk(const PlannedChunk& chunk) {
  scheduler_->Commit(chunk);
  if (!chunk.completes) return;
  Sequence& sequence = *chunk.sequence;
  TimedResult& result = results_[sequence.id - 1];
  if (sequence.generated() == 0) {
    result.seconds = now_ - result.arrival;
    result.found_more = sequence.usage.tokens[static_cast<size_t>(TokenSource::kDevice)] > result.found;
  }
  sequence.Append(static_cast<TokenId>(sequence.id + 1000));
  if (sequence.generated() < sequence.request.sampling.max_tokens) return;
  scheduler_->Remove(sequence.id);
  ended_ = now_;
}

void TimedSimulation::NoteWhatComputingTakes(const Sequence& sequence) {
  TimedResult& result = results_[sequence.id - 1];
  if (result.recompute > 0) return;
  result.found = sequence.usage.tokens[static_cast<size_t>(TokenSource::kDevice)];
  result.recompute = RecomputeSeconds(sequence, &result.longest_step);
  const double units = budget_.cost().Of(sequence.ready(), sequence.prompt_tokens - sequence.ready());
  result.estimate = units * budget_.prompt_unit_seconds();
}

// As the scheduler and the budget would go on, beside no other sequence, if nothing were loaded.
double TimedSimulation::RecomputeSeconds(const Sequence& sequence, double* longest_step) const {
  StepBudget budget = budget_;
  double time = now_;
  for (int at = sequence.ready(); at < sequence.prompt_tokens;) {
    const int most = std::min(kStepTokens, sequence.prompt_tokens - at);
    const int tokens = std::max(1, budget.cost().Fitting(budget.PromptUnits(0), at, most));
    const StepWork work{.prompts = budget.cost().Of(at, tokens)};
    const double seconds = conditions_.StepSeconds(time, work);
    budget.Observe(work, seconds);
    *longest_step = std::max(*longest_step, seconds);
    time += seconds;
    at += tokens;
  }
  return time - results_[sequence.id - 1].arrival;
}

void TimedSimulation::Check(bool always) {
  if (!always && seed_ % 16 != 0 && events_ % kEventsPerCheck != 0) return;
  cache_->CheckInvariants();
  scheduler_->CheckInvariants();
}

void TimedSimulation::Rest() {
  cache_->Poll(now_);  // starts the last spills
  while (cache_->running_transfers() > 0) {
    now_ = std::max(now_, port_.NextEnd());
    port_.SetTime(now_);
    cache_->Poll(now_);
  }
  Check(true);
  PREFIXD_CHECK(cache_->leased_blocks() == 0) << cache_->leased_blocks();
  PREFIXD_CHECK(cache_->leased_blocks(Tier::kHost) == 0) << cache_->leased_blocks(Tier::kHost);
  PREFIXD_CHECK(cache_->pending_disk_blocks() == 0) << cache_->pending_disk_blocks();
}

}  // namespace prefixd::sim
