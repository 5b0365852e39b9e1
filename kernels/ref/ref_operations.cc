#include "kernels/ref/ref_operations.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/check_arguments.h"
#include "kernels/host_memory.h"
#include "kernels/kv_plane.h"
#include "kernels/numerics.h"
#include "kernels/quant_run.h"
#include "kernels/quantize.h"

namespace prefixd {
namespace {

using numerics::Exp;
using numerics::kAttentionSpan;
using numerics::kAttentionTile;
using numerics::kPartialSums;

// Quantised weights stay as they are; all others are widened to f32.
class RefMatrix final : public Matrix {
 public:
  RefMatrix(int rows, int cols, WeightFormat format, HostMemory memory)
      : Matrix(rows, cols), format_(format), memory_(std::move(memory)) {}
  static size_t Bytes(int rows, int cols, WeightFormat format) {
    return static_cast<size_t>(rows) * (format.quantized() ? format.RowBytes(cols) : sizeof(float) * cols);
  }
  WeightFormat format() const { return format_; }  // that the elements had
  bool quantized() const { return format_.quantized(); }
  size_t bytes() const override { return Bytes(rows_, cols_, format_); }
  std::byte* row(int i) const { return memory_.data() + Bytes(1, cols_, format_) * i; }
  float* floats(int i) const { return reinterpret_cast<float*>(row(i)); }
  // Writes the numbers of a row to out[cols].
  void Widen(int i, float* out) const {
    WidenRow(quantized() ? format_ : WeightFormat(WeightFormat::kF32), row(i), cols_, out);
  }

 private:
  WeightFormat format_;
  HostMemory memory_;  // row-major
};

const RefMatrix& AsRef(const Matrix& matrix) { return static_cast<const RefMatrix&>(matrix); }

float Dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int k = 0; k < n; ++k) sum = std::fma(a[k], b[k], sum);
  return sum;
}

// Rule 8. The numbers of `a` are bf16.
float DotOfPairs(const float* a, const float* b, int n) {
  float sum = 0;
  for (int k = 0; k < n; k += 2) {
    const bool has_second = k + 1 < n;
    sum = numerics::FlushedFma(has_second ? a[k + 1] : 0.0f, has_second ? b[k + 1] : 0.0f, sum);
    sum = numerics::FlushedFma(a[k], b[k], sum);
  }
  return sum;
}

// Rule 9. `row` are the runs of a row of weights, `integers` and `scales` those of a row of x.
float DotOfRuns(const int8_t* integers, const float* scales, const QuantFormat& format,
                const std::vector<QuantRun>& row) {
  float acc = 0;
  for (const QuantRun& run : row) {
    const float scale_of_x = *scales++;
    int s[2] = {}, t[2] = {};
    for (int k = 0; k < kQuantBlock; ++k) {
      s[k / kQuantHalf] += IntegerOf(format, run.codes[k]) * integers[k];
      t[k / kQuantHalf] += integers[k];
    }
    integers += kQuantBlock;
    if (format.by_half) {
      if (format.factor_bits == 8) {
        for (int half = 0; half < 2; ++half)
          acc = std::fma(run.scale * static_cast<float>(run.factors[half]) * static_cast<float>(s[half]),
                         scale_of_x, acc);
      } else {
        const auto sum = static_cast<float>(run.factors[0] * s[0] + run.factors[1] * s[1]);
        acc = std::fma(run.scale * sum, scale_of_x, acc);
      }
      for (int half = 0; format.offset && half < 2; ++half)
        acc = std::fma(run.offset * static_cast<float>(run.offset_factors[half]),
                       scale_of_x * static_cast<float>(t[half]), acc);
      continue;
    }
    const float scale = run.scale * static_cast<float>(run.factors[0]);
    const float offset = run.offset * static_cast<float>(run.offset_factors[0]);
    acc = std::fma(scale * scale_of_x, static_cast<float>(s[0] + s[1]), acc);
    if (format.offset) acc = std::fma(offset, scale_of_x * static_cast<float>(t[0] + t[1]), acc);
  }
  return acc;
}

