// GEMM with the tile of AVX-512, by fma and by an instruction for pairs of bf16, on plain vectors
// (vec_plain.h): both have the bits of ref. And the trial of that instruction: it finds one with other bits.
// clang-format off
#include "tests/kernels/vec_plain.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/compressed_panel.h"
#include "kernels/cpu/tile.inl.h"
#include "kernels/cpu/at_once.inl.h"
#include "kernels/cpu/compressed.inl.h"
#include "kernels/cpu/gemm_panels.inl.h"
#include "kernels/cpu/gemm.inl.h"
#include "kernels/cpu/gemm_dots.inl.h"
// clang-format on
#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/dots_probe.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

void PackPlainDots(cpu::Chain, const float* x, int count, int terms, float* packed) {
  plain::PackDots(x, count, terms, packed);
}

constexpr cpu::Ops kFma = {
    .panel = plain::kPanel, .tile_rows = plain::kTileRows, .gemm = plain::Gemm, .pack_rows = plain::PackRows};
constexpr cpu::Ops kDots = {.panel = plain::kPanel,
                            .tile_rows = plain::kTileRows,
                            .gemm = plain::GemmOfDots,
                            .pack_rows = PackPlainDots};

// Compares a product of random numbers with that of ref. y starts with random values.
void Compare(const cpu::Ops& ops, numerics::Version version, DType dtype, int rows, int outputs, int terms,
             float (*number)(Prng&)) {
  const auto plain = CreateCpuOperations("plain", ops, cpu::Avx2QuantOps(), 2, version);
  const auto ref = MakeOperations("ref", 1, version);
  Prng prng(static_cast<uint64_t>(rows * 1000003 + outputs * 1009 + terms));
  std::vector<std::byte> w(static_cast<size_t>(outputs) * terms * DTypeBytes(dtype));
  for (size_t i = 0; i < static_cast<size_t>(outputs) * terms; ++i)
    StoreElement(w.data(), dtype, i, number(prng));
  std::vector<float> x(static_cast<size_t>(rows) * terms), y(static_cast<size_t>(rows) * outputs);
  for (float& value : x) value = number(prng);
  for (float& value : y) value = number(prng);
  for (const GemmOutput output : {GemmOutput::kStore, GemmOutput::kAccumulate}) {
    std::vector<float> want = y, got = y;
    ref->Gemm(*PackOrDie(*ref, w, dtype, outputs, terms), x.data(), rows, want.data(), output);
    plain->Gemm(*PackOrDie(*plain, w, dtype, outputs, terms), x.data(), rows, got.data(), output);
    ASSERT_TRUE(SameBits(got, want)) << DTypeName(dtype) << " " << numerics::VersionName(version) << " rows "
                                     << rows << " outputs " << outputs << " terms " << terms;
  }
}

