// Compares products of quantised weights with ref, bit for bit: those of the fast backends, and those of
// every table of kernels that this machine can run.
#include "kernels/cpu/amx.h"
#include "kernels/cpu/quant_matrix.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/quant_format.h"
#include "kernels/quantize.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

std::vector<WeightFormat> QuantisedFormats() {
  std::vector<WeightFormat> formats;
  for (int kind = WeightFormat::kQ8_0; kind < WeightFormat::kKinds; ++kind)
    formats.emplace_back(static_cast<WeightFormat::Kind>(kind));
  return formats;
}
const std::vector<WeightFormat> kQuantised = QuantisedFormats();

// The fewest columns that are `cols` or more and fit the format.
int Fitting(WeightFormat format, int cols) {
  return (cols + format.block() - 1) / format.block() * format.block();
}

// Rows whose bytes are random, but for the fractions, which are finite: codes and factors of all sizes, also
// those that no file has, and those of the largest sums.
std::vector<std::byte> RandomRows(Prng& prng, WeightFormat format, int rows, int cols) {
  const QuantFormat of = QuantFormatOf(format);
  std::vector<std::byte> bytes(format.RowBytes(cols) * static_cast<size_t>(rows));
  for (size_t at = 0; at < bytes.size(); at += format.block_bytes()) {
    const bool extreme = prng.Chance(0.1);  // sums that would saturate 16 bits
    constexpr std::byte kExtremes[] = {std::byte{0x80}, std::byte{0x7F}, std::byte{0xFF}, std::byte{0x00}};
    const std::byte one = kExtremes[prng.Below(4)];
    for (size_t i = 0; i < format.block_bytes(); ++i)
      bytes[at + i] = extreme ? one : static_cast<std::byte>(prng.Below(256));
    const auto put = [&](size_t offset) {
      const uint16_t half = numerics::F32ToF16(RandomFloat(prng));
      std::memcpy(&bytes[at + offset], &half, 2);
    };
    if (!of.exponent) put(of.scale_at);
    if (of.offset) put(of.offset_at);
    if (of.exponent) bytes[at] = static_cast<std::byte>(prng.Chance(0.2) ? prng.Below(250) : 119);
  }
  return bytes;
}

// Rows with blocks of equal numbers, zeros, tiny ones, and a few that are not finite.
std::vector<float> AwkwardRows(Prng& prng, size_t n) {
  std::vector<float> x = RandomFloats(prng, n);
  for (size_t block = 0; block + kQuantBlock <= n; block += kQuantBlock) {
    const uint64_t kind = prng.Below(24);
    for (size_t k = block; k < block + kQuantBlock; ++k) {
      if (kind == 0) x[k] = -1.0f;
      if (kind == 1) x[k] = 0.0f;
      if (kind == 2) x[k] *= 0x1p-91f;
      if (kind == 3) x[k] *= 0x1p100f;
    }
    if (kind == 4 && prng.Chance(0.1)) x[block + prng.Below(kQuantBlock)] = INFINITY;
    if (kind == 5 && prng.Chance(0.1)) x[block + prng.Below(kQuantBlock)] = NAN;
  }
  return x;
}

std::unique_ptr<Matrix> PackRows(Operations& operations, const std::vector<std::byte>& rows,
                                 WeightFormat format, int outputs, int terms) {
  const MatrixSource source{rows.data(), format, outputs, terms};
  auto matrix = operations.Pack({&source, 1});
  PREFIXD_CHECK(matrix.ok()) << matrix.status().ToString();
  return std::move(*matrix);
}

