#include "engine/step_batch.h"

#include <utility>

#include "engine/sampler.h"

namespace prefixd {
namespace {

// With ignore_eos too, as in vLLM.
std::vector<TokenId> Banned(const Sequence& s, std::span<const TokenId> eos) {
  std::vector<TokenId> ids;
  if (s.coming_generated() < s.request.sampling.min_tokens) {
    ids = s.request.sampling.stop_token_ids;
    ids.insert(ids.end(), eos.begin(), eos.end());
  }
  return ids;
}

}  // namespace

void StepBatch::Fill(std::vector<PlannedChunk> plan, std::span<const TokenId> eos) {
  plan_ = std::move(plan);
  tokens_.clear();
  spans_.clear();
  logit_rows_.clear();
  banned_.clear();
  banned_.reserve(plan_.size());  // `logit_rows_` points into it
  for (const PlannedChunk& chunk : plan_) {
    Sequence& s = *chunk.sequence;
    const int first_row = rows();
    if (chunk.begin < static_cast<int>(s.tokens.size())) {
      const auto begin = s.tokens.begin() + chunk.begin;
      tokens_.insert(tokens_.end(), begin, begin + chunk.tokens);
    } else {
      tokens_.push_back(TokenDrawnBy(s.draw_row));
    }
    spans_.push_back({first_row, chunk.tokens, chunk.begin, s.lease.blocks()});
    AddLogitRows(chunk, first_row, eos);
    s.computing += chunk.tokens;
    if (!Draws(chunk)) continue;
    ++s.drawing;
    s.draw_row = static_cast<int>(logit_rows_.size()) - 1;
  }
}

void StepBatch::Leave() {
  for (const PlannedChunk& chunk : plan_) {
    chunk.sequence->computing -= chunk.tokens;
    if (Draws(chunk)) --chunk.sequence->drawing;
  }
}

void StepBatch::AddLogitRows(const PlannedChunk& chunk, int first_row, std::span<const TokenId> eos) {
  const Sequence& s = *chunk.sequence;
  const SamplingParams& sampling = s.request.sampling;
  for (int i = 0; i < chunk.prompt_logits(); ++i) {
    LogitRow& row = logit_rows_.emplace_back();
    row.row = first_row + s.high_water - chunk.begin + i;
    row.given = s.tokens[static_cast<size_t>(s.high_water + i + 1)];
    row.logprobs = sampling.prompt_logprobs;
  }
  if (!Draws(chunk)) return;
  banned_.push_back(Banned(s, eos));
  LogitRow& row = logit_rows_.emplace_back();
  row.row = first_row + chunk.tokens - 1;
  const auto allowed = s.allowed == nullptr ? std::span<const uint32_t>() : std::span(*s.allowed);
  row.draw = SampleRowOf(sampling, s.counts, s.coming_tokens(), banned_.back(), allowed);
  row.logprobs = sampling.logprobs;
  if (s.drawing > 0 && sampling.HasPenalties()) row.uncounted = s.draw_row;
}

}  // namespace prefixd