// Reads K and V of one sequence, layer and KV head through the block table.
class KvReader {
 public:
  KvReader(const KvPool& pool, std::span<const BlockId> blocks, int layer, int head)
      : pool_(pool), layout_(pool.layout()), blocks_(blocks), layer_(layer), head_(head) {}
  float K(int token, int d) const {
    return LoadNumber(layout_, KvPart::kK, Planes(token) + layout_.KOffset(head_), InBlock(token), d);
  }
  float V(int token, int d) const {
    return LoadNumber(layout_, KvPart::kV, Planes(token) + layout_.VOffset(head_), InBlock(token), d);
  }

 private:
  const std::byte* Planes(int token) const {
    const int index = token / layout_.block_tokens;
    if (index != index_) {
      planes_ = pool_.layer(blocks_[index], layer_);
      index_ = index;
    }
    return planes_;
  }
  int InBlock(int token) const { return token % layout_.block_tokens; }
  const KvPool& pool_;
  const KvLayout layout_;
  const std::span<const BlockId> blocks_;
  const int layer_, head_;
  mutable int index_ = -1;  // in the table, of the block that was read last
  mutable const std::byte* planes_ = nullptr;
};

// The softmax-weighted sum of V over some tokens, before the division by `sum`.
struct Partial {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  std::vector<float> out;
};

// Returns the last token of the tile or span of `size` tokens that contains `token`.
int LastOf(int token, int size) { return token / size * size + size - 1; }

// Computes the partial result of the tokens first .. last, which lie in one span.
Partial AttendSpan(const std::vector<float>& q, const KvReader& kv, int first, int last) {
  const int head_dim = static_cast<int>(q.size());
  Partial span;
  span.out.assign(q.size(), 0.0f);
  float sums[kPartialSums] = {};
  for (int begin = first; begin <= last; begin = LastOf(begin, kAttentionTile) + 1) {
    const int end = std::min(last, LastOf(begin, kAttentionTile)) + 1;
    float p[kAttentionTile];  // the entry of token t is at t mod kAttentionTile
    float max = span.max;
    for (int t = begin; t < end; ++t) {
      float& score = p[t % kAttentionTile];
      score = 0;
      for (int d = 0; d < head_dim; ++d) score = std::fma(q[d], kv.K(t, d), score);
      if (!(score <= max)) max = score;  // a NaN replaces the maximum and stays
    }
    const float correction = Exp(span.max - max);
    span.max = max;
    for (float& sum : sums) sum = sum * correction;
    for (int t = begin; t < end; ++t) {
      float& weight = p[t % kAttentionTile];
      weight = Exp(weight - max);
      sums[t % kPartialSums] = sums[t % kPartialSums] + weight;
    }
    for (int d = 0; d < head_dim; ++d) {
      float sum = span.out[d] * correction;
      for (int t = begin; t < end; ++t) sum = std::fma(p[t % kAttentionTile], kv.V(t, d), sum);
      span.out[d] = sum;
    }
  }
  span.sum = numerics::MergePartials(sums);
  return span;
}

void Fold(Partial& total, const Partial& span) {
  const float max = span.max > total.max ? span.max : total.max;
  const float a = Exp(total.max - max);
  const float b = Exp(span.max - max);
  total.max = max;
  total.sum = std::fma(span.sum, b, total.sum * a);
  for (size_t d = 0; d < total.out.size(); ++d) total.out[d] = std::fma(span.out[d], b, total.out[d] * a);
}

// Computes one head of one row over the tokens first .. position.
void AttendRow(const float* q, int head_dim, float scale, const KvReader& kv, int first, int position,
               float* out) {
  std::vector<float> scaled(q, q + head_dim);
  for (float& value : scaled) value = value * scale;
  const auto last_of_span = [&](int token) { return std::min(position, LastOf(token, kAttentionSpan)); };
  Partial total = AttendSpan(scaled, kv, first, last_of_span(first));
  for (int token = LastOf(first, kAttentionSpan) + 1; token <= position; token += kAttentionSpan) {
    Fold(total, AttendSpan(scaled, kv, token, last_of_span(token)));
  }
  const float inverse = 1.0f / total.sum;
  for (int d = 0; d < head_dim; ++d) out[d] = total.out[d] * inverse;
}

