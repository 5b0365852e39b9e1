// Tests what the log and `validate` say about the products of bf16 weights.
#include "daemon/bf16_products.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

using numerics::Version;

// What is said for `backend` on a CPU whose bf16 instruction is as `dots` says.
std::string Said(const BackendInfo& dots, std::string_view backend, Version version = Version::kCpu4) {
  const BackendInfo list[] = {{"ref", true, "", true, ""}, {"avx2", true, "", true, ""}, dots};
  const Bf16Products products = DescribeBf16Products(backend, version, list);
  return products.by + ": " + products.reason;
}

TEST(Bf16Products, TheWayAndItsReason) {
  const BackendInfo good = {"avx512bf16", true, "", true, ""};
  EXPECT_EQ(Said(good, "avx512bf16"), "the bf16 instruction: it has the bits of fma and is faster");
  EXPECT_EQ(Said(good, "avx512bf16", Version::kCpu1), "fma: option activations");
  EXPECT_EQ(Said(good, "avx2"), "fma: option backend");
  EXPECT_EQ(Said(good, "ref"), "plain code: option backend");
}

TEST(Bf16Products, WhyTheInstructionIsLeftOut) {
  EXPECT_EQ(Said({"avx512bf16", false, "needs a CPU with BF16", true, ""}, "avx2"),
            "fma: avx512bf16: needs a CPU with BF16");
  const BackendInfo slow = {"avx512bf16", true, "", true,
                            "its bf16 instruction takes 125 % of the time of fma"};
  EXPECT_EQ(Said(slow, "avx2"), "fma: avx512bf16: its bf16 instruction takes 125 % of the time of fma");
  EXPECT_EQ(
      Said(slow, "avx512bf16"),
      "the bf16 instruction: option backend, although its bf16 instruction takes 125 % of the time of fma");
  EXPECT_FALSE(slow.ForAuto());
}

TEST(Bf16Products, TheListOfThisMachineHasTheInstruction) {
  const std::vector<BackendInfo> list = ListBackends();
  for (const BackendInfo& backend : list) {
    if (!backend.runs_here || backend.name == "cuda") continue;
    EXPECT_NE(DescribeBf16Products(backend.name, Version::kCpu4, list).reason, "") << backend.name;
  }
}

}  // namespace
}  // namespace prefixd
