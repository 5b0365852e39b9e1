// The law: cache on == cache off, bit for bit. Random prompt trees run through engines of every backend, KV
// dtype, thread count, chunk size, batch mix and pool size, with evictions and preemptions; every token,
// logprob and top logprob equals that of the same request run alone, without a cache, in one chunk, by the
// reference backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "kernels/quantize.h"
#include "kernels/registry.h"
#include "tests/engine/exactness_law.h"
#include "tests/kernels/forwarding_backend.h"
#include "tests/support/engine_driver.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using namespace exactness;  // NOLINT
using testing_support::LoadedRunner;

// Loads a model into a backend of some threads.
using Loader = std::function<LoadedRunner(const std::string& backend, int threads,
                                          const testing_support::DriverLimits& limits)>;

using KvTypes = std::vector<KvType>;
const KvTypes kFloats = {KvType::kF32, KvType::kF16, KvType::kBF16};

// `rounds` random setups per backend, thread count and type of KV.
Coverage CheckLaw(const Loader& load, int requests, int longest, int rounds, uint64_t seed,
                  const KvTypes& types = kFloats) {
  const Setup most;
  const testing_support::DriverLimits limits{most.context, most.step_tokens, most.max_sequences};
  const LoadedRunner reference = load("ref", 1, limits);
  Coverage coverage;
  for (const KvType type : types) {
    const Workload workload = MakeWorkload(seed + static_cast<uint64_t>(type.kind()), requests, longest,
                                           reference.model->shape().vocab);
    const Outcome expected = Run(reference, workload, Alone(most, type));
    EXPECT_EQ(expected.stats.prefix_hit_tokens, 0u);
    Prng prng(seed ^ 0x5EED);
    for (const std::string& backend : testing_support::RunnableBackends()) {
      for (const int threads : {1, 2, 3}) {
        if (backend == "ref" && threads > 1) continue;  // it has one
        const LoadedRunner loaded = load(backend, threads, limits);
        for (int round = 0; round < rounds; ++round) {
          const Setup setup = RandomSetup(prng, most, type);
          SCOPED_TRACE(backend + " threads=" + std::to_string(threads) + " " + setup.ToString());
          const Outcome got = Run(loaded, workload, setup);
          ExpectSame(workload, expected, got);
          coverage.Add(got.stats);
          if (testing::Test::HasFailure()) return coverage;
        }
      }
    }
  }
  return coverage;
}

Coverage CheckLaw(const std::filesystem::path& folder, int requests, int longest, int rounds, uint64_t seed,
                  numerics::Version version = numerics::kLatest, Quantization quantize = {},
                  const KvTypes& types = kFloats) {
  const Loader load = [&](const std::string& backend, int threads,
                          const testing_support::DriverLimits& limits) {
    return testing_support::LoadRunner(folder, backend, threads, limits, version, quantize);
  };
  return CheckLaw(load, requests, longest, rounds, seed, types);
}

void ExpectLaw(const testing_support::TinyModelShape& shape, uint64_t seed, int requests, int rounds,
               numerics::Version version = numerics::kLatest, const KvTypes& types = kFloats) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), seed, shape);
  const Coverage coverage = CheckLaw(folder.path(), requests, 120, rounds, seed, version, {}, types);
  EXPECT_GT(coverage.preemptions, 0u) << "the setups must be tight enough to show it";
  EXPECT_GT(coverage.evictions, 0u);
  EXPECT_GT(coverage.partial_copies, 0u);
  EXPECT_GT(coverage.hits, 0u);
  EXPECT_GT(coverage.shared, 0u);
}

TEST(Exactness, TinyModels) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    ExpectLaw({.hidden = 32,
               .layers = 2,
               .heads = 4,
               .kv_heads = seed == 0   ? 4
                           : seed == 1 ? 2
                                       : 1,
               .head_dim = seed == 2 ? 12 : 8},
              seed, 30, 6);
  }
}

// KV is kept for all positions in all layers, so that a prefix is reused exactly also where a window no
// longer sees it. Windows below, at and above a block, and ones that other layers lack.
TEST(Exactness, WindowsBiasesAndNorms) {
  const std::pair<std::string, std::string> families[] = {
      {"mistral", R"(,"sliding_window":5)"},
      {"mistral", R"(,"sliding_window":32)"},
      {"qwen2", R"(,"use_sliding_window":true,"sliding_window":17,"max_window_layers":1)"},
      {"qwen3", R"(,"attention_bias":true,"use_sliding_window":true,"sliding_window":40,)"
                R"("layer_types":["sliding_attention","full_attention"],"hidden_act":"relu")"},
      {"llama", R"(,"attention_bias":true,"mlp_bias":true,"hidden_act":"gelu_pytorch_tanh",)"
                R"("rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":32})"},
  };
  uint64_t seed = 10;
  for (const auto& [model_type, more] : families) {
    SCOPED_TRACE(model_type + more);
    ExpectLaw({.model_type = model_type, .more = more}, ++seed, 24, 4);
  }
}

// An odd width of the feed-forward network, so that its last pair of terms lacks one.
TEST(Exactness, Bf16WeightsInBothVersionsOfTheNumerics) {
  const testing_support::TinyModelShape shape{.intermediate = 47, .bf16 = true};
  ExpectLaw(shape, 20, 24, 2, numerics::Version::kCpu1);
  ExpectLaw(shape, 20, 24, 2, numerics::Version::kCpu4);
}

