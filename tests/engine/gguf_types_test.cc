// A model in a GGUF file computes what the same numbers in a folder of safetensors compute, for every type
// that is read: the blocks are random bits, and the folder has their numbers in f32.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include "base/bytes.h"
#include "base/prng.h"
#include "kernels/numerics.h"
#include "kernels/registry.h"
#include "kernels/stored_type.h"
#include "model/gguf_config.h"
#include "model/gguf_weights.h"
#include "model/model_loader.h"
#include "model/weights.h"
#include "storage/payload_codec.h"
#include "tests/engine/engine_tiers.h"
#include "tests/engine/exactness_law.h"
#include "tests/kernels/forwarding_backend.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::GgufWriter;
using testing_support::RunningSequence;
using testing_support::SequenceRunner;
using testing_support::TempDir;

constexpr int kWidth = 256;  // of rows: a block of the types with the largest ones
constexpr int kContext = 32;
constexpr char kConfig[] =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":256,"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"head_dim":64,"intermediate_size":256,"vocab_size":96,
        "max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":false})";

// A type, its number in GGUF, and the float16 fields of a block: offset and a number for which weights are
// small.
struct TypeCase {
  StoredType type;
  uint32_t number;
  std::vector<std::pair<size_t, float>> fields;
};
const TypeCase kCases[] = {
    {StoredType::kF32, 0, {}},
    {StoredType::kF16, 1, {}},
    {StoredType::kBF16, 30, {}},
    {StoredType::kQ8_0, 8, {{0, 1e-3f}}},
    {StoredType::kQ4_0, 2, {{0, 1e-2f}}},
    {StoredType::kQ4_1, 3, {{0, 1e-2f}, {2, -8e-2f}}},
    {StoredType::kQ5_0, 6, {{0, 6e-3f}}},
    {StoredType::kQ5_1, 7, {{0, 5e-3f}, {2, -8e-2f}}},
    {StoredType::kIQ4_NL, 20, {{0, 1e-3f}}},
    {StoredType::kMXFP4, 39, {}},
    {StoredType::kQ2_K, 10, {{80, 4e-3f}, {82, 4e-3f}}},
    {StoredType::kQ3_K, 11, {{108, 1e-3f}}},
    {StoredType::kQ4_K, 12, {{0, 2e-4f}, {2, 1e-3f}}},
    {StoredType::kQ5_K, 13, {{0, 1e-4f}, {2, 1e-3f}}},
    {StoredType::kQ6_K, 14, {{208, 4e-5f}}},
    {StoredType::kIQ4_XS, 23, {{0, 4e-5f}}},
};
static_assert(std::size(kCases) == StoredType::kKinds);

// Random elements of a type.
std::string RandomBytes(const TypeCase& of, size_t elements, Prng* prng) {
  std::string bytes;
  if (const std::optional<DType> dtype = of.type.dtype()) {
    for (size_t i = 0; i < elements; ++i) {
      const auto number = static_cast<float>(prng->Unit() - 0.5) * 0.25f;
      if (*dtype == DType::kF32) PutLittle(&bytes, number);
      if (*dtype == DType::kF16) PutLittle(&bytes, numerics::F32ToF16(number));
      if (*dtype == DType::kBF16) PutLittle(&bytes, numerics::F32ToBF16(number));
    }
    return bytes;
  }
  bytes.resize(of.type.Bytes(elements));
  for (char& byte : bytes) byte = static_cast<char>(prng->Below(256));
  for (size_t at = 0; at < bytes.size(); at += of.type.block_bytes()) {
    for (const auto& [offset, number] : of.fields) {
      const uint16_t half = numerics::F32ToF16(number * static_cast<float>(0.5 + prng->Unit()));
      std::memcpy(bytes.data() + at + offset, &half, sizeof half);
    }
    if (of.type == StoredType::kMXFP4) bytes[at] = static_cast<char>(119 + prng->Below(3));
  }
  return bytes;
}

