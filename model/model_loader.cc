#include "model/model_loader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "hashing/fingerprint.h"
#include "kernels/dummy_weights.h"
#include "kernels/host_memory.h"
#include "kernels/quantize.h"
#include "kernels/stored_type.h"
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

// The format of the rows of a tensor that has this type in the files: its own, or else a wider one.
WeightFormat FormatOf(const Backend& backend, StoredType type, int cols, Quantization quantize) {
  if (quantize && quantize->Fits(cols)) return *quantize;
  return backend.HasKernels(type.format()) ? type.format() : backend.WideFormat();
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

  // Returns the hash of all tensors. `uncached_files` is what ReadWeights returns.
  Result<BlockKey> Load(Meter& meter, std::vector<std::filesystem::path>* uncached_files) {
    WeightsHasher hasher;
    const WeightWork work{.piece_bytes = [this](const TensorView& tensor) { return PieceBytes(tensor); },
                          .in_order =
                              [this, &hasher](const WeightPiece& piece) {
                                const TensorView& tensor = *piece.tensor;
                                if (piece.begin == 0)
                                  hasher.BeginTensor(tensor.name, HashedType(tensor), tensor.shape);
                                hasher.Update(piece.bytes);
                              },
                          .at_once = [this](const WeightPiece& piece) { return Store(piece); },
                          .done = [&meter](size_t bytes) { meter.Add(bytes); }};
    PREFIXD_ASSIGN_OR_RETURN(*uncached_files, ReadWeights(files_, backend_.upload_threads(), work));
    PREFIXD_RETURN_IF_ERROR(UploadVectors(vectors_, backend_, weights_));
    return hasher.Finish();
  }

 private:
  Result<std::unique_ptr<Matrix>> AllocateMatrix(const MatrixPlace& place) {
    const int cols = shapes_.Cols(place.tensors);
    std::vector<std::unique_ptr<Matrix>> parts;
    for (const Run& run : RunsOf(place, [&](const std::string& tensor) {
           return FormatOf(backend_, *Get(files_, tensor).dtype, cols, quantize_);
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

  // The type of a tensor, with what a GGUF file leaves open: the order of its rows, and the numbers to which
  // they are widened.
  std::string HashedType(const TensorView& tensor) const {
    std::string text = tensor.dtype_name;
    if (files_.kind() != WeightFiles::Kind::kGguf) return text;
    if (tensor.paired_rows != 0) text += " paired " + std::to_string(tensor.paired_rows);
    const auto rows = rows_.find(tensor.name);
    if (rows != rows_.end() && tensor.dtype->format() != rows->second.format)
      text += " as " + std::string(rows->second.format.name());
    return text + " of GGUF";
  }

  size_t RowBytes(const TensorView& tensor) const {
    return tensor.dtype->Bytes(static_cast<size_t>(tensor.shape[1]));
  }

  // Whole rows of a matrix, and whole heads where rows change their order; whole blocks of everything else.
  size_t PieceBytes(const TensorView& tensor) const {
    if (!rows_.contains(tensor.name)) {
      const size_t block = tensor.dtype ? tensor.dtype->block_bytes() : 1;
      return kPieceBytes / block * block;
    }
    const size_t head = static_cast<size_t>(std::max(tensor.paired_rows, 1));
    const size_t least = std::lcm(kPieceRows, head) * RowBytes(tensor);
    return std::max<size_t>(1, kPieceBytes / least) * least;
  }

  Status Store(const WeightPiece& piece) {
    const TensorView& tensor = *piece.tensor;
    if (!tensor.dtype.has_value() || piece.bytes.empty()) return Status::Ok();  // the model does not read it
    if (!StoredFinite(*tensor.dtype, piece.bytes)) {
      return Corrupt("tensor '" + tensor.shown_name() +
                     "' holds NaN or infinite values: its file is damaged, or was saved in a dtype too small "
                     "for it; download it again, or save the model in BF16 or F32");
    }
    if (const auto rows = rows_.find(tensor.name); rows != rows_.end()) return StoreRows(piece, rows->second);
    if (float* const values = vectors_.Find(tensor.name)) StoreVector(piece, values);
    return Status::Ok();
  }

  static void StoreVector(const WeightPiece& piece, float* values) {
    const TensorView& tensor = *piece.tensor;
    const size_t width = tensor.dtype->block_bytes(), begin = piece.begin / width;
    std::vector<float> numbers(piece.bytes.size() / width);
    WidenStored(*tensor.dtype, piece.bytes.data(), numbers.size(), numbers.data());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const auto row = static_cast<int64_t>(begin + i);
      values[tensor.paired_rows == 0 ? row : UnpairedRow(row, tensor.paired_rows)] = numbers[i];
    }
  }

  Status StoreRows(const WeightPiece& piece, const RowsOfMatrix& rows) {
    const TensorView& tensor = *piece.tensor;
    const size_t row_bytes = RowBytes(tensor);
    std::vector<std::byte> ordered, converted;
    std::span<const std::byte> bytes = piece.bytes;
    if (tensor.paired_rows != 0) bytes = ordered = Unpaired(tensor, bytes, row_bytes);
    if (rows.format != tensor.dtype->format()) {
      PREFIXD_ASSIGN_OR_RETURN(converted, Converted(tensor, bytes, rows.format));
      bytes = converted;
    }
    const MatrixSource source{bytes.data(), rows.format, static_cast<int>(piece.bytes.size() / row_bytes),
                              static_cast<int>(tensor.shape[1])};
    const Status stored =
        backend_.UploadRows(*rows.matrix, rows.first_row + static_cast<int>(piece.begin / row_bytes), source);
    return stored.ok() ? stored : stored.WithContext("weights of " + tensor.shown_name());
  }

  // Rows of whole heads in the order of transformers.
  static std::vector<std::byte> Unpaired(const TensorView& tensor, std::span<const std::byte> bytes,
                                         size_t row_bytes) {
    std::vector<std::byte> ordered(bytes.size());
    for (size_t row = 0; row < bytes.size() / row_bytes; ++row) {
      const auto to = static_cast<size_t>(UnpairedRow(static_cast<int64_t>(row), tensor.paired_rows));
      std::ranges::copy(bytes.subspan(row * row_bytes, row_bytes),
                        ordered.begin() + static_cast<ptrdiff_t>(to * row_bytes));
    }
    return ordered;
  }

  // Rows of a tensor in another format than its own.
  static Result<std::vector<std::byte>> Converted(const TensorView& tensor, std::span<const std::byte> rows,
                                                  WeightFormat format) {
    const auto cols = static_cast<int>(tensor.shape[1]);
    const size_t from_bytes = tensor.dtype->Bytes(static_cast<size_t>(cols)),
                 to_bytes = format.RowBytes(cols);
    std::vector<std::byte> converted(rows.size() / from_bytes * to_bytes);
    std::vector<float> row(static_cast<size_t>(cols));
    std::byte* to = converted.data();
    for (; !rows.empty(); rows = rows.subspan(from_bytes), to += to_bytes) {
      WidenStored(*tensor.dtype, rows.data(), row.size(), row.data());
      if (format.quantized()) {
        if (!QuantizeRow(format, row.data(), cols, to)) {
          return Unsupported("tensor '" + tensor.shown_name() + "' has weights too large for " +
                             std::string(format.name()) + "; serve the model without --quantize");
        }
        continue;
      }
      for (size_t k = 0; k < row.size(); ++k) StoreElement(to, format.dtype(), k, row[k]);
    }
    return converted;
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
        backend.MakeDummy({.format = FormatOf(backend, DummyDType(config), cols, quantize),
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

// Calls fn(rows, cols, format) for the matrices that a load will make. `type_of` returns the type of a
// tensor.
template <typename TypeOfTensor, typename Fn>
void ForPlannedMatrices(const ModelConfig& config, const Backend& backend, Quantization quantize,
                        const TypeOfTensor& type_of, const Fn& fn) {
  const WeightShapes shapes(config);
  ModelWeights weights = EmptyWeights(config);
  for (const MatrixPlace& place : MatricesOf(config, &weights)) {
    const int cols = shapes.Cols(place.tensors);
    for (const Run& run : RunsOf(place, [&](const std::string& tensor) {
           return FormatOf(backend, type_of(tensor), cols, quantize);
         }))
      fn(shapes.Rows(run.tensors), cols, run.format);
  }
}

template <typename TypeOfTensor>
size_t PlannedBytes(const ModelConfig& config, const Backend& backend, int context, Quantization quantize,
                    const TypeOfTensor& type_of) {
  size_t bytes = static_cast<size_t>(context) * static_cast<size_t>(config.head_dim) * sizeof(float);
  ForPlannedMatrices(config, backend, quantize, type_of, [&](int rows, int cols, WeightFormat format) {
    bytes += backend.PackedBytes(rows, cols, format);
  });
  ModelWeights weights = EmptyWeights(config);
  return bytes + WeightVectors(config, &weights).values().size_bytes();
}

template <typename TypeOfTensor>
std::vector<WeightFormat> FormatsByNumbers(const ModelConfig& config, const Backend& backend,
                                           Quantization quantize, const TypeOfTensor& type_of) {
  std::array<int64_t, WeightFormat::kKinds> numbers = {};
  ForPlannedMatrices(config, backend, quantize, type_of, [&](int rows, int cols, WeightFormat format) {
    numbers[format.kind()] += int64_t{rows} * cols;
  });
  std::vector<WeightFormat> formats;
  for (int kind = 0; kind < WeightFormat::kKinds; ++kind) {
    if (numbers[static_cast<size_t>(kind)] > 0) formats.emplace_back(static_cast<WeightFormat::Kind>(kind));
  }
  std::ranges::stable_sort(formats, std::greater(),
                           [&](WeightFormat format) { return numbers[format.kind()]; });
  return formats;
}

// Return what the two functions above take as `type_of`.
auto TypesIn(const WeightFiles& files) {
  return [&files](const std::string& name) { return *Get(files, name).dtype; };
}
auto TypeOfDummies(const ModelConfig& config) {
  return [type = StoredType(DummyDType(config))](const std::string&) { return type; };
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
  PREFIXD_ASSIGN_OR_RETURN(loaded.weights_hash, loader.Load(meter, &loaded.uncached_files));
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
  return PlannedBytes(config, backend, context, quantize, TypesIn(files));
}

std::vector<WeightFormat> PlannedFormats(const ModelConfig& config, const WeightFiles& files,
                                         const Backend& backend, Quantization quantize) {
  return FormatsByNumbers(config, backend, quantize, TypesIn(files));
}

size_t PlannedDummyBytes(const ModelConfig& config, const Backend& backend, int context,
                         Quantization quantize) {
  return PlannedBytes(config, backend, context, quantize, TypeOfDummies(config));
}

std::vector<WeightFormat> PlannedDummyFormats(const ModelConfig& config, const Backend& backend,
                                              Quantization quantize) {
  return FormatsByNumbers(config, backend, quantize, TypeOfDummies(config));
}

}  // namespace prefixd
