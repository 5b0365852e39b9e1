// Checks of the preconditions that kernels/backend.h states, shared by the backends. Each function stops the
// process with PREFIXD_CHECK when the caller of a Backend has broken one. Pure functions; any thread.
#pragma once

#include <span>

#include "kernels/backend.h"

namespace prefixd {

// Spans cover the rows in order without gaps; positions are not negative. O(sequences).
void CheckBatch(const BatchView& batch);

// Sources are not empty, have positive shapes and share cols and dtype. Returns the number of rows of the
// stack.
int CheckSources(std::span<const MatrixSource> sources);

void CheckLayout(const KvLayout& layout);

// Row-wise operations: rows >= 0, width > 0, and both arrays exist unless rows is 0.
void CheckRows(const float* x, int rows, int width, const float* out);

// Operations on heads: heads > 0, head_dim > 0, a row of heads fits in `stride`, and x exists unless rows is
// 0.
void CheckHeads(const float* x, int rows, int stride, int heads, int head_dim);

// `layer` is one of the layout's layers.
void CheckLayer(int layer, const KvLayout& layout);

void CheckAttention(const AttentionParams& params, const KvLayout& layout);

// Both ids are blocks of the pool.
void CheckCopy(const KvPool& pool, BlockId from, BlockId to);

// Returns the block of a position. Checks that the block table covers it and that the pool has the block.
BlockId BlockOf(const SequenceSpan& sequence, int position, const KvPool& pool);

}  // namespace prefixd