std::string GgufNameOf(const std::string& name) {
  for (const char* model : {"token_embd.weight", "output_norm.weight", "output.weight"}) {
    if (TransformersName(model) == name) return model;
  }
  for (const char* part : {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate",
                           "ffn_up", "ffn_down"}) {
    for (int layer = 0; layer < 2; ++layer) {
      const std::string gguf = "blk." + std::to_string(layer) + "." + part + ".weight";
      if (TransformersName(gguf) == name) return gguf;
    }
  }
  ADD_FAILURE() << name;
  return "";
}

// One model as a GGUF file and as a folder of safetensors in f32. `type_of` returns the type of a matrix.
class Pair {
 public:
  template <typename TypeOf>
  explicit Pair(const TypeOf& type_of) : config_(*ParseModelConfig(kConfig)) {
    GgufWriter gguf;
    gguf.Add("general.architecture", "llama");
    gguf.Add("llama.embedding_length", 256);
    gguf.Add("llama.block_count", 2);
    gguf.Add("llama.feed_forward_length", 256);
    gguf.Add("llama.attention.head_count", 4);
    gguf.Add("llama.attention.head_count_kv", 2);
    gguf.Add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf.Add("llama.context_length", 512);
    Prng prng(7);
    std::string header = "{", data;
    for (const WeightSpec& spec : RequiredWeights(config_)) {
      const bool vector = spec.shape.size() == 1;
      const TypeCase& of = vector ? kCases[0] : type_of(spec.name);
      const size_t rows = vector ? 1 : static_cast<size_t>(spec.shape[0]);
      const std::string bytes = RandomBytes(of, rows * kWidth, &prng);
      gguf.AddTensor(GgufNameOf(spec.name), of.number, spec.shape, bytes);
      std::vector<float> numbers(rows * kWidth), ordered(rows * kWidth);
      WidenStored(of.type, std::as_bytes(std::span(bytes)).data(), numbers.size(), numbers.data());
      const bool paired =
          spec.name.find("q_proj") != std::string::npos || spec.name.find("k_proj") != std::string::npos;
      for (size_t row = 0; row < rows; ++row) {
        const auto to = static_cast<size_t>(paired ? UnpairedRow(static_cast<int64_t>(row), 64) : row);
        std::copy_n(numbers.data() + row * kWidth, kWidth, ordered.data() + to * kWidth);
      }
      header += (header.size() > 1 ? ",\"" : "\"") + spec.name + R"(":{"dtype":"F32","shape":[)" +
                (vector ? "256" : std::to_string(rows) + ",256") + R"(],"data_offsets":[)" +
                std::to_string(data.size()) + ",";
      for (const float number : ordered) PutLittle(&data, number);
      header += std::to_string(data.size()) + "]}";
    }
    std::string file;
    PutLittle<uint64_t>(&file, header.size() + 1);
    std::ofstream(dir_.path() / "model.safetensors", std::ios::binary) << file + header + "}" + data;
    std::ofstream(dir_.path() / "model.gguf", std::ios::binary) << gguf.File();
  }

  // Of all matrices: embedding and head, and of two layers q, k, v, o, gate, up and down.
  static constexpr size_t kElements = kWidth * (2 * 96 + 2 * (256 + 128 + 128 + 256 + 3 * 256));

  // The logits of a few tokens.
  struct Outcome {
    std::vector<float> logits;
    BlockKey hash;
    size_t bytes;  // of the weights
  };
  Outcome Run(bool gguf, const std::string& backend_name, numerics::Version version) const {
    return RunOn(gguf, *CreateBackend(backend_name, 2, {}, version));
  }
  Outcome RunOn(bool gguf, const std::unique_ptr<Backend>& backend) const {
    LoadedPlan loaded = Plan(gguf, *backend, kContext);
    Outcome outcome{{}, loaded.weights_hash, loaded.plan.weights.bytes};
    const auto model = *backend->CreateRunner(std::move(loaded.plan), {kContext, kContext, kContext});
    SequenceRunner runner(*model, *backend, DType::kF32, 16, 4);
    RunningSequence sequence;
    const std::vector<TokenId> tokens = {1, 17, 95, 0, 42, 42, 7};
    outcome.logits = runner.Append(sequence, tokens, 4);
    return outcome;
  }

  // The formats that are planned for the matrices, that of most numbers first.
  std::vector<WeightFormat> FormatsPlanned(bool gguf) const {
    const WeightFiles files = *WeightFiles::Open(gguf ? dir_.path() / "model.gguf" : dir_.path());
    return PlannedFormats(config_, files, **CreateBackend("auto", 1));
  }

  // The GGUF file on a backend of this machine.
  testing_support::LoadedRunner Load(const testing_support::DriverLimits& limits,
                                     numerics::Version version) const {
    testing_support::LoadedRunner loaded{*CreateBackend("auto", 2, {}, version), nullptr};
    LoadedPlan plan = Plan(true, *loaded.backend, limits.context);
    loaded.model = *loaded.backend->CreateRunner(
        std::move(plan.plan),
        {limits.context, limits.step_tokens, limits.max_sequences + limits.prompt_logit_rows});
    return loaded;
  }

 private:
  LoadedPlan Plan(bool gguf, Backend& backend, int context) const {
    const WeightFiles files = *WeightFiles::Open(gguf ? dir_.path() / "model.gguf" : dir_.path());
    files.CheckInvariants();
    const ModelConfig config = gguf ? *ConfigOfGguf(*OpenGgufModel(dir_.path() / "model.gguf")) : config_;
    EXPECT_EQ(CanonicalArchitecture(config), CanonicalArchitecture(config_));
    Result<LoadedPlan> loaded = LoadPlan(config, files, backend, context, {});
    PREFIXD_CHECK(loaded.ok()) << loaded.status().ToString();
    return std::move(*loaded);
  }

  TempDir dir_;
  ModelConfig config_;
};

bool RunsHere(const std::string& backend) {
  for (const BackendInfo& info : ListBackends()) {
    if (info.name == backend) return info.runs_here;
  }
  return false;
}

float Largest(const std::vector<float>& numbers) {
  float largest = 0;
  for (const float number : numbers) largest = std::max(largest, std::abs(number));
  return largest;
}

float Distance(const std::vector<float>& a, const std::vector<float>& b) {
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

TEST(GgufTypes, LogitsAreThoseOfTheNumbersInF32) {
  for (const TypeCase& of : kCases) {
    const Pair pair([&](const std::string&) -> const TypeCase& { return of; });
    const auto gguf = pair.Run(true, "ref", numerics::Version::kCpu1);
    const auto f32 = pair.Run(false, "ref", numerics::Version::kCpu1);
    const float largest = Largest(f32.logits);
    ASSERT_TRUE(std::isfinite(largest) && largest > 0) << of.type.name();
    if (of.type.format().quantized() || of.type == DType::kF32) {
      EXPECT_EQ(gguf.logits, f32.logits) << of.type.name();
    }
    EXPECT_LE(Distance(gguf.logits, f32.logits), 1e-4f * largest) << of.type.name();
    // With integers of 8 bits of the activations they stay near.
    const auto integers = pair.Run(true, "ref", numerics::Version::kCpu4);
    EXPECT_LE(Distance(integers.logits, f32.logits), 0.05f * largest) << of.type.name();
  }
}

// All rows of the matrices are whole panels, and those of 256 columns whole cache lines or nearly so.
TEST(GgufTypes, WeightsTakeTheMemoryOfTheFile) {
  for (const TypeCase& of : kCases) {
    const Pair pair([&](const std::string&) -> const TypeCase& { return of; });
    const size_t plain = pair.Run(false, "auto", numerics::Version::kCpu4).bytes;
    const size_t elements = Pair::kElements, others = plain - elements * sizeof(float);
    for (const auto version : {numerics::Version::kCpu1, numerics::Version::kCpu4}) {
      const size_t bytes = pair.Run(true, "auto", version).bytes - others;
      EXPECT_GE(bytes, of.type.Bytes(elements)) << of.type.name();
      EXPECT_LE(bytes, of.type.Bytes(elements) * 102 / 100) << of.type.name();
    }
  }
}

TEST(GgufTypes, EveryBackendOfTheCpuGivesTheSameBits) {
  for (const TypeCase& of : kCases) {
    const Pair pair([&](const std::string&) -> const TypeCase& { return of; });
    for (const auto version : {numerics::Version::kCpu1, numerics::Version::kCpu4}) {
      const auto expected = pair.Run(true, "ref", version);
      for (const char* backend : {"avx2", "avx512", "avx512bf16"}) {
        if (!RunsHere(backend)) continue;
        const auto found = pair.Run(true, backend, version);
        EXPECT_EQ(found.logits, expected.logits) << of.type.name() << " " << backend;
        EXPECT_EQ(found.hash, expected.hash) << of.type.name() << " " << backend;
      }
    }
  }
}

// As the usual files of four bits have it: v and down in more bits than the others.
const TypeCase& MoreBitsInSome(const std::string& name) {
  const bool more = name.find("v_proj") != std::string::npos || name.find("down") != std::string::npos;
  return kCases[more ? StoredType::kQ6_K : StoredType::kQ4_K];
}

TEST(GgufTypes, TypesMayDifferWithinAStack) {
  const Pair pair(MoreBitsInSome);
  EXPECT_EQ(pair.Run(true, "ref", numerics::Version::kCpu1).logits,
            pair.Run(false, "ref", numerics::Version::kCpu1).logits);
}

// What a machine is measured with before the model is loaded, and what `validate` names.
TEST(GgufTypes, ThePlanKnowsTheFormats) {
  const Pair pair(MoreBitsInSome);
  EXPECT_EQ(pair.FormatsPlanned(true), (std::vector<WeightFormat>{WeightFormat::kQ4_K, WeightFormat::kQ6_K}));
  EXPECT_EQ(pair.FormatsPlanned(false), std::vector<WeightFormat>{WeightFormat::kF32});
}

TEST(GgufTypes, TheHashIsThatOfTheTypesInTheFile) {
  const auto of = [](StoredType::Kind kind) {
    return [kind](const std::string&) -> const TypeCase& { return kCases[kind]; };
  };
  const auto hash = [](const Pair& pair, bool gguf, numerics::Version version) {
    return pair.Run(gguf, "ref", version).hash;
  };
  const Pair f32(of(StoredType::kF32));
  EXPECT_NE(hash(f32, true, numerics::Version::kCpu1), hash(f32, false, numerics::Version::kCpu1));
  std::set<BlockKey> hashes;
  for (const TypeCase& type : kCases) {
    const Pair pair(of(type.type.kind()));
    hashes.insert(hash(pair, true, numerics::Version::kCpu4));
    EXPECT_EQ(hash(pair, true, numerics::Version::kCpu1), hash(pair, true, numerics::Version::kCpu4));
  }
  EXPECT_EQ(hashes.size(), std::size(kCases));
}

// A backend of the CPU without kernels for some format.
class WithoutKernels final : public kernel_testing::ForwardingBackend {
 public:
  WithoutKernels(std::unique_ptr<Backend> to, WeightFormat format)
      : ForwardingBackend(*to), to_(std::move(to)), format_(format) {}
  bool HasKernels(WeightFormat format) const override { return format != format_; }
  Result<std::unique_ptr<Matrix>> AllocateMatrix(int rows, int cols, WeightFormat format) override {
    PREFIXD_CHECK(format == WeightFormat::kBF16) << format.name();
    return to_->AllocateMatrix(rows, cols, format);
  }

 private:
  const std::unique_ptr<Backend> to_;
  const WeightFormat format_;
};

TEST(GgufTypes, WhatABackendCannotMultiplyIsWidened) {
  const TypeCase& of = kCases[StoredType::kQ4_K];
  const Pair pair([&](const std::string&) -> const TypeCase& { return of; });
  const auto own = pair.Run(true, "auto", numerics::Version::kCpu4);
  const auto widened =
      pair.RunOn(true, std::make_unique<WithoutKernels>(*CreateBackend("auto", 2), of.type.format()));
  const auto f32 = pair.Run(false, "ref", numerics::Version::kCpu1);
  EXPECT_LE(Distance(widened.logits, f32.logits), 0.02f * Largest(f32.logits));
  EXPECT_EQ(widened.bytes - own.bytes, Pair::kElements * 2 - of.type.Bytes(Pair::kElements));
  EXPECT_NE(widened.hash, own.hash) << "the hash says what the weights are widened to";
}

// The law, with every type of KV: prefixes that the cache has, and other chunks, give the same bits. Device
// memory is too small for the requests, host memory and a disk have the rest; the second engine begins with
// what the first one left on the disk.
class GgufLaw : public testing::Test {
 protected:
  void ExpectLaw(const testing_support::LoadedRunner& loaded, KvType kv, uint64_t seed) {
    const testing_support::TempDir disk;
    const exactness::Workload workload = exactness::MakeWorkload(seed, 8, 60, 96);
    exactness::Setup setup = kMost;
    setup.kv_dtype = kv;
    setup.one_by_one = true;
    setup.block_tokens = 8;
    setup.step_tokens = 11;
    setup.blocks = 13;  // one more than the longest sequence has
    setup.host_blocks = 20;
    setup.disk = true;
    setup.load_policy = LoadPolicy::kLoad;
    const exactness::Outcome alone = exactness::Run(loaded, workload, exactness::Alone(kMost, kv));
    EXPECT_EQ(alone.stats.prefix_hit_tokens, 0u);
    const KvLayout layout = loaded.model->shape().Kv(setup.block_tokens, kv);
    const BlockKey fingerprint{seed, 1};
    for (const int time : {0, 1}) {
      SCOPED_TRACE("engine " + std::to_string(time));
      const auto tiers = *testing_support::EngineTiers::Create(
          {.layout = layout,
           .host_blocks = setup.host_blocks,
           .fingerprint = fingerprint,
           .codec = ChooseCodec(kv.name()),
           .store = testing_support::OpenDisk(disk.path() / "disk", fingerprint, &clock_)},
          loaded.backend.get());
      const exactness::Outcome got =
          exactness::Run(loaded, workload, setup, tiers->lower_tiers(), fingerprint);
      exactness::ExpectSame(workload, alone, got);
      exactness::Coverage coverage;
      coverage.Add(got.stats);
      EXPECT_GT(coverage.hits, 0u);
      if (time == 1) {
        EXPECT_GT(coverage.disk, 0u);
      }
      all_.Add(got.stats);
    }
  }

  const testing_support::DriverLimits kLimits{.context = 96, .step_tokens = 64, .max_sequences = 4};
  const exactness::Setup kMost{
      .context = kLimits.context, .step_tokens = kLimits.step_tokens, .max_sequences = kLimits.max_sequences};
  const SystemClock clock_;
  exactness::Coverage all_;
};

TEST_F(GgufLaw, TheCacheChangesNothing) {
  uint64_t seed = 1;
  for (const TypeCase& of : kCases) {
    const Pair pair([&](const std::string&) -> const TypeCase& { return of; });
    const testing_support::LoadedRunner loaded = pair.Load(kLimits, numerics::kLatest);
    const testing_support::LoadedRunner exact = pair.Load(kLimits, numerics::Version::kCpu1);
    for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0}) {
      SCOPED_TRACE(std::string(of.type.name()) + " weights, " + std::string(kv.name()) + " KV");
      ExpectLaw(loaded, kv, ++seed);
      if (kv == KvType::kF32) ExpectLaw(exact, kv, ++seed);
    }
  }
  EXPECT_GT(all_.host, 0u);
  EXPECT_GT(all_.evictions, 0u);
}

}  // namespace
}  // namespace prefixd
