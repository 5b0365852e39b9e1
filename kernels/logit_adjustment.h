// Logit adjustment: changes that a request makes to the logits before a token is drawn from them. Pure
// functions; any thread.
//
//   1. logit_bias is added.
//   2. repetition_penalty p applies to each distinct token of prompt and answer: a positive logit is divided
//      by p, any other is multiplied by p.
//   3. frequency_penalty times the number of occurrences of the token in the answer is subtracted, then
//      presence_penalty if the token occurs there.
// All arithmetic is in float and separate for each token, so the order of the tokens does not matter.
#pragma once

#include <span>

#include "kernels/sampling.h"

namespace prefixd {

// Returns whether AdjustLogits changes anything.
bool ChangesLogits(const LogitChanges& changes);

// Adjusts `logits`, [vocab], in place. Requires that all token ids of `changes` are in the vocabulary.
// O(biases + counts).
void AdjustLogits(const LogitChanges& changes, std::span<float> logits);

}  // namespace prefixd
