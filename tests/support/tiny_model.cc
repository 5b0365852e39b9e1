#include "tests/support/tiny_model.h"

#include <bit>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/bytes.h"
#include "base/check.h"
#include "base/prng.h"
#include "kernels/numerics.h"
#include "model/config.h"
#include "model/weights.h"

namespace prefixd::testing_support {
namespace {

const char* NameInFile(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
}

}  // namespace

void WriteTinyModel(const std::filesystem::path& folder, uint64_t seed, const TinyModelShape& shape) {
  std::string class_name = shape.model_type + "ForCausalLM";
  class_name.front() = static_cast<char>(class_name.front() - 'a' + 'A');
  std::ostringstream config;
  config << R"({"architectures":[")" << class_name << R"("],"model_type":")" << shape.model_type
         << R"(","hidden_size":)" << shape.hidden << R"(,"num_hidden_layers":)" << shape.layers
         << R"(,"num_attention_heads":)" << shape.heads << R"(,"num_key_value_heads":)" << shape.kv_heads
         << R"(,"head_dim":)" << shape.head_dim << R"(,"intermediate_size":)" << shape.intermediate
         << R"(,"vocab_size":)" << shape.vocab << R"(,"max_position_embeddings":)" << shape.positions
         << R"(,"rms_norm_eps":1e-5,"rope_theta":10000.0,)"
         << R"("tie_word_embeddings":true,)"
         << R"("torch_dtype":")" << (shape.bf16 ? "bfloat16" : "float32") << R"(","eos_token_id":0)"
         << shape.more << '}';
  std::ofstream(folder / "config.json") << config.str();

  const Result<ModelConfig> parsed = ParseModelConfig(config.str());
  PREFIXD_CHECK(parsed.ok()) << parsed.status().message();
  Prng prng(seed);
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
  size_t tensors = 0;
  std::string header = "{", data;
  for (const WeightSpec& spec : RequiredWeights(*parsed)) {
    const bool vector = spec.shape.size() == 1;
    const bool bias = spec.name.ends_with(".bias");
    const size_t begin = data.size();
    const DType dtype = shape.mixed ? kTypes[tensors++ % 3] : shape.bf16 ? DType::kBF16 : DType::kF32;
    int64_t count = 1;
    for (const int64_t extent : spec.shape) count *= extent;
    // The scale is large enough that attention is not uniform and neighbouring logits differ.
    const double scale = vector ? 0.2 : 2.0 / std::sqrt(static_cast<double>(spec.shape.back()));
    for (int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>((vector && !bias ? 1 : 0) + scale * (2 * prng.Unit() - 1));
      if (dtype == DType::kBF16)
        PutLittle<uint16_t>(&data, static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
      else if (dtype == DType::kF16)
        PutLittle<uint16_t>(&data, numerics::F32ToF16(value));
      else
        PutLittle<float>(&data, value);
    }
    if (header.size() > 1) header += ',';
    header += '"' + spec.name + R"(":{"dtype":")" + NameInFile(dtype) + R"(","shape":[)" +
              std::to_string(spec.shape[0]);
    if (!vector) header += ',' + std::to_string(spec.shape[1]);
    header += R"(],"data_offsets":[)" + std::to_string(begin) + ',' + std::to_string(data.size()) + "]}";
  }
  header += '}';
  std::string file;
  PutLittle<uint64_t>(&file, header.size());
  std::ofstream(folder / "model.safetensors", std::ios::binary) << file + header + data;
}

}  // namespace prefixd::testing_support
