// SampleLoops: the loops of a draw (kernels/sampling.h) that visit every token, for one instruction set. The
// functions have no state; any thread.
//
// Invariant
//   1. The results of all tables are equal bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prefixd {

constexpr int kSampleBlock = 256;  // tokens

struct SampleLoops {
  // largest[b] = the largest logit of block b of n logits; -inf if all are NaN or -inf.
  void (*largest)(const float* logits, size_t n, float* largest);
  // weights[i] = WeightOf((logits[i] - largest) / temperature).
  void (*set_weights)(const float* logits, size_t n, float largest, float temperature, float* weights);
  // words[j] = WordAt(seed, position, first + j, 0, of) / 2 for kSampleBlock indexes: integers that convert
  // to f32 as signed ones. `first` is a multiple of 4, and `of` the value of a sampling::Uniform.
  void (*halved_words)(uint64_t seed, uint32_t position, uint32_t first, uint32_t of, int32_t* words);
  // Returns the sum of the weights, which are in 0 .. 1, in units of 2^-40, each rounded down.
  uint64_t (*sum_weights)(const float* weights, size_t n);
};

// For every machine that the program runs on.
const SampleLoops& PlainSampleLoops();

}  // namespace prefixd
