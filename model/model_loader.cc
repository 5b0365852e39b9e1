#include "model/model_loader.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/fingerprint.h"
#include "kernels/dummy_weights.h"
#include "kernels/finite.h"
#include "kernels/numerics.h"
#include "kernels/quantize.h"
#include "model/rope.h"
#include "model/weight_places.h"
#include "model/weight_reader.h"
#include "model/weights.h"

namespace prefixd {
namespace {

// Counts the bytes done, out of all there are to do.
class Meter {
 public:
  Meter(const LoadProgress& progress, size_t total)
      : progress_(progress), total_(std::max<size_t>(total, 1)) {}
  void Add(size_t bytes) {
    done_ += bytes;
    if (progress_) progress_(std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)));
  }
  void Finish() { Add(total_); }  // what is not counted apart is done, too

 private:
  const LoadProgress& progress_;
  size_t total_, done_ = 0;
};

// Of a tensor that are read at a time: few enough to stay in a CPU cache while they are hashed, checked and
// packed.
constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kPieceRows = 32;  // a multiple of them, so that threads share no panel of a CPU backend

const TensorView& Get(const WeightFiles& files, std::string_view name) {
  const TensorView* tensor = files.Find(name);
  PREFIXD_CHECK(tensor != nullptr) << "CheckWeights lets no model pass without " << name;
  return *tensor;
}

float Element(const std::byte* elements, DType dtype, size_t i) {
  const std::byte* at = elements + i * DTypeBytes(dtype);
  switch (dtype) {
    case DType::kF32:
      return GetLittle<float>(at);
    case DType::kF16:
      return numerics::F32FromF16(GetLittle<uint16_t>(at));
    case DType::kBF16:
      break;
  }
  return numerics::F32FromBF16(GetLittle<uint16_t>(at));
}

// The format of a matrix whose tensors have the type `dtype`.
WeightFormat FormatOf(DType dtype, int cols, Quantization quantize) {
  return quantize && quantize->Fits(cols) ? *quantize : WeightFormat(dtype);
}

// Neighbouring tensors of one place with the same format, which one matrix has.
struct Run {
  std::span<const std::string> tensors;
  WeightFormat format;
};
// `format_of` returns the format of a tensor.
template <typename FormatOfTensor>
std::vector<Run> RunsOf(const MatrixPlace& place, const FormatOfTensor& format_of) {
  std::vector<Run> runs;
  const std::span<const std::string> all = place.tensors;
  for (size_t i = 0, first = 0; i < all.size(); ++i) {
    const WeightFormat format = format_of(all[i]);
    if (runs.empty() || format != runs.back().format) {
      first = i;
      runs.push_back({{}, format});
    }
    runs.back().tensors = all.subspan(first, i + 1 - first);
  }
  return runs;
}

ModelWeights EmptyWeights(const ModelConfig& config) {
  ModelWeights weights;
  weights.layers.resize(static_cast<size_t>(config.layers));
  return weights;
}

Status CheckContext(const ModelConfig& config, int context) {
  if (context < 1) return InvalidArgument("context must be at least 1");
  if (context > config.max_positions) {
    return InvalidArgument("context of " + std::to_string(context) + " tokens: this model was made for " +
                           std::to_string(config.max_positions) + " (" + config.max_positions_reason + ")");
  }
  return Status::Ok();
}

// Copies floats into a new buffer of the plan. Returns where they are.
Result<const float*> UploadFloats(std::span<const float> values, Backend& backend, ModelWeights* weights) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(values.size_bytes()));
  backend.Upload(*buffer, 0, std::as_bytes(values));
  weights->bytes += buffer->bytes();
  weights->buffers.push_back(std::move(buffer));
  return static_cast<const float*>(weights->buffers.back()->f32());
}

Status UploadVectors(const WeightVectors& vectors, Backend& backend, ModelWeights* weights) {
  PREFIXD_ASSIGN_OR_RETURN(const float* at, UploadFloats(vectors.values(), backend, weights));
  vectors.Place(at);
  return Status::Ok();
}

