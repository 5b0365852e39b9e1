#include "kernels/cpu/cpu_operations.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/check_arguments.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/panel_split.h"
#include "kernels/cpu/quant_matrix.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/widened_panels.h"
#include "kernels/host_memory.h"
#include "kernels/numerics.h"
#include "kernels/quantize.h"

namespace prefixd {
namespace {

using cpu::DivideUp;
using cpu::kUnitsPerThread;

// With fewer elements than this, waking the pool's threads costs more than it saves.
constexpr int64_t kMinParallelElements = 16384;

class CpuOperations final : public Operations {
 public:
  CpuOperations(std::string_view name, const cpu::Ops& ops, const cpu::QuantOps& quant_ops, int threads,
                numerics::Version version)
      : name_(name),
        ops_(ops),
        quant_ops_(quant_ops),
        version_(version),
        pool_(threads),
        attention_(ops, pool_),
        widened_(ops, threads),
        draw_scratch_(static_cast<size_t>(threads)) {
    for (DrawScratch& scratch : draw_scratch_) scratch = DrawScratch(ops.sampling);
  }

  std::string_view name() const override { return name_; }
  int threads() const override { return pool_.threads(); }
  numerics::Version version() const override { return version_; }

  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    if (format.quantized()) return QuantMatrix::Allocate(rows, cols, format, matrices_);
    return PackedMatrix::Allocate(rows, cols, format.dtype(), ops_.panel, matrices_);
  }
  void UploadRows(Matrix& to, int first_row, const MatrixSource& from) override {
    static_cast<CpuMatrix&>(to).WriteRows(first_row, from);
  }
  Result<std::unique_ptr<Matrix>> MakeDummy(const DummyMatrix& dummy) override;
  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    if (format.quantized()) return QuantMatrix::Bytes(rows, cols, format);
    return PackedMatrix::Bytes(rows, cols, format.dtype(), ops_.panel);
  }