class RefOperations final : public Operations {
 public:
  explicit RefOperations(numerics::Version version) : version_(version) {}
  std::string_view name() const override { return "ref"; }
  int threads() const override { return 1; }
  numerics::Version version() const override { return version_; }

  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override;
  void UploadRows(Matrix& to, int first_row, const MatrixSource& from) override;
  Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) override;
  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    return RefMatrix::Bytes(rows, cols, format);
  }

  // It allocates as it goes: it is for tests.
  size_t ScratchBytes(const ModelShape&, const StepLimits&) const override { return 0; }
  Status Reserve(const ModelShape&, const StepLimits&) override { return Status::Ok(); }
  void BeginStep(const BatchView& batch) override {
    CheckBatch(batch);
    batch_ = batch;
  }
  void Embed(const Matrix& table, float* out) override;
  void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) override;
  void Multiply(const Matrix& w, const float* x, int rows, float* y, int stride, GemmOutput output) override;
  void AddBias(const float* bias, int rows, int width, float* x) override;
  void HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight, float eps) override;
  void Rope(float* x, int stride, int heads, int head_dim, const float* table) override;
  void StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) override;
  void Attention(const float* q, int stride, const AttentionParams& params, int layer, const KvPool& pool,
                 float* out) override;
  void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) override;
  void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) override;
  Status ReadRows(std::span<LogitRow> rows, const float* logits, int vocab) override;

 private:
  // Calls fn(row, sequence, position) for every row of the batch.
  template <typename Fn>
  void ForEachRow(Fn fn) const {
    for (const SequenceSpan& sequence : batch_.sequences) {
      for (int i = 0; i < sequence.rows; ++i) fn(sequence.first_row + i, sequence, sequence.position + i);
    }
  }
  void GemmOfPairs(const RefMatrix& w, const float* x, int rows, float* y, int stride, GemmOutput output);
  void GemmOfRuns(const RefMatrix& w, const float* x, int rows, float* y, int stride, GemmOutput output);

  const numerics::Version version_;
  BatchView batch_;
};

Result<std::unique_ptr<Matrix>> RefOperations::AllocateMatrix(int rows, int cols, WeightFormat format) {
  CheckMatrixShape(rows, cols, format);
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, HostMemory::Allocate(PackedBytes(rows, cols, format)));
  return std::unique_ptr<Matrix>(std::make_unique<RefMatrix>(rows, cols, format, std::move(memory)));
}

void RefOperations::UploadRows(Matrix& to, int first_row, const MatrixSource& from) {
  CheckUploadRows(to, first_row, from);
  const RefMatrix& matrix = AsRef(to);
  PREFIXD_CHECK(from.format == matrix.format()) << from.format.name() << " into " << matrix.format().name();
  const size_t row_bytes = from.format.RowBytes(from.cols);
  for (int r = 0; r < from.rows; ++r) {
    const std::byte* const row = static_cast<const std::byte*>(from.data) + row_bytes * r;
    if (matrix.quantized())
      std::memcpy(matrix.row(first_row + r), row, row_bytes);
    else
      WidenRow(from.format, row, from.cols, matrix.floats(first_row + r));
  }
}

Result<std::unique_ptr<Matrix>> RefOperations::MakeDummy(const DummyMatrix& dummy) {
  CheckDummy(dummy);
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           AllocateMatrix(dummy.rows, dummy.cols, dummy.format));
  for (int row = 0; row < dummy.rows; ++row) {
    const std::vector<std::byte> bytes = DummyRows(dummy, row, 1);
    UploadRows(*matrix, row, {bytes.data(), dummy.format, 1, dummy.cols});
  }
  return matrix;
}

void RefOperations::Embed(const Matrix& table, float* out) {
  PREFIXD_CHECK(batch_.rows() == 0 || out != nullptr) << batch_.rows() << " rows";
  for (int r = 0; r < batch_.rows(); ++r) {
    const TokenId token = batch_.tokens[r];
    PREFIXD_CHECK(token >= 0 && token < table.rows()) << "token " << token << " of " << table.rows();
    AsRef(table).Widen(token, out + static_cast<size_t>(r) * table.cols());
  }
}