// Loads the tensors of files: their pieces are hashed, checked and packed while they are in a CPU cache.
class FileLoader {
 public:
  FileLoader(const ModelConfig& config, const WeightFiles& files, Backend& backend, Quantization quantize,
             ModelWeights* weights)
      : config_(config),
        files_(files),
        backend_(backend),
        quantize_(quantize),
        weights_(weights),
        shapes_(config),
        vectors_(config, weights) {}

  Status AllocateMatrices() {
    for (const MatrixPlace& place : MatricesOf(config_, weights_)) {
      Result<std::unique_ptr<Matrix>> matrix = AllocateMatrix(place);
      if (!matrix.ok()) return matrix.status().WithContext("weights of " + place.tensors.front());
      *place.matrix = std::move(*matrix);
      weights_->bytes += (*place.matrix)->bytes();
    }
    return Status::Ok();
  }

  // Returns the hash of all tensors.
  Result<BlockKey> Load(Meter& meter) {
    WeightsHasher hasher;
    const WeightWork work{.piece_bytes = [this](const TensorView& tensor) { return PieceBytes(tensor); },
                          .in_order =
                              [&hasher](const WeightPiece& piece) {
                                const TensorView& tensor = *piece.tensor;
                                if (piece.begin == 0)
                                  hasher.BeginTensor(tensor.name, tensor.dtype_name, tensor.shape);
                                hasher.Update(piece.bytes);
                              },
                          .at_once = [this](const WeightPiece& piece) { return Store(piece); },
                          .done = [&meter](size_t bytes) { meter.Add(bytes); }};
    PREFIXD_RETURN_IF_ERROR(ReadWeights(files_, backend_.upload_threads(), work));
    PREFIXD_RETURN_IF_ERROR(UploadVectors(vectors_, backend_, weights_));
    return hasher.Finish();
  }

 private:
  Result<std::unique_ptr<Matrix>> AllocateMatrix(const MatrixPlace& place) {
    const int cols = shapes_.Cols(place.tensors);
    std::vector<std::unique_ptr<Matrix>> parts;
    for (const Run& run : RunsOf(place, [&](const std::string& tensor) {
           return FormatOf(*Get(files_, tensor).dtype, cols, quantize_);
         })) {
      PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> part,
                               backend_.AllocateMatrix(shapes_.Rows(run.tensors), cols, run.format));
      int row = 0;
      for (const std::string& name : run.tensors) {
        rows_.emplace(name, RowsOfMatrix{part.get(), row, run.format});
        row += shapes_.Rows({&name, 1});
      }
      parts.push_back(std::move(part));
    }
    if (parts.size() == 1) return std::move(parts.front());
    return backend_.Stack(std::move(parts));
  }

  // Where the rows of a tensor are.
  struct RowsOfMatrix {
    Matrix* matrix;
    int first_row;
    WeightFormat format;  // of the matrix
  };

  size_t RowBytes(const TensorView& tensor) const {
    return static_cast<size_t>(tensor.shape[1]) * DTypeBytes(*tensor.dtype);
  }

  // Whole rows of a matrix, whole elements of everything else.
  size_t PieceBytes(const TensorView& tensor) const {
    if (!rows_.contains(tensor.name)) return kPieceBytes;
    const size_t least = kPieceRows * RowBytes(tensor);
    return std::max<size_t>(1, kPieceBytes / least) * least;
  }

  Status Store(const WeightPiece& piece) {
    const TensorView& tensor = *piece.tensor;
    if (!tensor.dtype.has_value() || piece.bytes.empty()) return Status::Ok();  // the model does not read it
    if (!AllFinite(piece.bytes, *tensor.dtype)) {
      return Corrupt("tensor '" + tensor.name +
                     "' holds NaN or infinite values: its file is damaged, or was saved in a dtype too small "
                     "for it; download it again, or save the model in BF16 or F32");
    }
    if (const auto rows = rows_.find(tensor.name); rows != rows_.end()) return StoreRows(piece, rows->second);
    if (float* const values = vectors_.Find(tensor.name)) {
      const size_t width = DTypeBytes(*tensor.dtype), begin = piece.begin / width;
      for (size_t i = 0; i < piece.bytes.size() / width; ++i)
        values[begin + i] = Element(piece.bytes.data(), *tensor.dtype, i);
    }
    return Status::Ok();
  }

  Status StoreRows(const WeightPiece& piece, const RowsOfMatrix& rows) {
    const TensorView& tensor = *piece.tensor;
    const size_t row_bytes = RowBytes(tensor);
    MatrixSource source{piece.bytes.data(), *tensor.dtype, static_cast<int>(piece.bytes.size() / row_bytes),
                        static_cast<int>(tensor.shape[1])};
    std::vector<std::byte> quantized;
    if (rows.format != source.format) {
      PREFIXD_ASSIGN_OR_RETURN(quantized, Quantized(tensor.name, source, rows.format));
      source.data = quantized.data();
      source.format = rows.format;
    }
    const Status stored =
        backend_.UploadRows(*rows.matrix, rows.first_row + static_cast<int>(piece.begin / row_bytes), source);
    return stored.ok() ? stored : stored.WithContext("weights of " + tensor.name);
  }

  // Rows of a tensor in a quantised format.
  static Result<std::vector<std::byte>> Quantized(const std::string& tensor, const MatrixSource& rows,
                                                  WeightFormat format) {
    const size_t from_bytes = rows.format.RowBytes(rows.cols), to_bytes = format.RowBytes(rows.cols);
    std::vector<std::byte> quantized(to_bytes * static_cast<size_t>(rows.rows));
    std::vector<float> row(static_cast<size_t>(rows.cols));
    const auto* from = static_cast<const std::byte*>(rows.data);
    for (std::byte* to = quantized.data(); to != quantized.data() + quantized.size(); to += to_bytes) {
      WidenRow(rows.format, from, rows.cols, row.data());
      if (!QuantizeRow(format, row.data(), rows.cols, to)) {
        return Unsupported("tensor '" + tensor + "' has weights too large for " + std::string(format.name()) +
                           "; serve the model without --quantize");
      }
      from += from_bytes;
    }
    return quantized;
  }

  const ModelConfig& config_;
  const WeightFiles& files_;
  Backend& backend_;
  const Quantization quantize_;
  ModelWeights* const weights_;
  const WeightShapes shapes_;
  WeightVectors vectors_;
  std::map<std::string, RowsOfMatrix> rows_;  // by tensor
};

