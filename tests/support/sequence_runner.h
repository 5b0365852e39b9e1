// Drives a Transformer without an engine: sequences of tokens in, logits out, KV in a pool of its own whose
// blocks are handed out in a scattered order. For tests; one owner.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "model/transformer.h"
#include "kernels/backend.h"

namespace prefixd::testing_support {

// The KV of one sequence so far.
struct RunningSequence {
  std::vector<BlockId> blocks;
  int length = 0;
};

class SequenceRunner {
 public:
  // `blocks`: of the pool, for all sequences together.
  SequenceRunner(Transformer& model, Backend& backend, DType kv_dtype, int block_tokens, int blocks);

  struct Piece {
    RunningSequence* sequence;
    std::span<const TokenId> tokens;
  };
  // One step over the next tokens of some sequences; the logits of every row, [rows][vocab].
  std::vector<float> Step(std::span<const Piece> pieces);

  // Appends `tokens` in steps of at most `chunk`; the logits of every token, [tokens][vocab].
  std::vector<float> Append(RunningSequence& sequence, std::span<const TokenId> tokens, int chunk);
  // The likeliest tokens after `prompt`, one by one. Of equal logits the first counts.
  std::vector<TokenId> Greedy(std::span<const TokenId> prompt, int steps);

  void Free(RunningSequence& sequence);
  int vocab() const { return model_.config().vocab; }

 private:
  Transformer& model_;
  int block_tokens_;
  std::unique_ptr<KvPool> pool_;
  std::vector<BlockId> free_;
};

}  // namespace prefixd::testing_support