void RefOperations::RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) {
  CheckRows(x, rows, dim, out);
  PREFIXD_CHECK(weight != nullptr);
  for (int r = 0; r < rows; ++r, x += dim, out += dim) {
    float sums[kPartialSums] = {};
    for (int i = 0; i < dim; ++i) sums[i % kPartialSums] = std::fma(x[i], x[i], sums[i % kPartialSums]);
    const float mean = numerics::MergePartials(sums) / static_cast<float>(dim);
    const float scale = 1.0f / std::sqrt(mean + eps);
    for (int i = 0; i < dim; ++i) out[i] = (x[i] * scale) * weight[i];
  }
}

void RefOperations::Multiply(const Matrix& w, const float* x, int rows, float* y, int stride,
                             GemmOutput output) {
  if (AsRef(w).quantized() && version_ == numerics::Version::kCpu4)
    return GemmOfRuns(AsRef(w), x, rows, y, stride, output);
  if (AsRef(w).format() == DType::kBF16 && version_ == numerics::Version::kCpu4)
    return GemmOfPairs(AsRef(w), x, rows, y, stride, output);
  std::vector<float> widened(static_cast<size_t>(w.cols()));
  for (int n = 0; n < w.rows(); ++n) {
    AsRef(w).Widen(n, widened.data());
    for (int r = 0; r < rows; ++r) {
      const float dot = Dot(x + static_cast<size_t>(r) * w.cols(), widened.data(), w.cols());
      float& to = y[static_cast<size_t>(r) * stride + n];
      to = output == GemmOutput::kAccumulate ? to + dot : dot;
    }
  }
}

void RefOperations::GemmOfPairs(const RefMatrix& w, const float* x, int rows, float* y, int stride,
                                GemmOutput output) {
  std::vector<float> rounded(static_cast<size_t>(w.cols()));
  for (int r = 0; r < rows; ++r, x += w.cols(), y += stride) {
    for (size_t k = 0; k < rounded.size(); ++k) rounded[k] = numerics::F32FromBF16(numerics::F32ToBF16(x[k]));
    for (int n = 0; n < w.rows(); ++n) {
      const float dot = DotOfPairs(rounded.data(), w.floats(n), w.cols());
      y[n] = output == GemmOutput::kAccumulate ? numerics::FlushedFma(dot, 1.0f, y[n]) : dot;
    }
  }
}

void RefOperations::GemmOfRuns(const RefMatrix& w, const float* x, int rows, float* y, int stride,
                               GemmOutput output) {
  const size_t cols = static_cast<size_t>(w.cols()), count = cols / kQuantBlock;
  std::vector<int8_t> integers(static_cast<size_t>(rows) * cols);
  std::vector<float> scales(static_cast<size_t>(rows) * count);
  for (size_t b = 0; b < scales.size(); ++b)
    scales[b] = numerics::QuantizeBlock(x + b * kQuantBlock, kQuantBlock, &integers[b * kQuantBlock]);
  const QuantFormat format = QuantFormatOf(w.format());
  const size_t of_block = static_cast<size_t>(format.runs());
  std::vector<QuantRun> row(count);
  for (int n = 0; n < w.rows(); ++n) {
    for (size_t b = 0; b < count; ++b) {
      const std::byte* const block = w.row(n) + b / of_block * w.format().block_bytes();
      row[b] = ReadRun(w.format(), block, static_cast<int>(b % of_block));
    }
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      const float dot = DotOfRuns(&integers[r * cols], &scales[r * count], format, row);
      float& to = y[r * static_cast<size_t>(stride) + static_cast<size_t>(n)];
      to = output == GemmOutput::kAccumulate ? to + dot : dot;
    }
  }
}

void RefOperations::AddBias(const float* bias, int rows, int width, float* x) {
  CheckRows(x, rows, width, x);
  PREFIXD_CHECK(bias != nullptr);
  for (int r = 0; r < rows; ++r, x += width) {
    for (int i = 0; i < width; ++i) x[i] = x[i] + bias[i];
  }
}

void RefOperations::HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight,
                                float eps) {
  CheckHeads(x, batch_.rows(), stride, heads, head_dim);
  for (int r = 0; r < batch_.rows(); ++r, x += stride) RmsNorm(x, weight, eps, heads, head_dim, x);
}

