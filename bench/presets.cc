#include "bench/presets.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "bench/random_blocks.h"
#include "kernels/numerics.h"

namespace prefixd::bench {
namespace {

constexpr Preset kPresets[] = {
    // No real models: one for tests, and one that is small enough to be computed in a test with a long
    // context.
    {"tiny", "llama", "LlamaForCausalLM", 2, 64, 4, 2, 32, 96, 1024, 4096, 500000},
    {"llama-40m", "llama", "LlamaForCausalLM", 10, 512, 8, 2, 64, 2048, 4096, 32768, 500000},
    {"llama-135m", "llama", "LlamaForCausalLM", 30, 576, 9, 3, 64, 1536, 32000, 8192, 500000},
    // llama-135m with the vocabulary of today's models: what a large one costs.
    {"llama-135m-152k", "llama", "LlamaForCausalLM", 30, 576, 9, 3, 64, 1536, 152000, 8192, 500000},
    {"llama-1b", "llama", "LlamaForCausalLM", 16, 2048, 32, 8, 64, 8192, 32000, 32768, 500000},
    {.name = "llama-8b",
     .model_type = "llama",
     .class_name = "LlamaForCausalLM",
     .layers = 32,
     .hidden = 4096,
     .heads = 32,
     .kv_heads = 8,
     .head_dim = 128,
     .intermediate = 14336,
     .vocab = 128256,
     .max_positions = 131072,
     .theta = 500000,
     .tied = false},
    // Mistral 7B v0.1 at half its width and half its depth, with its window.
    {"mistral-1b", "mistral", "MistralForCausalLM", 16, 2048, 16, 4, 128, 7168, 32000, 32768, 10000, 4096},
    {"qwen2.5-0.5b", "qwen2", "Qwen2ForCausalLM", 24, 896, 14, 2, 64, 4864, 151936, 32768, 1000000},
    {"qwen3-0.6b", "qwen3", "Qwen3ForCausalLM", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1000000},
};

// Normal numbers with a standard deviation of about 0.02: the sum of 4 uniform ones.
void FillRandom(std::vector<std::byte>& bytes, DType dtype, Prng& prng) {
  constexpr int kTable = 1 << 12;
  const size_t width = DTypeBytes(dtype);
  std::vector<std::byte> table(kTable * width);
  for (int i = 0; i < kTable; ++i) {
    double sum = -2;
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(prng.Below(1 << 20)) / (1 << 20);
    const auto value = static_cast<float>(sum * 0.0346);
    const uint16_t half = dtype == DType::kBF16 ? numerics::F32ToBF16(value) : numerics::F32ToF16(value);
    std::memcpy(&table[static_cast<size_t>(i) * width],
                dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, width);
  }
  uint64_t bits = 0;
  for (size_t i = 0; i * width < bytes.size(); ++i) {
    bits = i % 5 == 0 ? prng.Next() : bits >> 12;
    std::memcpy(&bytes[i * width], &table[(bits % kTable) * width], width);
  }
}

class PlanMaker {
 public:
  PlanMaker(const Preset& preset, WeightFormat format, Backend& backend)
      : preset_(preset), format_(format), backend_(backend) {
    const ModelShape shape = preset.Shape();
    const size_t hidden = static_cast<size_t>(shape.hidden);
    const size_t widest =
        static_cast<size_t>(std::max({shape.vocab, 2 * shape.intermediate, shape.QkvWidth()}));
    // The matrices begin at different places of it.
    const size_t elements = widest * hidden + kShift * 8;
    if (format.quantized()) {
      const size_t block = static_cast<size_t>(format.block());
      random_ = RandomBlocks(format, (elements + block - 1) / block * block);
      return;
    }
    random_.resize(elements * DTypeBytes(format.dtype()));
    Prng prng(1);
    FillRandom(random_, format.dtype(), prng);
  }

  Result<ModelPlan> Make(int positions) {
    ModelPlan plan{.shape = preset_.Shape(), .weights = {}};
    PREFIXD_RETURN_IF_ERROR(AddMatrices(&plan));
    PREFIXD_RETURN_IF_ERROR(AddVectors(positions, &plan));
    return plan;
  }

 private:
  static constexpr size_t kShift = 4096;  // elements; whole blocks

  Status Pack(int rows, int cols, std::unique_ptr<Matrix>* matrix, ModelWeights* weights) {
    if (!format_.Fits(cols)) {
      return InvalidArgument(std::string(format_.name()) + " does not fit rows of " + std::to_string(cols) +
                             " columns; choose another preset");
    }
    const size_t at = kShift * (static_cast<size_t>(packed_++) % 8) / static_cast<size_t>(format_.block()) *
                      format_.block_bytes();
    const MatrixSource source{random_.data() + at, format_, rows, cols};
    PREFIXD_ASSIGN_OR_RETURN(*matrix, backend_.AllocateMatrix(rows, cols, format_));
    PREFIXD_RETURN_IF_ERROR(backend_.UploadRows(**matrix, 0, source));
    weights->bytes += (*matrix)->bytes();
    return Status::Ok();
  }