  size_t ScratchBytes(const ModelShape& shape, const StepLimits& limits) const override;
  Status Reserve(const ModelShape& shape, const StepLimits& limits) override;
  void BeginStep(const BatchView& batch) override;
  void Embed(const Matrix& table, float* out) override;
  void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) override;
  void Multiply(const Matrix& w, const float* x, int rows, float* y, int stride, GemmOutput output) override;
  void AddBias(const float* bias, int rows, int width, float* x) override;
  void HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight, float eps) override;
  void Rope(float* x, int stride, int heads, int head_dim, const float* table) override;
  void StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) override;
  void Attention(const float* q, int stride, const AttentionParams& params, int layer, const KvPool& pool,
                 float* out) override {
    if (!reserved_) ReserveAttention(params, pool.layout());
    attention_.Run({params, q, stride, layer, &pool, out});
  }
  AttentionReads attention_reads() const override { return attention_.reads(); }
  void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) override;
  void GatherRows(const float* x, std::span<const int> indices, int dim, float* out) override;
  Status ReadRows(std::span<LogitRow> rows, const float* logits, int vocab) override;

 private:
  bool Widens() const { return version_ == numerics::Version::kCpu1; }  // quantised weights
  void QuantGemm(const QuantMatrix& matrix, const float* x, int rows, float* y, int stride,
                 GemmOutput output);
  const std::byte* PackQuantRows(WeightFormat format, const float* x, int rows, int blocks);
  // Calls gemm(first_panel, end_panel, first_block, end_block, thread) for parts of a product, on all
  // threads.
  template <typename Fn>
  void RunPanels(int panels, int together, size_t panel_bytes, int blocks, const Fn& gemm) {
    const auto [panels_at_once, blocks_at_once] =
        cpu::SplitPanels(panels, together, panel_bytes, blocks, threads());
    const int columns = DivideUp(panels, panels_at_once);
    pool_.Run(columns * DivideUp(blocks, blocks_at_once), [&](int unit, int thread) {
      const int panel = unit % columns * panels_at_once;
      const int block = unit / columns * blocks_at_once;
      gemm(panel, std::min(panel + panels_at_once, panels), block, std::min(block + blocks_at_once, blocks),
           thread);
    });
  }
  // Calls fn(first, count) for ranges that cover the rows 0 .. rows-1. `width` is the elements of one row.
  template <typename Fn>
  void ForRows(int rows, int64_t width, const Fn& fn) {
    if (rows * width < kMinParallelElements) return fn(0, rows);
    const int at_once = std::max(1, rows / (threads() * kUnitsPerThread));
    pool_.Run(DivideUp(rows, at_once),
              [&](int unit, int) { fn(unit * at_once, std::min(at_once, rows - unit * at_once)); });
  }
  // Makes room for the attention of this batch, where nothing was reserved for a model.
  void ReserveAttention(const AttentionParams& params, const KvLayout& layout);
  Status ReserveDraws(int vocab);
  // Returns x[rows][terms] in the packed form of GemmJob::x, whose rows have `width` floats, valid until the
  // next call.
  const float* PackRows(cpu::Chain chain, const float* x, int rows, int block_rows, int terms, int width);
  // Stores all KV heads of one row as token `token` of a layer of a block, whose planes these are.
  void StoreRow(const float* k, const float* v, const KvLayout& layout, std::byte* planes,
                size_t token) const;
  void StoreQuantRow(const float* k, const float* v, const KvLayout& layout, std::byte* planes,
                     size_t token) const;

  std::string_view name_;
  const cpu::Ops& ops_;
  const cpu::QuantOps& quant_ops_;
  const numerics::Version version_;
  HostArena matrices_;
  ThreadPool pool_;
  CpuAttention attention_;
  AttentionLimits attention_limits_;
  bool reserved_ = false;  // for the steps of a model
  Scratch packed_rows_;
  WidenedPanels widened_;
  std::vector<DrawScratch> draw_scratch_;  // [threads]

  BatchView batch_;
  std::vector<const SequenceSpan*> sequence_of_row_;
  std::vector<int> position_of_row_;
};

AttentionLimits LimitsOfAttention(const ModelShape& shape, const StepLimits& limits) {
  return {.heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim,
          .max_rows = limits.max_rows,
          .context = limits.context};
}

// Of the widest matrix product.
int MostTerms(const ModelShape& shape) {
  return std::max({shape.hidden, shape.QueryWidth(), shape.intermediate});
}
size_t PackedFloats(const ModelShape& shape, const StepLimits& limits) {
  return PackedRowsFloats(std::max(limits.max_rows, limits.max_logit_rows), MostTerms(shape));
}

size_t CpuOperations::ScratchBytes(const ModelShape& shape, const StepLimits& limits) const {
  return CpuAttention::ScratchBytes(ops_, threads(), LimitsOfAttention(shape, limits)) +
         PackedFloats(shape, limits) * sizeof(float) + (Widens() ? widened_.Bytes(MostTerms(shape)) : 0) +
         static_cast<size_t>(threads()) * DrawScratch::Bytes(shape.vocab);
}

Status CpuOperations::Reserve(const ModelShape& shape, const StepLimits& limits) {
  PREFIXD_RETURN_IF_ERROR(attention_.Reserve(LimitsOfAttention(shape, limits)));
  PREFIXD_RETURN_IF_ERROR(packed_rows_.Reserve(PackedFloats(shape, limits)));
  if (Widens()) PREFIXD_RETURN_IF_ERROR(widened_.Reserve(MostTerms(shape)));
  PREFIXD_RETURN_IF_ERROR(ReserveDraws(shape.vocab));
  reserved_ = true;
  return Status::Ok();
}

Status CpuOperations::ReserveDraws(int vocab) {
  for (DrawScratch& scratch : draw_scratch_) PREFIXD_RETURN_IF_ERROR(scratch.Reserve(vocab));
  return Status::Ok();
}

