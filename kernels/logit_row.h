// LogitRow: what a step makes of the logits of one row. It draws a token, or takes a given one, and reports
// the log probability of that token and the likeliest tokens. Pure functions and values; any thread.
#pragma once

#include <span>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "kernels/sampling.h"

namespace prefixd {

struct TokenLogprob {
  TokenId token;
  float logprob;  // natural log of the softmax of the unmodified logits
};

struct GeneratedToken {
  TokenId token;
  float logprob = 0;              // set when requested
  std::vector<TokenLogprob> top;  // likeliest first; exactly as many as requested
  int rank = 0;  // rank of the token in the vocabulary, from 1, in the order of `top`; set with logprob
};

struct LogitRow {
  int row = 0;         // of the batch
  TokenId given = -1;  // >= 0: no token is drawn, this one is scored
  SampleRow draw;      // how a token is drawn; its logits are set by the step
  int logprobs = -1;   // -1: none; n: of the token and of the n likeliest
  // >= 0: the token that the logit row with this number of the step launched before draws counts in the
  // penalties as one more of the answer.
  int uncounted = -1;
  GeneratedToken result{-1};
};

// Sets row.result from its logits. Returns kResourceExhausted when there is no memory for the log
// probabilities. Requires logits.size() > 0, and that all ids of the row are in the vocabulary.
Status ReadLogits(LogitRow& row, std::span<const float> logits, DrawScratch& scratch);

// Returns the natural logarithms of softmax(logits) for `token`, which is in the vocabulary, and for the
// `top` likeliest tokens, likeliest first. They are never NaN. When the largest logit is infinite, the tokens
// that have it share the probability. A NaN logit counts as -inf. Of equal logits the lower id is likelier.
GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits);

}  // namespace prefixd