// Loads the table of `context` positions, which is the last part of the weights. `planned` are the bytes of
// all.
Status LoadRope(const ModelConfig& config, Backend& backend, int context, size_t planned,
                ModelWeights* weights) {
  const std::vector<float> rope = RopeTable(config.rope, config.head_dim, context);
  PREFIXD_ASSIGN_OR_RETURN(weights->rope, UploadFloats(rope, backend, weights));
  weights->positions = context;
  PREFIXD_CHECK(weights->bytes == planned) << weights->bytes << ", but the memory plan counts on " << planned;
  return Status::Ok();
}

// Each has seeds of its own. Products of a row with `cols` numbers, uniform in [-largest, largest), keep the
// size of the row: the variance of such a number is largest^2 / 3.
Status MakeMatrices(const ModelConfig& config, Backend& backend, Quantization quantize, Meter& meter,
                    ModelWeights* weights) {
  const WeightShapes shapes(config);
  uint64_t seed = 0;
  for (const MatrixPlace& place : MatricesOf(config, weights)) {
    const int cols = shapes.Cols(place.tensors);
    Result<std::unique_ptr<Matrix>> matrix =
        backend.MakeDummy({.format = FormatOf(DummyDType(config), cols, quantize),
                           .rows = shapes.Rows(place.tensors),
                           .cols = cols,
                           .seed = seed++,
                           .largest = std::sqrt(3.0f / static_cast<float>(cols))});
    if (!matrix.ok()) return matrix.status().WithContext("weights of " + place.tensors.front());
    *place.matrix = std::move(*matrix);
    weights->bytes += (*place.matrix)->bytes();
    meter.Add((*place.matrix)->bytes());
  }
  return Status::Ok();
}

// `dtype_of` returns the type of a tensor.
template <typename DTypeOf>
size_t PlannedBytes(const ModelConfig& config, const Backend& backend, int context, Quantization quantize,
                    const DTypeOf& dtype_of) {
  const WeightShapes shapes(config);
  ModelWeights weights = EmptyWeights(config);
  size_t bytes = static_cast<size_t>(context) * static_cast<size_t>(config.head_dim) * sizeof(float);
  for (const MatrixPlace& place : MatricesOf(config, &weights)) {
    const int cols = shapes.Cols(place.tensors);
    for (const Run& run :
         RunsOf(place, [&](const std::string& tensor) { return FormatOf(dtype_of(tensor), cols, quantize); }))
      bytes += backend.PackedBytes(shapes.Rows(run.tensors), cols, run.format);
  }
  return bytes + WeightVectors(config, &weights).values().size_bytes();
}

}  // namespace