Result<std::unique_ptr<Matrix>> CpuOperations::MakeDummy(const DummyMatrix& dummy) {
  CheckDummy(dummy);
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix,
                           AllocateMatrix(dummy.rows, dummy.cols, dummy.format));
  constexpr int kAtOnce = 32;  // rows; a multiple of every panel, so that threads share none
  pool_.Run(DivideUp(dummy.rows, kAtOnce), [&](int unit, int) {
    const int first = unit * kAtOnce, rows = std::min(kAtOnce, dummy.rows - first);
    const std::vector<std::byte> bytes = DummyRows(dummy, first, rows);
    UploadRows(*matrix, first, {bytes.data(), dummy.format, rows, dummy.cols});
  });
  return matrix;
}

void CpuOperations::BeginStep(const BatchView& batch) {
  CheckBatch(batch);
  batch_ = batch;
  attention_.BeginStep(batch);
  sequence_of_row_.clear();
  position_of_row_.clear();
  for (const SequenceSpan& sequence : batch.sequences) {
    for (int i = 0; i < sequence.rows; ++i) {
      sequence_of_row_.push_back(&sequence);
      position_of_row_.push_back(sequence.position + i);
    }
  }
}

void CpuOperations::Embed(const Matrix& table, float* out) {
  PREFIXD_CHECK(batch_.rows() == 0 || out != nullptr) << batch_.rows() << " rows";
  const auto& matrix = static_cast<const CpuMatrix&>(table);
  ForRows(batch_.rows(), matrix.cols(), [&](int first, int count) {
    for (int r = first; r < first + count; ++r) {
      const TokenId token = batch_.tokens[r];
      PREFIXD_CHECK(token >= 0 && token < matrix.rows()) << "token " << token << " of " << matrix.rows();
      matrix.ReadRow(token, out + static_cast<size_t>(r) * matrix.cols());
    }
  });
}

void CpuOperations::RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) {
  CheckRows(x, rows, dim, out);
  PREFIXD_CHECK(weight != nullptr);
  ForRows(rows, dim, [&](int first, int count) {
    const size_t skip = static_cast<size_t>(first) * dim;
    ops_.rms_norm(x + skip, weight, eps, count, dim, out + skip);
  });
}

void CpuOperations::ReserveAttention(const AttentionParams& params, const KvLayout& layout) {
  CheckAttention(params, layout);
  unsigned rows = 1, context = 1;
  for (const SequenceSpan& sequence : batch_.sequences) {
    rows += static_cast<unsigned>(sequence.rows);
    context = std::max(context, static_cast<unsigned>(sequence.position + sequence.rows));
  }
  // Powers of two, so that a sequence that grows does not allocate in every step.
  const AttentionLimits limits = {
      .heads = params.heads,
      .kv_heads = layout.kv_heads,
      .head_dim = layout.head_dim,
      .max_rows = std::max(static_cast<int>(std::bit_ceil(rows)), attention_limits_.max_rows),
      .context = std::max(static_cast<int>(std::bit_ceil(context)), attention_limits_.context)};
  if (limits == attention_limits_) return;
  const Status reserved = attention_.Reserve(limits);
  PREFIXD_CHECK(reserved.ok()) << reserved.ToString();
  attention_limits_ = limits;
}

const float* CpuOperations::PackRows(cpu::Chain chain, const float* x, int rows, int block_rows, int terms,
                                     int width) {
  if (rows == 1 && chain == cpu::Chain::kTerms) return x;
  if (!reserved_) {
    const Status reserved = packed_rows_.Reserve(PackedRowsFloats(rows, terms));
    PREFIXD_CHECK(reserved.ok()) << reserved.ToString();
  }
  float* packed = packed_rows_.Floats(PackedRowsFloats(rows, terms));
  const auto pack = [&](int block, int) {
    const size_t first = static_cast<size_t>(block) * block_rows;
    ops_.pack_rows(chain, x + first * terms, std::min(block_rows, rows - block * block_rows), terms,
                   packed + first * width);
  };
  pool_.Run(DivideUp(rows, block_rows), pack);
  return packed;
}

