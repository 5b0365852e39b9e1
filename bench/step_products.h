// The matrix products of a decode step of a 135M Llama (30 layers, hidden 576, FFN 1536), as a measure for
// what else a step does. Attention is left out. One thread.
#pragma once

#include "bench/harness.h"
#include "kernels/registry.h"

namespace prefixd::bench {

// Returns the seconds that the products of `rows` sequences take in the best run, and reports them. Fails the
// program where there is no memory for the weights.
double TimeStepProducts(Report& report, Operations& operations, int rows, int vocab, int runs);

}  // namespace prefixd::bench
