#include "kernels/check_arguments.h"

#include <cstdint>
#include <limits>

namespace prefixd {
namespace {

bool IsPowerOfTwo(int n) { return n > 0 && (n & (n - 1)) == 0; }

}  // namespace

void CheckBatch(const BatchView& batch) {
  int next_row = 0;
  for (const SequenceSpan& sequence : batch.sequences) {
    PREFIXD_CHECK(sequence.first_row == next_row && sequence.rows > 0 && sequence.position >= 0)
        << "row " << sequence.first_row << ", expected " << next_row << ", " << sequence.rows
        << " rows at position " << sequence.position;
    next_row += sequence.rows;
  }
  PREFIXD_CHECK(next_row == batch.rows()) << next_row << " rows in sequences, " << batch.rows() << " tokens";
}

int CheckSources(std::span<const MatrixSource> sources) {
  PREFIXD_CHECK(!sources.empty());
  int64_t rows = 0;
  for (const MatrixSource& source : sources) {
    PREFIXD_CHECK(source.data != nullptr && source.rows > 0 && source.cols > 0 &&
                  source.cols == sources[0].cols && source.format == sources[0].format &&
                  source.format.Fits(source.cols))
        << source.rows << " x " << source.cols << " " << source.format.name();
    rows += source.rows;
  }
  PREFIXD_CHECK(rows <= std::numeric_limits<int>::max()) << rows << " rows";
  return static_cast<int>(rows);
}

void CheckMatrixShape(int rows, int cols, WeightFormat format) {
  PREFIXD_CHECK(rows > 0 && cols > 0 && format.Fits(cols)) << rows << " x " << cols << " " << format.name();
}

void CheckUploadRows(const Matrix& to, int first_row, const MatrixSource& from) {
  CheckSources({&from, 1});
  PREFIXD_CHECK(from.cols == to.cols() && first_row >= 0 && first_row <= to.rows() - from.rows)
      << from.rows << " x " << from.cols << " at row " << first_row << " of " << to.rows() << " x "
      << to.cols();
}

void CheckDummy(const DummyMatrix& dummy) {
  PREFIXD_CHECK(dummy.rows > 0 && dummy.cols > 0 && dummy.largest > 0 &&
                dummy.largest <= std::numeric_limits<float>::max() && dummy.format.Fits(dummy.cols))
      << dummy.rows << " x " << dummy.cols << " " << dummy.format.name() << ", " << dummy.largest;
}

void CheckLayout(const KvLayout& layout) {
  PREFIXD_CHECK(layout.layers > 0 && layout.kv_heads > 0)
      << layout.layers << " layers, " << layout.kv_heads << " heads";
  PREFIXD_CHECK(layout.head_dim > 0 && layout.head_dim % 2 == 0) << "head_dim " << layout.head_dim;
  PREFIXD_CHECK(layout.type.Fits(layout.head_dim))
      << "head_dim " << layout.head_dim << " of " << layout.type.name();
  PREFIXD_CHECK(IsPowerOfTwo(layout.block_tokens)) << "block_tokens " << layout.block_tokens;
}

void CheckRows(const float* x, int rows, int width, const float* out) {
  PREFIXD_CHECK(rows >= 0 && width > 0) << rows << " rows of " << width;
  PREFIXD_CHECK(rows == 0 || (x != nullptr && out != nullptr)) << rows << " rows of " << width;
}

void CheckHeads(const float* x, int rows, int stride, int heads, int head_dim) {
  PREFIXD_CHECK(heads > 0 && head_dim > 0 && stride >= int64_t{heads} * head_dim)
      << heads << " heads of " << head_dim << " in a stride of " << stride;
  PREFIXD_CHECK(rows == 0 || x != nullptr) << rows << " rows";
}

void CheckLayer(int layer, const KvLayout& layout) {
  PREFIXD_CHECK(layer >= 0 && layer < layout.layers) << "layer " << layer << " of " << layout.layers;
}

void CheckAttention(const AttentionParams& params, const KvLayout& layout) {
  PREFIXD_CHECK(params.heads > 0 && params.heads % layout.kv_heads == 0)
      << params.heads << " heads over " << layout.kv_heads;
  PREFIXD_CHECK(params.window >= 0) << "window " << params.window;
}

void CheckCopy(const KvPool& pool, BlockId from, BlockId to) {
  PREFIXD_CHECK(from < pool.blocks() && to < pool.blocks())
      << from << " to " << to << " of " << pool.blocks();
}

BlockId BlockIdAt(const SequenceSpan& sequence, int position, const KvPool& pool) {
  const size_t index = position / pool.layout().block_tokens;
  PREFIXD_CHECK(index < sequence.blocks.size())
      << "position " << position << " is in block " << index << " of a table of " << sequence.blocks.size();
  PREFIXD_CHECK(sequence.blocks[index] < pool.blocks())
      << sequence.blocks[index] << " of " << pool.blocks() << " blocks";
  return sequence.blocks[index];
}

}  // namespace prefixd
