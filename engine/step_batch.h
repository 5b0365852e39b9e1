// StepBatch: one model step, from its plan to its results. It holds everything that the backend reads and
// writes while the step is in flight. Engine thread only.
//
// A token that a step in flight draws is not known to Fill. The backend takes it from that step: the batch
// names the logit row (kernels/batch.h), which must be of the step launched right before.
//
// Invariant: between Fill and the Collect of the step, nobody changes the StepBatch. As long as the backend
// may read them (StepInput), nobody changes the sequences of its plan: their block tables, token counts,
// masks and parameters.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/request.h"
#include "engine/scheduler.h"
#include "kernels/backend.h"

namespace prefixd {

class StepBatch {
 public:
  // Prepares the step of `plan`, which is not empty, and counts it in its sequences as one in flight. `eos`
  // are the model's end tokens.
  void Fill(std::vector<PlannedChunk> plan, std::span<const TokenId> eos);
  StepInput Input(KvPool* pool) { return {{tokens_, spans_}, logit_rows_, pool, nullptr}; }
  // Counts the step in its sequences as one in flight no more. Call it once, after Collect.
  void Leave();
  // Forgets the plan.
  void Clear() { plan_.clear(); }

  const std::vector<PlannedChunk>& plan() const { return plan_; }
  int rows() const { return static_cast<int>(tokens_.size()); }

  // After Collect: calls fn(chunk, scored, drawn) for every chunk of the plan, in order. `scored` has the log
  // probabilities of its prompt tokens, `drawn` the token that it draws, if any.
  template <typename Fn>
  void ForEachResult(const Fn& fn) {
    auto row = logit_rows_.begin();
    for (const PlannedChunk& chunk : plan_) {
      std::vector<GeneratedToken> scored;
      for (int i = chunk.prompt_logits(); i > 0; --i, ++row) scored.push_back(std::move(row->result));
      std::optional<GeneratedToken> drawn;
      if (Draws(chunk)) drawn = std::move(row++->result);
      fn(chunk, std::move(scored), std::move(drawn));
    }
  }

 private:
  // Returns whether a token is drawn after the chunk.
  static bool Draws(const PlannedChunk& chunk) {
    return chunk.completes && chunk.sequence->request.sampling.max_tokens > 0;
  }
  void AddLogitRows(const PlannedChunk& chunk, int first_row, std::span<const TokenId> eos);

  std::vector<PlannedChunk> plan_;
  std::vector<TokenId> tokens_;
  std::vector<SequenceSpan> spans_;
  std::vector<LogitRow> logit_rows_;  // by chunk: those of its prompt, then the one that draws
  std::vector<std::vector<TokenId>> banned_;
};

}  // namespace prefixd
