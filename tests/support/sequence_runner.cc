#include "tests/support/sequence_runner.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/prng.h"

namespace prefixd::testing_support {

SequenceRunner::SequenceRunner(ModelRunner& model, Backend& backend, KvType kv_dtype, int block_tokens,
                               int blocks)
    : model_(model), block_tokens_(block_tokens), free_(blocks) {
  pool_ = *backend.AllocateKv(model.shape().Kv(block_tokens, kv_dtype), static_cast<uint32_t>(blocks));
  std::iota(free_.begin(), free_.end(), 0u);
  Prng prng(1);
  for (size_t i = free_.size(); i > 1; --i) std::swap(free_[i - 1], free_[prng.Below(i)]);
}

std::vector<float> SequenceRunner::Step(std::span<const Piece> pieces) {
  std::vector<TokenId> tokens;
  std::vector<SequenceSpan> spans;
  for (const Piece& piece : pieces) {
    RunningSequence& sequence = *piece.sequence;
    const int rows = static_cast<int>(piece.tokens.size());
    while (static_cast<int>(sequence.blocks.size()) * block_tokens_ < sequence.length + rows) {
      PREFIXD_CHECK(!free_.empty()) << "the test's pool is too small";
      sequence.blocks.push_back(free_.back());
      free_.pop_back();
    }
    spans.push_back({static_cast<int>(tokens.size()), rows, sequence.length, sequence.blocks});
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
    sequence.length += rows;
  }
  std::vector<LogitRow> rows(tokens.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].row = static_cast<int>(i);
    rows[i].given = 0;
  }
  std::vector<float> logits(rows.size() * static_cast<size_t>(vocab()));
  model_.Launch({{tokens, spans}, rows, pool_.get(), logits.data()}, {});
  const Status status = model_.Collect();
  PREFIXD_CHECK(status.ok()) << status.ToString();
  return logits;
}

std::vector<float> SequenceRunner::Append(RunningSequence& sequence, std::span<const TokenId> tokens,
                                          int chunk) {
  std::vector<float> all;
  for (size_t done = 0; done < tokens.size(); done += chunk) {
    const Piece piece = {&sequence, tokens.subspan(done, std::min<size_t>(chunk, tokens.size() - done))};
    const std::vector<float> logits = Step(std::span(&piece, 1));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

std::vector<TokenId> SequenceRunner::Greedy(std::span<const TokenId> prompt, int steps) {
  RunningSequence sequence;
  std::vector<float> logits = Append(sequence, prompt, model_.limits().max_rows);
  std::vector<TokenId> drawn;
  while (true) {
    const auto last = logits.end() - vocab();
    drawn.push_back(static_cast<TokenId>(std::max_element(last, logits.end()) - last));
    if (static_cast<int>(drawn.size()) == steps) break;
    logits = Append(sequence, std::span(&drawn.back(), 1), 1);
  }
  Free(sequence);
  return drawn;
}

void SequenceRunner::Free(RunningSequence& sequence) {
  free_.insert(free_.end(), sequence.blocks.begin(), sequence.blocks.end());
  sequence = RunningSequence();
}

}  // namespace prefixd::testing_support
