// Whole steps of a model with random weights: every device has the bits of the emulation, with its cuBLASLt
// and with the kernels alone. Without a module (cuda_fixture.h) the other device is an emulated one that
// takes its work in another order.
#include <gtest/gtest.h>

#include <string>

#include "tests/kernels/cuda/step_world.h"

namespace prefixd::cuda_test {
namespace {

class CudaStep : public testing::TestWithParam<DType> {};

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

INSTANTIATE_TEST_SUITE_P(Types, CudaStep, testing::Values(DType::kBF16, DType::kF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace prefixd::cuda_test