void CpuOperations::Multiply(const Matrix& w, const float* x, int rows, float* y, int stride,
                             GemmOutput output) {
  if (rows == 0) return;
  const WeightFormat format = static_cast<const CpuMatrix&>(w).format();
  if (format.quantized() && !Widens())
    return QuantGemm(static_cast<const QuantMatrix&>(w), x, rows, y, stride, output);
  const bool pairs = format == DType::kBF16 && version_ == numerics::Version::kCpu4;
  const cpu::Chain chain = pairs ? cpu::Chain::kPairs : cpu::Chain::kTerms;
  const int terms = w.cols();
  const int width = pairs ? terms + terms % 2 : terms;
  // Blocks of about the same height: a low tile has too few sums to hide the latency of its products.
  const int blocks = DivideUp(rows, ops_.tile_rows);
  const int block_rows = DivideUp(rows, blocks);
  cpu::GemmJob job = {.weights = nullptr,
                      .dtype = format.quantized() ? DType::kF32 : format.dtype(),
                      .outputs = w.rows(),
                      .terms = width,
                      .x = PackRows(chain, x, rows, block_rows, terms, width),
                      .rows = rows,
                      .block_rows = block_rows,
                      .y = y,
                      .stride = stride,
                      .accumulate = output == GemmOutput::kAccumulate,
                      .chain = chain};
  if (format.quantized()) {
    const auto& matrix = static_cast<const QuantMatrix&>(w);
    if (!reserved_) {
      const Status reserved = widened_.Reserve(terms);
      PREFIXD_CHECK(reserved.ok()) << reserved.ToString();
    }
    return RunPanels(DivideUp(w.rows(), ops_.panel), 1, widened_.PanelBytes(terms), blocks,
                     [&](int panel, int end_panel, int block, int end_block, int thread) {
                       widened_.Gemm(matrix, job, panel, end_panel, block, end_block, thread);
                     });
  }
  const auto& matrix = static_cast<const PackedMatrix&>(w);
  job.weights = matrix.data();
  job.compressed = matrix.compressed();
  RunPanels(matrix.panels(), 1, matrix.PanelBytes(), blocks,
            [&](int panel, int end_panel, int block, int end_block, int /*thread*/) {
              ops_.gemm(job, panel, end_panel, block, end_block);
            });
}

const std::byte* CpuOperations::PackQuantRows(WeightFormat format, const float* x, int rows, int blocks) {
  // A packed row is shorter than the row.
  const size_t bytes = static_cast<size_t>(blocks) * quant_ops_.row_block_bytes(format.kind(), rows);
  const size_t floats = static_cast<size_t>(rows) * bytes / sizeof(float);
  if (!reserved_) {
    const Status reserved = packed_rows_.Reserve(floats);
    PREFIXD_CHECK(reserved.ok()) << reserved.ToString();
  }
  auto* const packed = reinterpret_cast<std::byte*>(packed_rows_.Floats(floats));
  const int tile = quant_ops_.tile_rows;
  pool_.Run(DivideUp(rows, tile), [&](int group, int) {
    const size_t first = static_cast<size_t>(group) * static_cast<size_t>(tile);
    quant_ops_.pack_rows(format.kind(), x + first * static_cast<size_t>(blocks) * kQuantBlock,
                         std::min(tile, rows - group * tile), rows, blocks, packed + first * bytes);
  });
  return packed;
}

