#include "kernels/cuda/draw_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "base/check.h"
#include "kernels/logit_adjustment.h"
#include "kernels/portable_math.h"

namespace prefixd::cuda {
namespace {

DrawSpec SpecOf(const LogitRow& row, int index) {
  const DrawParams& params = row.draw.params;
  DrawSpec spec{};
  spec.row = index;
  spec.given = row.given;
  spec.temperature = params.temperature;
  spec.top_p = params.top_p;
  spec.min_p = params.min_p;
  spec.top_k = params.top_k;
  spec.seed = params.seed;
  spec.position = params.position;
  spec.logprobs = row.logprobs;
  spec.repetition_penalty = 1.0f;
  spec.uncounted = -1;
  spec.first_allowed = -1;
  return spec;
}

void AddChanges(const LogitRow& from, int vocab, DrawSpec* spec, DrawPlan* plan) {
  const SampleRow& row = from.draw;
  const LogitChanges& changes = row.changes;
  const auto in_vocabulary = [vocab](TokenId id) { return id >= 0 && id < vocab; };
  for (const LogitBias& bias : changes.bias) PREFIXD_CHECK(in_vocabulary(bias.token)) << bias.token;
  for (const TokenCount& count : changes.counts) PREFIXD_CHECK(in_vocabulary(count.token)) << count.token;
  spec->first_bias = static_cast<int32_t>(plan->bias.size());
  spec->biases = static_cast<int32_t>(changes.bias.size());
  plan->bias.insert(plan->bias.end(), changes.bias.begin(), changes.bias.end());
  spec->first_count = static_cast<int32_t>(plan->counts.size());
  LogitChanges penalties = changes;
  penalties.bias = {};
  if (ChangesLogits(penalties)) {
    spec->repetition_penalty = changes.repetition_penalty;
    spec->frequency_penalty = changes.frequency_penalty;
    spec->presence_penalty = changes.presence_penalty;
    spec->counts = static_cast<int32_t>(changes.counts.size());
    plan->counts.insert(plan->counts.end(), changes.counts.begin(), changes.counts.end());
    spec->uncounted = from.uncounted;
  }
  spec->first_banned = static_cast<int32_t>(plan->banned.size());
  std::ranges::copy_if(row.banned, std::back_inserter(plan->banned), in_vocabulary);
  spec->banned = static_cast<int32_t>(plan->banned.size()) - spec->first_banned;
  if (row.allowed.empty()) return;
  PREFIXD_CHECK(row.allowed.size() * 32 >= static_cast<size_t>(vocab)) << row.allowed.size() << " words";
  spec->first_allowed = static_cast<int32_t>(plan->allowed.size());
  plan->allowed.insert(plan->allowed.end(), row.allowed.begin(), row.allowed.end());
}

}  // namespace

Status PlanDraws(std::span<const LogitRow> rows, int vocab, DrawPlan* plan) try {
  plan->specs.clear();
  plan->bias.clear();
  plan->counts.clear();
  plan->banned.clear();
  plan->allowed.clear();
  plan->top = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    DrawSpec spec = SpecOf(rows[i], static_cast<int>(i));
    if (spec.given < 0) AddChanges(rows[i], vocab, &spec, plan);
    spec.first_result = plan->top;
    plan->top += std::clamp(spec.logprobs, 0, vocab);
    plan->specs.push_back(spec);
  }
  return Status::Ok();
} catch (const std::bad_alloc&) {
  return ResourceExhausted("no memory for the draws of " + std::to_string(rows.size()) + " rows");
}

Status TakeDraws(const DrawPlan& plan, std::span<const DrawResult> results, std::span<const int32_t> tokens,
                 std::span<const float> logits, std::span<LogitRow> rows) try {
  for (size_t i = 0; i < rows.size(); ++i) {
    const DrawSpec& spec = plan.specs[i];
    const DrawResult& result = results[i];
    rows[i].draw.token = spec.given < 0 ? result.token : rows[i].draw.token;
    rows[i].result = {result.token, 0, {}};
    if (spec.logprobs < 0) continue;
    // As WithLogprobs of kernels/logit_row.cc.
    const bool infinite = std::isinf(result.largest);
    const double log_sum = portable::Log(result.sum);
    const auto logprob = [&](float logit) {
      if (infinite && logit != result.largest) return -std::numeric_limits<float>::infinity();
      const double below = infinite ? 0.0 : static_cast<double>(logit) - static_cast<double>(result.largest);
      return static_cast<float>(below - log_sum);
    };
    rows[i].result.logprob = logprob(result.logit);
    rows[i].result.rank = result.rank;
    const auto end = i + 1 < plan.specs.size() ? plan.specs[i + 1].first_result : plan.top;
    for (int32_t at = spec.first_result; at < end; ++at) {
      const auto index = static_cast<size_t>(at);
      rows[i].result.top.push_back({tokens[index], logprob(logits[index])});
    }
  }
  return Status::Ok();
} catch (const std::bad_alloc&) {
  return ResourceExhausted("no memory for the log probabilities of " + std::to_string(rows.size()) + " rows");
}

}  // namespace prefixd::cuda
