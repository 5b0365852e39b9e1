// Whole steps of a model with random weights: every device has the bits of the emulation, with its cuBLASLt
// and with the kernels alone. Without a module (cuda_fixture.h) the other device is an emulated one that
// takes its work in another order.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/registry.h"
#include "tests/kernels/cuda/step_world.h"

namespace prefixd::cuda_test {
namespace {

class CudaStep : public testing::TestWithParam<WeightFormat> {};

TEST_P(CudaStep, HasTheBitsOfTheEmulation) {
  World emulated(std::make_unique<cuda_emulation::EmulatedRuntime>(cuda_emulation::EmulatedOptions{}),
                 GetParam());
  World other(NewDevice({.seed = 5, .late_copies = true}), GetParam());
  for (const std::vector<Piece>& step : Steps()) ExpectSameStep(emulated, other, step);
  if (other.backend().numerics_version().find("blaslt") == std::string_view::npos) return;
  World kernels_alone(NewDevice(), GetParam(), /*deterministic=*/true);
  for (const std::vector<Piece>& step : Steps()) ExpectSameStep(emulated, kernels_alone, step);
}

// Two sequences generate, one with penalties. The second step of each pair takes the tokens of the first from
// the device.
TEST_P(CudaStep, TwoInFlightHaveTheBitsOfOneAtATime) {
  World one(NewDevice(), GetParam()), two(NewDevice({.seed = 3, .late_copies = true}), GetParam());
  for (World* world : {&one, &two}) {
    StepResult result;
    ASSERT_TRUE(world->Run({{0, 0, 13}, {1, 0, 9}}, &result).ok());
  }
  for (const int position : {13, 15, 17}) {
    StepResult expected[2], got[2];
    ASSERT_TRUE(one.Generate(position, false, expected).ok());
    ASSERT_TRUE(two.Generate(position, true, got).ok());
    for (int step = 0; step < 2; ++step) ExpectSame(expected[step], got[step]);
    EXPECT_NE(expected[0].logits, expected[1].logits);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaStep,
                         testing::Values(DType::kBF16, DType::kF16, DType::kF32, WeightFormat::kQ8_0,
                                         WeightFormat::kQ4_0),
                         [](const auto& info) { return std::string(info.param.name()); });

// Rows of random weights of a format, the same ones on every backend.
std::unique_ptr<Matrix> RandomMatrix(Backend& backend, WeightFormat format, int rows, int cols,
                                     uint64_t seed) {
  const DummyMatrix dummy{.format = format, .rows = rows, .cols = cols, .seed = seed, .largest = 0.1f};
  Result<std::unique_ptr<Matrix>> matrix = backend.MakeDummy(dummy);
  PREFIXD_CHECK(matrix.ok()) << matrix.status().ToString();
  return std::move(*matrix);
}

// Stacks of different formats, and other formats in every place: their activations take both forms.
void MixFormats(Backend& backend, ModelPlan* plan) {
  const ModelShape& s = plan->shape;
  const auto stack = [&](std::initializer_list<std::pair<WeightFormat, int>> rows) {
    std::vector<std::unique_ptr<Matrix>> parts;
    for (const auto& [format, count] : rows)
      parts.push_back(RandomMatrix(backend, format, count, s.hidden, 20 + parts.size()));
    return *backend.Stack(std::move(parts));
  };
  LayerWeights& first = plan->weights.layers.front();
  LayerWeights& last = plan->weights.layers.back();
  first.qkv = stack({{WeightFormat::kQ8_0, s.QueryWidth()},
                     {DType::kF32, s.KvWidth()},
                     {WeightFormat::kQ4_0, s.KvWidth()}});
  first.gate_up = stack({{DType::kF32, s.intermediate}, {WeightFormat::kQ4_0, s.intermediate}});
  first.down = RandomMatrix(backend, WeightFormat::kQ4_0, s.hidden, s.intermediate, 30);
  last.qkv = stack({{WeightFormat::kQ4_0, s.QueryWidth()}, {WeightFormat::kQ8_0, 2 * s.KvWidth()}});
  last.out = RandomMatrix(backend, WeightFormat::kQ8_0, s.hidden, s.QueryWidth(), 31);
}

// The same steps on the CPU. Weights have the same numbers there, and quantised ones the same products; norms
// and attention add in another order, so that a number of a block may be rounded to its neighbour.
void ExpectNearTheCpu(WeightFormat format, const std::function<void(Backend&, ModelPlan*)>& change = {},
                      KvType kv = DType::kF32) {
  Result<std::unique_ptr<Backend>> ref = CreateBackend("ref", 1);
  ASSERT_TRUE(ref.ok()) << ref.status().ToString();
  World cpu(std::move(*ref), format, kv, change);
  World gpu(cuda::CreateCudaBackend(NewDevice({.exact_products = false}), true), format, kv, change);
  for (const std::vector<Piece>& step : Steps()) {
    StepResult expected, got;
    ASSERT_TRUE(cpu.Run(step, &expected).ok());
    ASSERT_TRUE(gpu.Run(step, &got).ok());
    double error = 0, size = 0;
    for (size_t i = 0; i < expected.logits.size(); ++i) {
      error += std::pow(got.logits[i] - expected.logits[i], 2.0);
      size += std::pow(expected.logits[i], 2.0);
    }
    EXPECT_LT(std::sqrt(error / size), 0.02);
  }
}

TEST(CudaQuantizedStep, IsNearThatOfTheCpu) {
  ExpectNearTheCpu(WeightFormat::kQ8_0);
  ExpectNearTheCpu(WeightFormat::kQ4_0);
}

TEST(CudaQuantizedStep, WithQuantisedKvIsNearThatOfTheCpu) {
  ExpectNearTheCpu(DType::kF32, {}, KvType::kQ8_0);
  ExpectNearTheCpu(WeightFormat::kQ8_0, {}, KvType::kQ8_0);
}

TEST(CudaQuantizedStep, OfMixedFormatsIsNearThatOfTheCpu) {
  ExpectNearTheCpu(WeightFormat::kQ8_0, MixFormats);
  ExpectNearTheCpu(DType::kF32, MixFormats);
}

}  // namespace
}  // namespace prefixd::cuda_test
