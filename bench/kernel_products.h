// The part "products" of kernel_bench: one product of weights of any format, which are read from memory with
// few rows and from a CPU cache with many. The thread of the caller, and those of the operations.
#pragma once

#include "bench/harness.h"
#include "kernels/operations.h"

namespace prefixd::bench {

struct ProductSizes {
  int tokens, outputs, terms;
};

// First compares products with those of `ref`, bit for bit; it ends the program where they differ.
void RunProducts(Report& report, Operations& operations, WeightFormat weights, const Ceilings& ceilings,
                 ProductSizes sizes, int runs);

// Compares products of these weights with those of `ref`, for one row and several, with outputs and rows that
// fill no whole tile. Ends the program where they differ.
void CheckProducts(Operations& operations, WeightFormat format, int cols);

// Random weights of any format. Ends the program where there is no memory for them. The columns fit.
std::unique_ptr<Matrix> RandomMatrix(Operations& operations, WeightFormat format, int rows, int cols);

}  // namespace prefixd::bench