// The format does not fit the width of the feed-forward network in the second shape, whose `down` keeps bf16.
TEST(Exactness, QuantisedWeightsInBothVersionsOfTheNumerics) {
  const testing_support::TinyModelShape whole{.intermediate = 64, .bf16 = true};
  const testing_support::TinyModelShape mixed{.intermediate = 47, .bf16 = true};
  uint64_t seed = 30, hits = 0, evictions = 0;
  for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0}) {
    for (const auto& [shape, version] : {std::pair(whole, numerics::Version::kCpu4),
                                         {mixed, numerics::Version::kCpu4},
                                         {whole, numerics::Version::kCpu1}}) {
      SCOPED_TRACE(std::string(format.name()) + " " + std::string(numerics::VersionName(version)));
      const testing_support::TempDir folder;
      testing_support::WriteTinyModel(folder.path(), seed, shape);
      const Coverage coverage = CheckLaw(folder.path(), 24, 120, 2, seed++, version, format);
      hits += coverage.hits;
      evictions += coverage.evictions;
    }
  }
  EXPECT_GT(hits, 0u);
  EXPECT_GT(evictions, 0u);
}

// A backend of the CPU that stores tensors of f32 as q4_0 and those of f16 as q8_0.
class FormatsByType final : public kernel_testing::ForwardingBackend {
 public:
  explicit FormatsByType(std::unique_ptr<Backend> to) : ForwardingBackend(*to), to_(std::move(to)) {}
  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    formats_.insert(Stored(format).name());
    return to_->AllocateMatrix(rows, cols, Stored(format));
  }
  Status UploadRows(Matrix& to, int first_row, const MatrixSource& from) override {
    if (from.format == Stored(from.format)) return to_->UploadRows(to, first_row, from);
    MatrixSource stored = from;
    stored.format = Stored(from.format);
    std::vector<std::byte> rows(stored.format.RowBytes(from.cols) * static_cast<size_t>(from.rows));
    std::vector<float> row(static_cast<size_t>(from.cols));
    for (size_t r = 0; r < static_cast<size_t>(from.rows); ++r) {
      WidenRow(from.format, static_cast<const std::byte*>(from.data) + r * from.format.RowBytes(from.cols),
               from.cols, row.data());
      PREFIXD_CHECK(
          QuantizeRow(stored.format, row.data(), from.cols, &rows[r * stored.format.RowBytes(from.cols)]));
    }
    stored.data = rows.data();
    return to_->UploadRows(to, first_row, stored);
  }
  Result<std::unique_ptr<Matrix>> Stack(std::vector<std::unique_ptr<Matrix>> parts) override {
    stacks_ += 1;
    return to_->Stack(std::move(parts));
  }
  size_t PackedBytes(int rows, int cols, WeightFormat format) const override {
    return to_->PackedBytes(rows, cols, Stored(format));
  }
  const std::set<std::string_view>& formats() const { return formats_; }
  int stacks() const { return stacks_; }

 private:
  static WeightFormat Stored(WeightFormat format) {
    return format == WeightFormat::kF32   ? WeightFormat::kQ4_0
           : format == WeightFormat::kF16 ? WeightFormat::kQ8_0
                                          : format;
  }
  const std::unique_ptr<Backend> to_;
  std::set<std::string_view> formats_;
  int stacks_ = 0;
};

// Neighbouring matrices have different formats, those that are stacked too.
TEST(Exactness, FormatsThatAlternateWithinALayer) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 50, {.intermediate = 64, .mixed = true});
  const Loader load = [&](const std::string& backend, int threads,
                          const testing_support::DriverLimits& limits) {
    auto mixed = std::make_unique<FormatsByType>(*CreateBackend(backend, threads));
    const FormatsByType& seen = *mixed;
    auto loaded = testing_support::TryLoadRunner(folder.path(), std::move(mixed), limits);
    PREFIXD_CHECK(loaded.ok()) << loaded.status().ToString();
    EXPECT_THAT(seen.formats(), testing::ElementsAre("bf16", "q4_0", "q8_0"));
    EXPECT_EQ(seen.stacks(), 4) << "q, k and v, and gate and up, of two layers";
    return std::move(*loaded);
  };
  const Coverage coverage = CheckLaw(load, 24, 120, 1, 50);
  EXPECT_GT(coverage.hits, 0u);
  EXPECT_GT(coverage.evictions, 0u);
}

TEST(Exactness, QuantisedKv) {
  ExpectLaw({.head_dim = 32, .model_type = "mistral", .more = R"(,"sliding_window":17)"}, 51, 24, 4,
            numerics::kLatest, {KvType::kQ8_0});
}

TEST(Exactness, DemoModel) {
  const auto folder = testing_support::SourceDir() / "deploy/models/demo";
  ASSERT_TRUE(std::filesystem::exists(folder / "model.safetensors")) << "the demo model is part of the tree";
  EXPECT_GT(CheckLaw(folder, 6, 50, 2, 1).hits, 0u);
}

class GoldenExactness : public testing::TestWithParam<const char*> {};
TEST_P(GoldenExactness, Holds) {
  PREFIXD_NEED_SHARED(std::string("golden/") + GetParam());
  EXPECT_GT(CheckLaw(testing_support::SharedDir() / "golden" / GetParam(), 8, 60, 2, 2).hits, 0u);
}
INSTANTIATE_TEST_SUITE_P(Folders, GoldenExactness,
                         testing::Values("llama-gqa", "llama3-rope", "llama-mqa-linear", "mistral", "qwen2",
                                         "qwen2-yarn", "qwen3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace prefixd