class QuantGemmTest : public CompareWithRef {
 protected:
  void Compare(Operations& fast, Operations& ref, WeightFormat format, int rows, int outputs, int terms,
               GemmOutput output) {
    Prng prng(static_cast<uint64_t>(rows * 1000003 + outputs * 1009 + terms));
    const auto w = RandomRows(prng, format, outputs, terms);
    const auto x = AwkwardRows(prng, static_cast<size_t>(rows) * terms);
    const auto y = RandomFloats(prng, static_cast<size_t>(rows) * outputs);
    std::vector<float> want = y, got = y;
    ref.Gemm(*PackRows(ref, w, format, outputs, terms), x.data(), rows, want.data(), output);
    fast.Gemm(*PackRows(fast, w, format, outputs, terms), x.data(), rows, got.data(), output);
    ASSERT_TRUE(SameBits(got, want)) << format.name() << " rows " << rows << " outputs " << outputs
                                     << " terms " << terms
                                     << (output == GemmOutput::kStore ? " store" : " accumulate");
  }
};

TEST_P(QuantGemmTest, EveryRowCountAtEveryTail) {
  std::vector<int> row_counts(15);
  std::iota(row_counts.begin(), row_counts.end(), 1);
  row_counts.insert(row_counts.end(), {24, 25, 67});
  for (const int rows : row_counts) {
    for (const int outputs : {1, 7, 8, 9, 15, 16, 17, 33, 96, 130}) {
      for (const int terms : {32, 64, 160}) {
        for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0}) {
          Compare(*fast, *ref, format, rows, outputs, terms, GemmOutput::kStore);
          Compare(*fast, *ref, format, rows, outputs, terms, GemmOutput::kAccumulate);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(QuantGemmTest, EveryFormatAtEveryRowCount) {
  for (const WeightFormat format : kQuantised) {
    for (const int rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 48, 49, 50, 51, 52, 53, 54}) {
      Compare(*fast, *ref, format, rows, 9, format.block(), GemmOutput::kStore);
      Compare(*fast, *ref, format, rows, 33, 3 * format.block(), GemmOutput::kAccumulate);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(QuantGemmTest, SizesThatAreSplitAmongThreads) {
  for (const int rows : {1, 2, 13, 70}) {
    for (const WeightFormat format : {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ5_K})
      Compare(*fast, *ref, format, rows, 1100, Fitting(format, 320), GemmOutput::kStore);
  }
}

// Version cpu-1 multiplies the numbers of the weights by x as it is: rule 2 on widened weights.
TEST_P(QuantGemmTest, TheExactModeMultipliesWidenedWeights) {
  constexpr int kOutputs = 70, kTerms = 256;
  const auto fast_1 =
      MakeOperations(std::get<0>(GetParam()), std::get<1>(GetParam()), numerics::Version::kCpu1);
  const auto ref_1 = MakeOperations("ref", 1, numerics::Version::kCpu1);
  for (const WeightFormat format : kQuantised) {
    for (const int rows : {1, 9, 70})
      Compare(*fast_1, *ref_1, format, rows, kOutputs, kTerms, GemmOutput::kAccumulate);
    constexpr int kRows = 9;
    Prng prng(5);
    const auto rows = RandomRows(prng, format, kOutputs, kTerms);
    std::vector<std::byte> widened(size_t{kOutputs} * kTerms * 4);
    for (size_t r = 0; r < kOutputs; ++r)
      WidenRow(format, &rows[r * format.RowBytes(kTerms)], kTerms,
               reinterpret_cast<float*>(&widened[r * kTerms * 4]));
    const auto x = RandomFloats(prng, size_t{kRows} * kTerms);
    std::vector<float> want(size_t{kRows} * kOutputs), got(want.size());
    ref->Gemm(*PackOrDie(*ref, widened, DType::kF32, kOutputs, kTerms), x.data(), kRows, want.data(),
              GemmOutput::kStore);
    const auto matrix = PackRows(*fast_1, rows, format, kOutputs, kTerms);
    EXPECT_EQ(matrix->bytes(), fast->PackedBytes(kOutputs, kTerms, format)) << "it stays as it is";
    fast_1->Gemm(*matrix, x.data(), kRows, got.data(), GemmOutput::kStore);
    EXPECT_TRUE(SameBits(got, want)) << format.name();
  }
}

// Invariant 1 of backend.h: a row alone gives the same bits as among other rows.
TEST_P(QuantGemmTest, ARowDoesNotDependOnItsNeighbours) {
  constexpr int kRows = 40, kOutputs = 210, kTerms = 256;
  Prng prng(11);
  for (const WeightFormat format : kQuantised) {
    const auto matrix = PackRows(*fast, RandomRows(prng, format, kOutputs, kTerms), format, kOutputs, kTerms);
    const auto x = AwkwardRows(prng, kRows * kTerms);
    std::vector<float> together(kRows * kOutputs);
    fast->Gemm(*matrix, x.data(), kRows, together.data(), GemmOutput::kStore);
    for (int first = 0; first < kRows;) {
      const int rows = std::min(kRows - first, 1 + first % 15);
      std::vector<float> alone(static_cast<size_t>(rows) * kOutputs);
      fast->Gemm(*matrix, &x[static_cast<size_t>(first) * kTerms], rows, alone.data(), GemmOutput::kStore);
      const std::vector<float> part(&together[static_cast<size_t>(first) * kOutputs],
                                    &together[static_cast<size_t>(first + rows) * kOutputs]);
      ASSERT_TRUE(SameBits(alone, part)) << rows << " rows from " << first;
      first += rows;
    }
  }
}

// Parts of all formats. Each is multiplied as if it were alone, and leaves the other columns of y alone.
TEST_P(QuantGemmTest, PartsOfAStackKeepTheirFormats) {
  constexpr int kTerms = 256;
  const std::pair<WeightFormat, int> parts[] = {{WeightFormat::kQ4_0, 33}, {WeightFormat::kBF16, 17},
                                                {WeightFormat::kQ8_0, 40}, {WeightFormat::kF32, 5},
                                                {WeightFormat::kQ4_K, 47}, {WeightFormat::kQ6_K, 50},
                                                {WeightFormat::kQ4_1, 16}, {WeightFormat::kF16, 130}};
  constexpr int kOutputs = 33 + 17 + 40 + 5 + 47 + 50 + 16 + 130;
  for (const int rows : {1, 2, 29}) {
    Prng prng(19);
    const auto x = AwkwardRows(prng, static_cast<size_t>(rows) * kTerms);
    std::vector<std::unique_ptr<Matrix>> of_fast, of_ref;
    size_t bytes = 0;
    for (const auto& [format, outputs] : parts) {
      const auto w = format.quantized()
                         ? RandomRows(prng, format, outputs, kTerms)
                         : RandomElements(prng, format.dtype(), static_cast<size_t>(outputs) * kTerms);
      of_fast.push_back(PackRows(*fast, w, format, outputs, kTerms));
      of_ref.push_back(PackRows(*ref, w, format, outputs, kTerms));
      bytes += of_fast.back()->bytes();
    }
    const auto stack = *fast->Stack(std::move(of_fast)), stack_of_ref = *ref->Stack(std::move(of_ref));
    EXPECT_EQ(stack->rows(), kOutputs);
    EXPECT_EQ(stack->bytes(), bytes);
    for (const GemmOutput output : {GemmOutput::kStore, GemmOutput::kAccumulate}) {
      std::vector<float> want = RandomFloats(prng, static_cast<size_t>(rows) * kOutputs), got = want;
      const std::vector<float> y = want;
      size_t column = 0;
      for (const auto& part : stack_of_ref->parts()) {
        const auto outputs = static_cast<size_t>(part->rows());
        std::vector<float> alone(static_cast<size_t>(rows) * outputs);
        for (size_t i = 0; i < alone.size(); ++i) alone[i] = y[i / outputs * kOutputs + column + i % outputs];
        ref->Gemm(*part, x.data(), rows, alone.data(), output);
        for (size_t i = 0; i < alone.size(); ++i)
          want[i / outputs * kOutputs + column + i % outputs] = alone[i];
        column += outputs;
      }
      fast->Gemm(*stack, x.data(), rows, got.data(), output);
      EXPECT_TRUE(SameBits(got, want)) << rows << " rows";
      got = y;
      ref->Gemm(*stack_of_ref, x.data(), rows, got.data(), output);
      EXPECT_TRUE(SameBits(got, want)) << rows << " rows, ref";
    }
  }
}

// In pieces of any number of rows, in any order, and read back by Embed.
TEST_P(QuantGemmTest, RowsThatComeInPiecesAreOneMatrix) {
  constexpr int kRows = 75, kCols = 256;
  for (const WeightFormat format : kQuantised) {
    Prng prng(13);
    const auto rows = RandomRows(prng, format, kRows, kCols);
    const auto matrix = *fast->AllocateMatrix(kRows, kCols, format);
    EXPECT_EQ(matrix->bytes(), fast->PackedBytes(kRows, kCols, format));
    for (int row = kRows; row > 0; row -= 7) {
      const int first = std::max(0, row - 7);
      fast->UploadRows(
          *matrix, first,
          {&rows[static_cast<size_t>(first) * format.RowBytes(kCols)], format, row - first, kCols});
    }
    TestBatch batch(16, prng);
    batch.Add(0, kRows, 16);
    std::iota(batch.tokens().begin(), batch.tokens().end(), 0);
    const BatchView view = batch.view();
    std::vector<float> want(kRows * kCols), got(kRows * kCols);
    ref->BeginStep(view);
    ref->Embed(*PackRows(*ref, rows, format, kRows, kCols), want.data());
    fast->BeginStep(view);
    fast->Embed(*matrix, got.data());
    EXPECT_TRUE(SameBits(got, want)) << format.name();
    EXPECT_TRUE(std::any_of(got.begin(), got.end(), [](float value) { return value != 0; }));
    const MatrixSource other{rows.data(), DType::kF32, 1, kCols};
    if (format != WeightFormat::kQ8_0) continue;
    EXPECT_DEATH(fast->UploadRows(*matrix, 0, other), "f32 into q8_0");
    EXPECT_DEATH((void)fast->AllocateMatrix(4, 48, format), "4 x 48 q8_0");
  }
}

// Rows of whole panels, whose bytes are whole cache lines.
TEST_P(QuantGemmTest, WeightsTakeTheMemoryOfTheirFormat) {
  for (const WeightFormat format : kQuantised) {
    const auto matrix = *fast->AllocateMatrix(64, 1024, format);
    EXPECT_EQ(matrix->bytes(), 64 * format.RowBytes(1024)) << format.name();
  }
}

PREFIXD_FOR_FAST_BACKENDS(QuantGemmTest);

// The bytes of a run have no gap: each of their bits is a bit of the code of one step.
TEST(CodePieces, EachBitBelongsToOneCode) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    std::vector<int> uses(static_cast<size_t>(bits) * 8);
    for (int step = 0; step < cpu::kQuantSteps; ++step) {
      const cpu::CodePieces pieces = cpu::PiecesOf(bits, step);
      int next = 0;  // bit of the code
      for (int i = 0; i < pieces.count; ++i) {
        const cpu::CodePiece& piece = pieces.piece[i];
        EXPECT_EQ(piece.to, next) << bits << " bits, step " << step;
        EXPECT_LE(piece.at + piece.bits, 8) << bits << " bits, step " << step;
        for (int bit = 0; bit < piece.bits; ++bit)
          ++uses.at(static_cast<size_t>(piece.word * 8 + piece.at + bit));
        next += piece.bits;
      }
      EXPECT_EQ(next, bits) << "step " << step;
    }
    EXPECT_EQ(uses, std::vector<int>(uses.size(), 1)) << bits << " bits";
  }
}

// The tables of kernels. A backend chooses one of them, so that the others need a test of their own.
struct Table {
  const char* name;
  bool (*runs_here)();
  const cpu::QuantOps& (*ops)();
};
class QuantTables : public testing::TestWithParam<Table> {};

// One product of random operands by a table, in one call, beside that of ref.
void CompareTable(const cpu::QuantOps& ops, Operations& ref, Prng& prng, WeightFormat format, int rows,
                  int outputs, int terms) {
  const int blocks = terms / kQuantBlock;
  const auto w = RandomRows(prng, format, outputs, terms);
  const auto x = AwkwardRows(prng, static_cast<size_t>(rows) * terms);
  std::vector<float> want = RandomFloats(prng, static_cast<size_t>(rows) * outputs), got = want;
  ref.Gemm(*PackRows(ref, w, format, outputs, terms), x.data(), rows, want.data(), GemmOutput::kAccumulate);
  HostArena arena;
  const auto matrix = *QuantMatrix::Allocate(outputs, terms, format, arena);
  auto& packed = static_cast<QuantMatrix&>(*matrix);
  packed.WriteRows(0, {w.data(), format, outputs, terms});
  const size_t row_bytes = static_cast<size_t>(blocks) * ops.row_block_bytes(format.kind(), rows);
  std::vector<std::byte> packed_x(row_bytes * static_cast<size_t>(rows));
  for (int first = 0; first < rows; first += ops.tile_rows) {
    ops.pack_rows(format.kind(), &x[static_cast<size_t>(first) * terms],
                  std::min(ops.tile_rows, rows - first), rows, blocks,
                  &packed_x[static_cast<size_t>(first) * row_bytes]);
  }
  ops.gemm({packed.data(), packed.PanelBytes(), format.kind(), outputs, blocks, packed_x.data(), rows,
            got.data(), outputs, true},
           0, packed.panels(), 0, (rows + ops.tile_rows - 1) / ops.tile_rows);
  ASSERT_TRUE(SameBits(got, want)) << format.name() << " rows " << rows << " outputs " << outputs << " terms "
                                   << terms;
}

TEST_P(QuantTables, EqualRef) {
  if (!GetParam().runs_here()) GTEST_SKIP() << "this CPU lacks " << GetParam().name;
  const cpu::QuantOps& ops = GetParam().ops();
  const auto ref = MakeOperations("ref", 1);
  Prng prng(17);
  for (const WeightFormat format : kQuantised) {
    for (const int rows : {1, 2, 5, 6, 7, 12, 13, 31, 48, 49, 52, 60}) {
      for (const int outputs : {1, 8, 17, 48}) {
        CompareTable(ops, *ref, prng, format, rows, outputs, Fitting(format, 160));
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Sums that wait from one part of the terms to the next, and more rows than are taken at once.
TEST_P(QuantTables, PartsAndManyRowsEqualRef) {
  if (!GetParam().runs_here()) GTEST_SKIP() << "this CPU lacks " << GetParam().name;
  const auto ref = MakeOperations("ref", 1);
  Prng prng(18);
  for (const WeightFormat format : kQuantised) {
    for (const auto [rows, outputs, terms] :
         {std::array{8, 17, 1120}, std::array{13, 33, 1280}, std::array{55, 40, 1120}}) {
      CompareTable(GetParam().ops(), *ref, prng, format, rows, outputs, Fitting(format, terms));
      if (HasFatalFailure()) return;
    }
  }
  CompareTable(GetParam().ops(), *ref, prng, WeightFormat::kQ8_0, 521, 40, 64);
}

constexpr Table kTables[] = {
    {"avx2", [] { return bool{__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")}; },
     cpu::Avx2QuantOps},
    {"avx512", [] { return bool{__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")}; },
     cpu::Avx512QuantOps},
    {"avx512_vnni",
     [] { return bool{__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")}; },
     cpu::Avx512VnniQuantOps},
    {"amx", cpu::AmxRunsHere, cpu::AmxQuantOps},
};
INSTANTIATE_TEST_SUITE_P(Cpu, QuantTables, testing::ValuesIn(kTables),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace prefixd
