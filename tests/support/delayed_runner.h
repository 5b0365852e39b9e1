// DelayedRunner: a runner whose steps end when a test says so, well or with an error. Several steps may be in
// flight; they end in their order, and take tokens from each other as kernels/backend.h says. One thread.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/backend.h"
#include "kernels/kv_plane.h"
#include "tests/kernels/forwarding_backend.h"

namespace prefixd::testing_support {

class DelayedRunner final : public kernel_testing::ForwardingRunner {
 public:
  // `to`, which computes on the CPU, must outlive the runner.
  explicit DelayedRunner(ModelRunner& to, int most_steps = 1)
      : ForwardingRunner(to), to_(to), most_steps_(most_steps) {}

  int most_steps() const override { return most_steps_; }
  void Launch(const StepInput& input, std::function<void()> on_done) override {
    PREFIXD_CHECK(static_cast<int>(steps_.size()) < most_steps_) << steps_.size() << " steps are in flight";
    Step& step = steps_.emplace_back();
    step.input = input;
    if (most_steps_ > 1) Keep(&step);
    step.on_done = std::move(on_done);
    ++launches;
    if (steps_.size() > 1) ++launches_ahead;
  }
  bool in_flight() const { return !steps_.empty(); }
  // Whether a step is in flight that has not ended.
  bool CanEnd() const { return !steps_.empty() && !steps_.back().result; }
  bool Done() const override { return !steps_.empty() && steps_.front().result.has_value(); }
  Status Collect() override {
    if (!Done()) End(Status::Ok());
    const Status status = *steps_.front().result;
    steps_.pop_front();
    return status;
  }
  uint64_t progress() const override { return 0; }

  // Ends the oldest step in flight that has not ended. After an error its results are nonsense, and so is the
  // KV that it stored.
  void End(const Status& status) {
    PREFIXD_CHECK(CanEnd());
    Step& step = *std::find_if(steps_.begin(), steps_.end(), [](const Step& s) { return !s.result; });
    if (most_steps_ > 1) TakeTokens(&step);
    to_.Launch(step.input, {});
    PREFIXD_CHECK(to_.Collect().ok());
    if (!status.ok()) Spoil(step.input);
    drawn_.clear();
    for (const LogitRow& row : step.input.logit_rows) drawn_.push_back(row.result.token);
    step.result = status;
    if (step.on_done) step.on_done();
  }

  int launches = 0;
  int launches_ahead = 0;  // of them, those while another step was in flight

 private:
  struct Step {
    StepInput input;
    // What the caller need not keep.
    std::vector<TokenId> tokens;
    std::vector<SequenceSpan> spans;
    std::vector<std::vector<BlockId>> tables;
    std::vector<std::vector<TokenCount>> counts;  // by logit row
    std::function<void()> on_done;
    std::optional<Status> result;
  };

  static void Keep(Step* step) {
    const BatchView& batch = step->input.batch;
    step->tokens.assign(batch.tokens.begin(), batch.tokens.end());
    step->spans.assign(batch.sequences.begin(), batch.sequences.end());
    for (const SequenceSpan& span : batch.sequences)
      step->tables.emplace_back(span.blocks.begin(), span.blocks.end());
    for (size_t i = 0; i < step->spans.size(); ++i) step->spans[i].blocks = step->tables[i];
    for (LogitRow& row : step->input.logit_rows) {
      const auto counts = row.draw.changes.counts;
      row.draw.changes.counts = step->counts.emplace_back(counts.begin(), counts.end());
    }
    step->input.batch = {step->tokens, step->spans};
  }
  // From the step that ended last.
  void TakeTokens(Step* step) {
    for (TokenId& token : step->tokens) {
      if (token < 0) token = drawn_.at(static_cast<size_t>(-1 - token));
    }
    for (size_t i = 0; i < step->input.logit_rows.size(); ++i) {
      LogitRow& row = step->input.logit_rows[i];
      if (row.uncounted < 0) continue;
      const TokenId token = drawn_.at(static_cast<size_t>(row.uncounted));
      std::vector<TokenCount>& counts = step->counts[i];
      const auto at = std::find_if(counts.begin(), counts.end(),
                                   [token](const TokenCount& count) { return count.token == token; });
      if (at == counts.end()) {
        counts.push_back({token, 1});
      } else {
        ++at->generated;
      }
      row.draw.changes.counts = counts;
    }
  }

  static void Spoil(const StepInput& input) {
    for (LogitRow& row : input.logit_rows) row.result = GeneratedToken{0, 0, {}};
    const KvLayout& layout = input.pool->layout();
    for (const SequenceSpan& sequence : input.batch.sequences) {
      for (int p = sequence.position; p < sequence.position + sequence.rows; ++p) {
        const BlockId block = sequence.blocks[static_cast<size_t>(p / layout.block_tokens)];
        const std::vector<float> spoilt(static_cast<size_t>(layout.head_dim), 1e6f);
        const int token = p % layout.block_tokens;
        for (int layer = 0; layer < layout.layers; ++layer) {
          std::byte* const planes = input.pool->layer(block, layer);
          for (int head = 0; head < layout.kv_heads; ++head) {
            StoreHead(layout, KvPart::kK, token, spoilt.data(), planes + layout.KOffset(head));
            StoreHead(layout, KvPart::kV, token, spoilt.data(), planes + layout.VOffset(head));
          }
        }
      }
    }
  }

  ModelRunner& to_;
  const int most_steps_;
  std::deque<Step> steps_;      // in flight, the oldest first
  std::vector<TokenId> drawn_;  // by the step that ended last, by logit row
};

}  // namespace prefixd::testing_support