void CpuOperations::QuantGemm(const QuantMatrix& matrix, const float* x, int rows, float* y, int stride,
                              GemmOutput output) {
  const cpu::QuantJob job = {.weights = matrix.data(),
                             .panel_bytes = matrix.PanelBytes(),
                             .kind = matrix.format().kind(),
                             .outputs = matrix.rows(),
                             .blocks = matrix.blocks(),
                             .x = PackQuantRows(matrix.format(), x, rows, matrix.blocks()),
                             .rows = rows,
                             .y = y,
                             .stride = stride,
                             .accumulate = output == GemmOutput::kAccumulate};
  RunPanels(matrix.panels(), quant_ops_.panels_together, matrix.PanelBytes(),
            DivideUp(rows, quant_ops_.tile_rows),
            [&](int panel, int end_panel, int group, int end_group, int /*thread*/) {
              quant_ops_.gemm(job, panel, end_panel, group, end_group);
            });
}

void CpuOperations::AddBias(const float* bias, int rows, int width, float* x) {
  CheckRows(x, rows, width, x);
  PREFIXD_CHECK(bias != nullptr);
  ForRows(rows, width, [&](int first, int count) {
    ops_.add_bias(bias, count, width, x + static_cast<size_t>(first) * width);
  });
}

void CpuOperations::HeadRmsNorm(float* x, int stride, int heads, int head_dim, const float* weight,
                                float eps) {
  CheckHeads(x, batch_.rows(), stride, heads, head_dim);
  PREFIXD_CHECK(weight != nullptr);
  ForRows(batch_.rows(), int64_t{heads} * head_dim, [&](int first, int count) {
    for (int r = first; r < first + count; ++r) {
      float* row = x + static_cast<size_t>(r) * stride;
      ops_.rms_norm(row, weight, eps, heads, head_dim, row);
    }
  });
}

void CpuOperations::Rope(float* x, int stride, int heads, int head_dim, const float* table) {
  CheckHeads(x, batch_.rows(), stride, heads, head_dim);
  PREFIXD_CHECK(table != nullptr && head_dim % 2 == 0) << "head_dim " << head_dim;
  ForRows(batch_.rows(), int64_t{heads} * head_dim, [&](int first, int count) {
    for (int r = first; r < first + count; ++r) {
      ops_.rope(x + static_cast<size_t>(r) * stride, heads, head_dim,
                table + static_cast<size_t>(position_of_row_[r]) * head_dim);
    }
  });
}

void CpuOperations::StoreRow(const float* k, const float* v, const KvLayout& layout, std::byte* planes,
                             size_t token) const {
  if (layout.type.quantized()) return StoreQuantRow(k, v, layout, planes, token);
  const DType dtype = layout.type.dtype();
  const size_t width = DTypeBytes(dtype);
  alignas(64) std::byte rounded[16 * sizeof(float)];
  for (int h = 0; h < layout.kv_heads; ++h, k += layout.head_dim, v += layout.head_dim) {
    std::byte* keys = planes + layout.KOffset(h) + token * width;
    std::byte* values = planes + layout.VOffset(h) + token * layout.head_dim * width;
    for (int d = 0; d < layout.head_dim; d += 16) {
      const int n = std::min(16, layout.head_dim - d);
      ops_.narrow(k + d, n, dtype, rounded);
      for (int i = 0; i < n; ++i) {
        std::byte* to = keys + static_cast<size_t>(d + i) * layout.block_tokens * width;
        width == 2 ? std::memcpy(to, rounded + i * 2, 2) : std::memcpy(to, rounded + i * 4, 4);
      }
      ops_.narrow(v + d, n, dtype, rounded);
      std::memcpy(values + d * width, rounded, n * width);
    }
  }
}

