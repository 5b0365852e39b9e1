// SequenceRunner runs a ModelRunner without an engine, for tests: it takes sequences of tokens and returns
// logits. It keeps KV in its own pool and assigns the blocks in a shuffled order. One owner.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace prefixd::testing_support {

// The KV of one sequence so far.
struct RunningSequence {
  std::vector<BlockId> blocks;
  int length = 0;
};

class SequenceRunner {
 public:
  // `blocks` is the size of the pool, for all sequences together.
  SequenceRunner(ModelRunner& model, Backend& backend, KvType kv_dtype, int block_tokens, int blocks);

  struct Piece {
    RunningSequence* sequence;
    std::span<const TokenId> tokens;
  };
  // Runs one step over the next tokens of some sequences. Returns the logits of every row, [rows][vocab].
  std::vector<float> Step(std::span<const Piece> pieces);

  // Appends `tokens` in steps of at most `chunk` tokens. Returns the logits of every token, [tokens][vocab].
  std::vector<float> Append(RunningSequence& sequence, std::span<const TokenId> tokens, int chunk);
  // Returns `steps` tokens after `prompt`, each with the largest logit. Among equal logits the first id is
  // taken.
  std::vector<TokenId> Greedy(std::span<const TokenId> prompt, int steps);

  // Returns the blocks of the sequence to the pool and makes it empty.
  void Free(RunningSequence& sequence);
  int vocab() const { return model_.shape().vocab; }

 private:
  ModelRunner& model_;
  int block_tokens_;
  std::unique_ptr<KvPool> pool_;
  std::vector<BlockId> free_;
};

}  // namespace prefixd::testing_support