void RefOperations::Rope(float* x, int stride, int heads, int head_dim, const float* table) {
  CheckHeads(x, batch_.rows(), stride, heads, head_dim);
  PREFIXD_CHECK(table != nullptr && head_dim % 2 == 0) << "head_dim " << head_dim;
  const int half = head_dim / 2;
  ForEachRow([&](int row, const SequenceSpan&, int position) {
    const float* cosines = table + static_cast<size_t>(position) * head_dim;
    const float* sines = cosines + half;
    for (int h = 0; h < heads; ++h) {
      float* head = x + static_cast<size_t>(row) * stride + h * head_dim;
      for (int i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = std::fma(a, cosines[i], -(b * sines[i]));
        head[i + half] = std::fma(b, cosines[i], a * sines[i]);
      }
    }
  });
}

void RefOperations::StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) {
  const KvLayout& layout = pool.layout();
  CheckLayer(layer, layout);
  CheckHeads(k, batch_.rows(), stride, layout.kv_heads, layout.head_dim);
  CheckHeads(v, batch_.rows(), stride, layout.kv_heads, layout.head_dim);
  ForEachRow([&](int row, const SequenceSpan& sequence, int position) {
    std::byte* const planes = pool.layer(BlockIdAt(sequence, position, pool), layer);
    const int token = position % layout.block_tokens;
    for (int h = 0; h < layout.kv_heads; ++h) {
      const size_t from = static_cast<size_t>(row) * stride + static_cast<size_t>(h) * layout.head_dim;
      StoreHead(layout, KvPart::kK, token, k + from, planes + layout.KOffset(h));
      StoreHead(layout, KvPart::kV, token, v + from, planes + layout.VOffset(h));
    }
  });
}

void RefOperations::Attention(const float* q, int stride, const AttentionParams& params, int layer,
                              const KvPool& pool, float* out) {
  const KvLayout& layout = pool.layout();
  CheckAttention(params, layout);
  CheckLayer(layer, layout);
  CheckHeads(q, batch_.rows(), stride, params.heads, layout.head_dim);
  PREFIXD_CHECK(batch_.rows() == 0 || out != nullptr) << batch_.rows() << " rows";
  const int group = params.heads / layout.kv_heads;
  ForEachRow([&](int row, const SequenceSpan& sequence, int position) {
    BlockIdAt(sequence, position, pool);  // checks the block table
    const int first = numerics::WindowStart(position, params.window);
    for (int h = 0; h < params.heads; ++h) {
      const KvReader kv(pool, sequence.blocks, layer, h / group);
      const float* from = q + static_cast<size_t>(row) * stride + h * layout.head_dim;
      float* to = out + (static_cast<size_t>(row) * params.heads + h) * layout.head_dim;
      AttendRow(from, layout.head_dim, params.scale, kv, first, position, to);
    }
  });
}

float Activate(Activation activation, float gate) {
  switch (activation) {
    case Activation::kSilu:
      return numerics::Silu(gate);
    case Activation::kGeluTanh:
      return numerics::GeluTanh(gate);
    case Activation::kRelu:
      break;
  }
  return numerics::Relu(gate);
}

void RefOperations::GatedActivation(Activation activation, const float* x, int rows, int width, float* out) {
  CheckRows(x, rows, width, out);
  for (int r = 0; r < rows; ++r, x += 2 * width, out += width) {
    for (int i = 0; i < width; ++i) out[i] = Activate(activation, x[i]) * x[width + i];
  }
}

void RefOperations::GatherRows(const float* x, std::span<const int> indices, int dim, float* out) {
  CheckRows(x, static_cast<int>(indices.size()), dim, out);
  for (const int index : indices) {
    PREFIXD_CHECK(index >= 0) << index;
    std::copy_n(x + static_cast<size_t>(index) * dim, dim, out);
    out += dim;
  }
}

Status RefOperations::ReadRows(std::span<LogitRow> rows, const float* logits, int vocab) {
  CheckRows(logits, static_cast<int>(rows.size()), vocab, logits);
  DrawScratch scratch;
  PREFIXD_RETURN_IF_ERROR(scratch.Reserve(vocab));
  for (LogitRow& row : rows) {
    PREFIXD_RETURN_IF_ERROR(ReadLogits(row, {logits, static_cast<size_t>(vocab)}, scratch));
    logits += vocab;
  }
  return Status::Ok();
}

}  // namespace

std::unique_ptr<Operations> CreateRefOperations(numerics::Version version) {
  return std::make_unique<RefOperations>(version);
}

}  // namespace prefixd