  Status AddMatrices(ModelPlan* plan) {
    const ModelShape& s = plan->shape;
    ModelWeights& weights = plan->weights;
    weights.layers.resize(static_cast<size_t>(s.layers));
    PREFIXD_RETURN_IF_ERROR(Pack(s.vocab, s.hidden, &weights.embedding, &weights));
    if (!preset_.tied) PREFIXD_RETURN_IF_ERROR(Pack(s.vocab, s.hidden, &weights.head, &weights));
    for (LayerWeights& layer : weights.layers) {
      PREFIXD_RETURN_IF_ERROR(Pack(s.QkvWidth(), s.hidden, &layer.qkv, &weights));
      PREFIXD_RETURN_IF_ERROR(Pack(s.hidden, s.QueryWidth(), &layer.out, &weights));
      PREFIXD_RETURN_IF_ERROR(Pack(2 * s.intermediate, s.hidden, &layer.gate_up, &weights));
      PREFIXD_RETURN_IF_ERROR(Pack(s.hidden, s.intermediate, &layer.down, &weights));
    }
    return Status::Ok();
  }

  // Norms and biases are the same vectors for all layers; they stay in a cache anyway.
  Status AddVectors(int positions, ModelPlan* plan) {
    const ModelShape& s = plan->shape;
    ModelWeights& weights = plan->weights;
    const std::vector<float> ones(static_cast<size_t>(std::max(s.hidden, s.head_dim)), 1.0f);
    PREFIXD_ASSIGN_OR_RETURN(const float* const norm, Upload(ones, &weights));
    const std::vector<float> small(static_cast<size_t>(s.QkvWidth()), 0.01f);
    PREFIXD_ASSIGN_OR_RETURN(const float* const bias, Upload(small, &weights));
    weights.final_norm = norm;
    for (LayerWeights& layer : weights.layers) {
      layer.input_norm = layer.attention_norm = norm;
      if (preset_.model_type == "qwen3") layer.q_norm = layer.k_norm = norm;
      if (preset_.model_type == "qwen2") layer.qkv_bias = bias;
    }
    std::vector<float> rope;
    for (int p = 0; p < positions; ++p) {
      for (const bool is_sine : {false, true}) {
        for (int i = 0; i < s.head_dim / 2; ++i) {
          const double turn = p * std::pow(preset_.theta, -2.0 * i / s.head_dim);
          rope.push_back(static_cast<float>(is_sine ? std::sin(turn) : std::cos(turn)));
        }
      }
    }
    PREFIXD_ASSIGN_OR_RETURN(weights.rope, Upload(rope, &weights));
    weights.positions = positions;
    return Status::Ok();
  }

  Result<const float*> Upload(std::span<const float> values, ModelWeights* weights) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend_.Allocate(values.size_bytes()));
    backend_.Upload(*buffer, 0, std::as_bytes(values));
    weights->bytes += buffer->bytes();
    weights->buffers.push_back(std::move(buffer));
    return static_cast<const float*>(weights->buffers.back()->f32());
  }

  const Preset& preset_;
  const WeightFormat format_;
  Backend& backend_;
  std::vector<std::byte> random_;
  int packed_ = 0;
};

}  // namespace

ModelShape Preset::Shape() const {
  return {.layers = layers,
          .hidden = hidden,
          .intermediate = intermediate,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .vocab = vocab,
          .rms_eps = 1e-5f,
          .windows = std::vector<int>(static_cast<size_t>(layers), window)};
}

double Preset::WeightElements() const {
  const double layer = 1.0 * (heads + 2 * kv_heads) * head_dim * hidden + 1.0 * hidden * heads * head_dim +
                       3.0 * hidden * intermediate;
  return layers * layer + (tied ? 1.0 : 2.0) * vocab * hidden;
}

double Preset::StepBytes(WeightFormat format) const {
  return (WeightElements() - (tied ? 0.0 : 1.0 * vocab * hidden)) * BytesPerWeight(format);
}

std::span<const Preset> Presets() { return kPresets; }

const Preset* FindPreset(std::string_view name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return &preset;
  }
  return nullptr;
}

Result<ModelPlan> RandomPlan(const Preset& preset, WeightFormat format, int positions, Backend& backend) {
  return PlanMaker(preset, format, backend).Make(positions);
}

}  // namespace prefixd::bench