void CpuOperations::StoreQuantRow(const float* k, const float* v, const KvLayout& layout, std::byte* planes,
                                  size_t token) const {
  const size_t dims = static_cast<size_t>(layout.head_dim), tokens = static_cast<size_t>(layout.block_tokens);
  for (int h = 0; h < layout.kv_heads; ++h, k += dims, v += dims) {
    std::byte* keys = planes + layout.KOffset(h);
    std::byte* values = planes + layout.VOffset(h);
    for (size_t d = 0; d < dims; d += kQuantBlock) {
      int8_t integers[kQuantBlock];
      uint16_t scale = ops_.quantize_block(k + d, integers);
      for (size_t i = 0; i < kQuantBlock; ++i)
        keys[(d + i) * tokens + token] = static_cast<std::byte>(integers[i]);
      std::memcpy(keys + layout.ScalesOffset() + (d / kQuantBlock * tokens + token) * 2, &scale, 2);
      scale = ops_.quantize_block(v + d, integers);
      std::memcpy(values + token * dims + d, integers, kQuantBlock);
      std::memcpy(values + layout.ScalesOffset() + (token * dims + d) / kQuantBlock * 2, &scale, 2);
    }
  }
}

void CpuOperations::StoreKv(const float* k, const float* v, int stride, int layer, KvPool& pool) {
  const KvLayout& layout = pool.layout();
  CheckLayer(layer, layout);
  CheckHeads(k, batch_.rows(), stride, layout.kv_heads, layout.head_dim);
  CheckHeads(v, batch_.rows(), stride, layout.kv_heads, layout.head_dim);
  ForRows(batch_.rows(), int64_t{layout.kv_heads} * layout.head_dim * 2, [&](int first, int count) {
    for (int r = first; r < first + count; ++r) {
      const int position = position_of_row_[r];
      std::byte* const planes = pool.layer(BlockIdAt(*sequence_of_row_[r], position, pool), layer);
      const size_t skip = static_cast<size_t>(r) * stride;
      StoreRow(k + skip, v + skip, layout, planes, position % layout.block_tokens);
    }
  });
}

void CpuOperations::GatedActivation(Activation activation, const float* x, int rows, int width, float* out) {
  CheckRows(x, rows, width, out);
  ForRows(rows, int64_t{width} * 4, [&](int first, int count) {
    ops_.gated_activation(activation, x + static_cast<size_t>(first) * 2 * width, count, width,
                          out + static_cast<size_t>(first) * width);
  });
}

void CpuOperations::GatherRows(const float* x, std::span<const int> indices, int dim, float* out) {
  CheckRows(x, static_cast<int>(indices.size()), dim, out);
  for (size_t i = 0; i < indices.size(); ++i) {
    PREFIXD_CHECK(indices[i] >= 0) << indices[i];
    std::copy_n(x + static_cast<size_t>(indices[i]) * dim, dim, out + i * dim);
  }
}

Status CpuOperations::ReadRows(std::span<LogitRow> rows, const float* logits, int vocab) {
  CheckRows(logits, static_cast<int>(rows.size()), vocab, logits);
  if (!reserved_) PREFIXD_RETURN_IF_ERROR(ReserveDraws(vocab));
  std::vector<Status> errors(static_cast<size_t>(threads()));
  const size_t width = static_cast<size_t>(vocab);
  const auto read = [&](int row, int worker) {
    const size_t i = static_cast<size_t>(row);
    const size_t w = static_cast<size_t>(worker);
    const Status status = ReadLogits(rows[i], {logits + i * width, width}, draw_scratch_[w]);
    if (!status.ok()) errors[w] = status;
  };
  const int count = static_cast<int>(rows.size());
  if (int64_t{count} * vocab >= kMinParallelElements) {
    pool_.Run(count, read);
  } else {
    for (int row = 0; row < count; ++row) read(row, 0);
  }
  for (const Status& error : errors) PREFIXD_RETURN_IF_ERROR(error);
  return Status::Ok();
}

}  // namespace

std::unique_ptr<Operations> CreateCpuOperations(std::string_view name, const cpu::Ops& ops,
                                                const cpu::QuantOps& quant_ops, int threads,
                                                numerics::Version version) {
  return std::make_unique<CpuOperations>(name, ops, quant_ops, threads, version);
}

}  // namespace prefixd
