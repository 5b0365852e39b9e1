// A tool, not a measurement: writes a random-weight model of the size of a real one as a Hugging Face folder,
// for measurements that need weights of the right shape but no meaning. The same arguments give the same
// bytes. It prints no machine line and has no --json.
//
//   make_model --preset NAME [--dtype bf16|f16|f32] [--seed N] [--without-weights] DIR
//
// A folder without weights is for `prefixd serve --load dummy`, which makes them up in memory.
//
// Weights and biases are normal with standard deviation 0.02; norms are 1. The tokenizer
// (bench/word_tokenizer.h) has one token for each made-up word, as many as the vocabulary holds, so that a
// prompt of N words has about N tokens.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/prng.h"
#include "bench/arguments.h"
#include "bench/presets.h"
#include "bench/word_tokenizer.h"
#include "kernels/numerics.h"
#include "model/weights.h"

namespace prefixd::bench {
namespace {

namespace fs = std::filesystem;

struct Storage {
  std::string_view flag, header_name, config_name;
  DType dtype;
};
constexpr Storage kStorages[] = {{"bf16", "BF16", "bfloat16", DType::kBF16},
                                 {"f16", "F16", "float16", DType::kF16},
                                 {"f32", "F32", "float32", DType::kF32}};

void AppendElement(std::string* out, DType dtype, float value) {
  switch (dtype) {
    case DType::kF32:
      return PutLittle<float>(out, value);
    case DType::kF16:
      return PutLittle<uint16_t>(out, numerics::F32ToF16(value));
    case DType::kBF16:
      return PutLittle<uint16_t>(out, numerics::F32ToBF16(value));
  }
}

// 65536 quantiles of a normal distribution in the stored type, indexed by 16 random bits. Element i is the
// quantile of (i + 1/2) / 65536.
std::string NormalQuantiles(DType dtype, double deviation) {
  std::string table;
  for (int i = 0; i < 65536; ++i) {
    const double share = (i + 0.5) / 65536;
    double low = -5, high = 5;
    for (int step = 0; step < 40; ++step) {
      const double middle = (low + high) / 2;
      (std::erfc(-middle / std::sqrt(2.0)) / 2 < share ? low : high) = middle;
    }
    AppendElement(&table, dtype, static_cast<float>(low * deviation));
  }
  return table;
}

int64_t Elements(const WeightSpec& spec) {
  int64_t elements = 1;
  for (const int64_t size : spec.shape) elements *= size;
  return elements;
}

template <typename Element>
void WriteNormals(std::ofstream& out, const std::string& table, int64_t elements, Prng& prng) {
  constexpr int64_t kPiece = 1 << 20;  // a multiple of 4
  const auto* quantiles = reinterpret_cast<const Element*>(table.data());
  std::vector<Element> piece(static_cast<size_t>(kPiece));
  for (int64_t done = 0; done < elements; done += kPiece) {
    const int64_t count = std::min(kPiece, elements - done);
    for (int64_t i = 0; i < count; i += 4) {
      uint64_t bits = prng.Next();
      for (int64_t j = i; j < i + 4; ++j, bits >>= 16)
        piece[static_cast<size_t>(j)] = quantiles[bits & 0xFFFF];
    }
    out.write(reinterpret_cast<const char*>(piece.data()),
              static_cast<std::streamsize>(count * sizeof(Element)));
  }
}

bool IsNorm(const WeightSpec& spec) { return spec.name.ends_with("norm.weight"); }

void WriteWeights(const fs::path& file, const std::vector<WeightSpec>& specs, const Storage& storage,
                  uint64_t seed) {
  const int64_t width = static_cast<int64_t>(DTypeBytes(storage.dtype));
  std::string header = R"({"__metadata__":{"format":"pt"})";
  int64_t offset = 0;
  for (const WeightSpec& spec : specs) {
    const int64_t end = offset + Elements(spec) * width;
    std::string shape;
    for (const int64_t size : spec.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    header += ",\"" + spec.name + R"(":{"dtype":")" + std::string(storage.header_name) + R"(","shape":[)" +
              shape + R"(],"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(end) + "]}";
    offset = end;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');

  std::string length;
  PutLittle<uint64_t>(&length, header.size());
  std::ofstream out(file, std::ios::binary);
  out << length << header;
  const std::string table = NormalQuantiles(storage.dtype, 0.02);
  Prng prng(seed);
  for (const WeightSpec& spec : specs) {
    if (IsNorm(spec)) {
      std::string ones;
      for (int64_t i = 0; i < spec.shape[0]; ++i) AppendElement(&ones, storage.dtype, 1.0f);
      out << ones;
    } else if (width == 4) {
      WriteNormals<uint32_t>(out, table, Elements(spec), prng);
    } else {
      WriteNormals<uint16_t>(out, table, Elements(spec), prng);
    }
  }
}

std::string ConfigText(const Preset& p, const Storage& storage, const WordTokenizer& tokenizer) {
  const auto number = [](std::string_view key, int64_t value) {
    return ", \"" + std::string(key) + "\": " + std::to_string(value);
  };
  return "{\"architectures\": [\"" + std::string(p.class_name) + "\"], \"model_type\": \"" +
         std::string(p.model_type) + "\", \"torch_dtype\": \"" + std::string(storage.config_name) +
         "\", \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05, \"rope_scaling\": null, "
         "\"tie_word_embeddings\": " +
         (p.tied ? "true" : "false") + (p.window > 0 ? number("sliding_window", p.window) : "") +
         number("rope_theta", static_cast<int64_t>(p.theta)) + number("num_hidden_layers", p.layers) +
         number("hidden_size", p.hidden) + number("num_attention_heads", p.heads) +
         number("num_key_value_heads", p.kv_heads) + number("head_dim", p.head_dim) +
         number("intermediate_size", p.intermediate) + number("vocab_size", p.vocab) +
         number("max_position_embeddings", p.max_positions) +
         number("bos_token_id", tokenizer.end_of_text()) + number("eos_token_id", tokenizer.end_of_turn()) +
         "}\n";
}

// Writes the folder but for the weights.
ModelConfig WriteDescription(const fs::path& dir, const Preset& preset, const Storage& storage) {
  const WordTokenizer tokenizer(preset.vocab);
  fs::create_directories(dir);
  const std::string config_text = ConfigText(preset, storage, tokenizer);
  std::ofstream(dir / "config.json") << config_text;
  std::ofstream(dir / "generation_config.json")
      << "{\"do_sample\": true, \"temperature\": 0.8, \"top_p\": 0.95, \"eos_token_id\": ["
      << tokenizer.end_of_text() << ", " << tokenizer.end_of_turn() << "]}\n";
  std::ofstream(dir / "tokenizer.json") << tokenizer.TokenizerJson();
  std::ofstream(dir / "tokenizer_config.json") << tokenizer.TokenizerConfigJson();
  Result<ModelConfig> config = ParseModelConfig(config_text);
  PREFIXD_CHECK(config.ok()) << config.status().message();
  return *std::move(config);
}

Arguments ParseArguments(int argc, char** argv) {
  std::string presets;
  for (const Preset& row : Presets()) presets += (presets.empty() ? "" : ", ") + std::string(row.name);
  Arguments arguments("make_model", "Writes a random-weight model. The same arguments give the same bytes.",
                      {{"DIR", "", "", "folder to write"},
                       {"--preset", "NAME", "", "shape of the model; required; one of " + presets},
                       {"--dtype", "TYPE", "bf16", "bf16, f16 or f32"},
                       {"--seed", "N", "1", "seed of the weights"},
                       {"--without-weights", "", "", "a folder for --load dummy"}});
  arguments.ParseOrExit(argc, argv);
  return arguments;
}

// The row of `rows` that the option names; ends the program when there is none.
template <typename Row>
const Row& ChosenRow(const Arguments& arguments, const char* option, std::span<const Row> rows,
                     std::string_view Row::*name) {
  std::vector<std::string> names;
  for (const Row& row : rows) names.emplace_back(row.*name);
  if (const auto wanted = arguments.OneOf(option, names); !wanted.ok()) arguments.Fail(wanted.status());
  return *std::ranges::find(rows, arguments.Text(option), name);
}

int Main(int argc, char** argv) {
  const Arguments arguments = ParseArguments(argc, argv);
  const Preset* preset = &ChosenRow(arguments, "--preset", Presets(), &Preset::name);
  const Storage* storage =
      &ChosenRow(arguments, "--dtype", std::span<const Storage>(kStorages), &Storage::flag);
  const auto seed =
      static_cast<uint64_t>(arguments.IntegerOrExit("--seed", 0, std::numeric_limits<int64_t>::max()));
  const std::string dir = arguments.Text("DIR");
  const ModelConfig config = WriteDescription(dir, *preset, *storage);
  if (arguments.Given("--without-weights")) {
    std::cout << dir << ": " << preset->name << ", without weights\n";
    return 0;
  }
  WriteWeights(fs::path(dir) / "model.safetensors", RequiredWeights(config), *storage, seed);
  const int64_t expected = ParameterCount(config) * static_cast<int64_t>(DTypeBytes(storage->dtype));
  const fs::path weights = fs::path(dir) / "model.safetensors";
  std::error_code error;
  const auto bytes = fs::file_size(weights, error);
  if (error || static_cast<int64_t>(bytes) < expected) {
    std::cerr << weights << ": not written in full; check the free space and the permissions of the folder\n";
    return 1;
  }
  std::cout << dir << ": " << preset->name << ", " << FormatSize(bytes) << " of weights\n";
  return 0;
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