// Every number of rows of a tile, of panels at once, and of terms about a pair and a vector.
TEST(WideTile, DotsHaveTheBitsOfRefAtAwkwardSizes) {
  for (const int rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25}) {
    for (const int outputs : {1, 16, 31, 33, 130, 300}) {
      for (const int terms : {1, 2, 3, 17, 34}) {
        Compare(kDots, numerics::Version::kCpu4, DType::kBF16, rows, outputs, terms, RandomFloat);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// In parts, and the sums of all tiles wait in between.
TEST(WideTile, DotsHaveTheBitsOfRefInParts) {
  Compare(kDots, numerics::Version::kCpu4, DType::kBF16, 97, 260, 2051, RandomFloat);
}

// Many rows multiply a part of a panel that is widened once.
TEST(WideTile, FmaOfWidenedPanelsHasTheBitsOfRef) {
  for (const DType dtype : kAllDTypes) {
    for (const numerics::Version version : {numerics::Version::kCpu1, numerics::Version::kCpu4}) {
      Compare(kFma, version, dtype, 97, 300, 1027, RandomFloat);
      Compare(kFma, version, dtype, 97, 300, 35, AwkwardFloat);
    }
  }
}

// Subnormals, infinities, NaNs, sums that cancel. The arithmetic of the caller has subnormals afterwards.
TEST(WideTile, DotsHaveTheBitsOfRefForAwkwardNumbers) {
  for (const int rows : {1, 2, 7, 12, 30}) {
    for (const int outputs : {17, 32, 129}) {
      for (const int terms : {1, 2, 6, 9})
        Compare(kDots, numerics::Version::kCpu4, DType::kBF16, rows, outputs, terms, AwkwardFloat);
    }
  }
  EXPECT_EQ(_mm_getcsr() & 0x8040u, 0u);
}

TEST(WideTile, FmaHasTheBitsOfRef) {
  for (const DType dtype : kAllDTypes) {
    for (const numerics::Version version : {numerics::Version::kCpu1, numerics::Version::kCpu4}) {
      for (const int rows : {1, 3, 11, 13}) {
        Compare(kFma, version, dtype, rows, 131, 17, RandomFloat);
        Compare(kFma, version, dtype, rows, 33, 9, AwkwardFloat);
      }
    }
  }
}

// Most are near 2^-6, as trained weights are, and one of 200 is an exception of a compressed panel.
float Compressible(Prng& prng) {
  const uint64_t kind = prng.Below(400);
  if (kind == 0) return 1e-30f;
  if (kind == 1) return prng.Chance(0.1) ? INFINITY : -100.0f;
  return (static_cast<float>(prng.Unit()) - 0.5f) * 0x1p-5f;
}

TEST(WideTile, CompressedPanelsHaveTheBitsOfRef) {
  for (const int rows : {1, 3, 5, 12, 25, 97}) {
    for (const auto& [outputs, terms] : {std::pair(130, 260), {33, 64}, {34, 2052}}) {
      if (testing_support::kSanitized && terms > 260 && rows > 5) continue;
      Compare(kDots, numerics::Version::kCpu4, DType::kBF16, rows, outputs, terms, Compressible);
      Compare(kFma, numerics::Version::kCpu4, DType::kBF16, rows, outputs, terms, Compressible);
      Compare(kFma, numerics::Version::kCpu1, DType::kBF16, rows, outputs, terms, Compressible);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(DotsProbe, FindsAnInstructionWithOtherBits) {
  const cpu::DotsComparison right = cpu::CompareDots(kDots, kFma);
  EXPECT_GT(right.sums, 200000);
  EXPECT_EQ(right.different, 0);
  EXPECT_EQ(cpu::WrongBits(right), "");
  using plain::Fault;
  for (const Fault fault :
       {Fault::kFirstFirst, Fault::kSubnormals, Fault::kFlushesInput, Fault::kFlushesEarly,
        Fault::kSumsProducts, Fault::kTinyBefore, Fault::kTinyAfter, Fault::kRoundsToZero}) {
    plain::fault = fault;
    EXPECT_GT(cpu::CompareDots(kDots, kFma).different, 100) << static_cast<int>(fault);
  }
  plain::fault = Fault::kNone;
}

TEST(DotsProbe, SaysWhatIsWrong) {
  EXPECT_EQ(cpu::WrongBits({.sums = 9, .different = 2}),
            "its bf16 instruction differs from fma in 2 of 9 sums");
  EXPECT_EQ(cpu::TooSlow(0.52), "");
  EXPECT_EQ(cpu::TooSlow(1.25), "its bf16 instruction takes 125 % of the time of fma");
  EXPECT_GT(cpu::TimeOfDots(kDots, kFma), 0);
}

TEST(DotsProbeDeathTest, TablesOfOtherTilesAreRefused) {
  cpu::Ops narrow = kFma;
  narrow.panel = 16;
  EXPECT_DEATH(cpu::CompareDots(kDots, narrow), "panels of 32 and 16");
}

}  // namespace
}  // namespace prefixd