ModelShape ShapeOf(const ModelConfig& config) {
  return {.layers = config.layers,
          .hidden = config.hidden,
          .intermediate = config.intermediate,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .vocab = config.vocab,
          .rms_eps = config.rms_eps,
          .activation = config.activation,
          .windows = config.windows};
}

Result<LoadedPlan> LoadPlan(const ModelConfig& config, const WeightFiles& files, Backend& backend,
                            int context, const LoadProgress& progress, Quantization quantize) {
  PREFIXD_RETURN_IF_ERROR(CheckContext(config, context));
  PREFIXD_RETURN_IF_ERROR(CheckWeights(config, files));
  Meter meter(progress, files.total_bytes());
  LoadedPlan loaded;
  loaded.plan = {ShapeOf(config), EmptyWeights(config)};
  ModelWeights* weights = &loaded.plan.weights;
  FileLoader loader(config, files, backend, quantize, weights);
  PREFIXD_RETURN_IF_ERROR(loader.AllocateMatrices());
  PREFIXD_ASSIGN_OR_RETURN(loaded.weights_hash, loader.Load(meter));
  PREFIXD_RETURN_IF_ERROR(files.CheckUnchanged());
  PREFIXD_RETURN_IF_ERROR(LoadRope(config, backend, context,
                                   PlannedWeightBytes(config, files, backend, context, quantize), weights));
  meter.Finish();
  return loaded;
}

Result<LoadedPlan> LoadDummyPlan(const ModelConfig& config, Backend& backend, int context,
                                 const LoadProgress& progress, Quantization quantize) {
  PREFIXD_RETURN_IF_ERROR(CheckContext(config, context));
  const size_t planned = PlannedDummyBytes(config, backend, context, quantize);
  Meter meter(progress, planned);
  LoadedPlan loaded;
  loaded.plan = {ShapeOf(config), EmptyWeights(config)};
  loaded.weights_hash = DummyHash(config);
  ModelWeights* weights = &loaded.plan.weights;
  PREFIXD_RETURN_IF_ERROR(MakeMatrices(config, backend, quantize, meter, weights));
  WeightVectors vectors(config, weights);
  for (const WeightSpec& spec : RequiredWeights(config)) {
    if (float* const values = vectors.Find(spec.name))
      std::fill_n(values, spec.shape[0], spec.name.ends_with(".bias") ? 0.0f : 1.0f);
  }
  PREFIXD_RETURN_IF_ERROR(UploadVectors(vectors, backend, weights));
  PREFIXD_RETURN_IF_ERROR(LoadRope(config, backend, context, planned, weights));
  meter.Finish();
  return loaded;
}

DType DummyDType(const ModelConfig& config) { return config.dtype.value_or(DType::kF32); }

BlockKey DummyHash(const ModelConfig& config) {
  std::vector<WeightSpec> specs = RequiredWeights(config);
  std::ranges::sort(specs, {}, &WeightSpec::name);
  // No file has such a dtype.
  const std::string dtype = std::string(kDummyWeightsName) + " " + std::string(DTypeName(DummyDType(config)));
  WeightsHasher hasher;
  for (const WeightSpec& spec : specs) hasher.BeginTensor(spec.name, dtype, spec.shape);
  return hasher.Finish();
}

size_t PlannedWeightBytes(const ModelConfig& config, const WeightFiles& files, const Backend& backend,
                          int context, Quantization quantize) {
  return PlannedBytes(config, backend, context, quantize,
                      [&files](const std::string& name) { return *Get(files, name).dtype; });
}

size_t PlannedDummyBytes(const ModelConfig& config, const Backend& backend, int context,
                         Quantization quantize) {
  return PlannedBytes(config, backend, context, quantize,
                      [&config](const std::string&) { return DummyDType(config); });
}

}  // namespace prefixd
