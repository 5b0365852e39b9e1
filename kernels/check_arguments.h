// The checks of the preconditions that kernels/operations.h states. All implementations use them. Each
// function stops the process with PREFIXD_CHECK when a condition in its comment does not hold. Pure
// functions; any thread.
#pragma once

#include <span>

#include "kernels/operations.h"

namespace prefixd {

// The sequences are not empty and cover the rows of the batch in order without gaps. Their positions are not
// negative. O(sequences).
void CheckBatch(const BatchView& batch);

// There is at least one source. The sources have data and positive shapes, and all have the same cols and
// format, which the cols fit. Returns the sum of their rows.
int CheckSources(std::span<const MatrixSource> sources);

// The shape of a matrix is positive, and fits its format.
void CheckMatrixShape(int rows, int cols, WeightFormat format);

// The source is as CheckSources wants it, and the matrix has its columns and, from `first_row` on, its rows.
void CheckUploadRows(const Matrix& to, int first_row, const MatrixSource& from);

// The shape is positive and fits the format, and `largest` is finite and above 0.
void CheckDummy(const DummyMatrix& dummy);

void CheckLayout(const KvLayout& layout);

// For operations on rows: rows >= 0, width > 0, and neither array is null unless rows is 0.
void CheckRows(const float* x, int rows, int width, const float* out);

// For operations on heads: heads > 0, head_dim > 0, the heads of a row fit in `stride` floats, and x is not
// null unless rows is 0.
void CheckHeads(const float* x, int rows, int stride, int heads, int head_dim);

// `layer` is in 0 .. layout.layers - 1.
void CheckLayer(int layer, const KvLayout& layout);

void CheckAttention(const AttentionParams& params, const KvLayout& layout);

// Both ids are ids of blocks of the pool.
void CheckCopy(const KvPool& pool, BlockId from, BlockId to);

// The sequence's block table covers `position`, and the pool has the block there. Returns the id of that
// block.
BlockId BlockIdAt(const SequenceSpan& sequence, int position, const KvPool& pool);

}  // namespace prefixd
