#include "kernels/quant_run.h"

#include <bit>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

// One block. Its fields are named by their offset.
class Block {
 public:
  explicit Block(const std::byte* bytes) : bytes_(bytes) {}
  unsigned At(size_t offset) const { return static_cast<unsigned>(bytes_[offset]); }
  int Signed(size_t offset) const { return static_cast<int8_t>(bytes_[offset]); }
  float Half(size_t offset) const { return numerics::F32FromF16(GetLittle<uint16_t>(bytes_ + offset)); }
  // Bit `bit` of the byte at `offset`.
  unsigned Bit(size_t offset, size_t bit) const { return At(offset) >> bit & 1; }
  // Element k of a run with four bits each: the low halves of 16 bytes, then the high ones.
  unsigned Four(size_t offset, size_t k) const { return At(offset + k % 16) >> (k / 16 * 4) & 15; }
  // Element k of a run of a block of 256 with two bits each: a half of the block has 32 bytes, in which four
  // runs lie above one another.
  unsigned TwoOfRun(size_t offset, size_t run, size_t k) const {
    return At(offset + run / 4 * 32 + k) >> (run % 4 * 2) & 3;
  }
  // Element k of a run of a block of 256 with four bits each: two runs lie above one another in 32 bytes.
  unsigned FourOfRun(size_t offset, size_t run, size_t k) const {
    return At(offset + run / 2 * 32 + k) >> (run % 2 * 4) & 15;
  }

 private:
  const std::byte* bytes_;
};

// The scale of an E8M0 byte, halved, because the codebook is doubled.
float HalfOfE8M0(unsigned exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
}

// Scale j of the sixteen with six bits each in the 12 bytes of a block of Q3_K.
int ScaleOfQ3(const Block& b, size_t offset, size_t j) {
  const unsigned low = b.At(offset + j % 8) >> (j / 8 * 4) & 15;
  const unsigned high = b.At(offset + 8 + j % 4) >> (j / 4 * 2) & 3;
  return static_cast<int>(low | high << 4) - 32;
}

void SetBoth(int (&factors)[2], unsigned factor) { factors[0] = factors[1] = static_cast<int>(factor); }

// Scale and minimum j of the eight pairs with six bits each in the 12 bytes of a block of Q4_K or Q5_K.
void ReadPair(const Block& b, size_t offset, size_t j, QuantRun* run) {
  if (j < 4) {
    SetBoth(run->factors, b.At(offset + j) & 63);
    SetBoth(run->offset_factors, b.At(offset + 4 + j) & 63);
    return;
  }
  const unsigned low = b.At(offset + 4 + j);
  SetBoth(run->factors, (low & 15) | (b.At(offset + j - 4) >> 2 & 48));
  SetBoth(run->offset_factors, low >> 4 | (b.At(offset + j) >> 2 & 48));
}

void ReadFactors(WeightFormat format, const Block& b, size_t j, QuantRun* run) {
  for (size_t h = 0; h < 2; ++h) {
    if (format == WeightFormat::kQ2_K) {
      const unsigned pair = b.At(2 * j + h);
      run->factors[h] = static_cast<int>(pair & 15);
      run->offset_factors[h] = static_cast<int>(pair >> 4);
    }
    if (format == WeightFormat::kQ3_K) run->factors[h] = ScaleOfQ3(b, 96, 2 * j + h);
    if (format == WeightFormat::kQ6_K) run->factors[h] = b.Signed(192 + 2 * j + h);
  }
  if (format == WeightFormat::kQ4_K || format == WeightFormat::kQ5_K) ReadPair(b, 4, j, run);
  if (format == WeightFormat::kIQ4_XS) {
    const unsigned low = b.At(4 + j / 2) >> (j % 2 * 4) & 15, high = b.At(2 + j / 4) >> (j % 4 * 2) & 3;
    SetBoth(run->factors, low | high << 4);
    for (int& factor : run->factors) factor -= 32;
  }
}

template <typename CodeOf>
void Fill(QuantRun* run, const CodeOf& code_of) {
  for (size_t k = 0; k < kQuantBlock; ++k) run->codes[k] = static_cast<uint8_t>(code_of(k));
}

void ReadCodes(WeightFormat format, const Block& b, size_t j, QuantRun* run) {
  switch (format.kind()) {
    case WeightFormat::kQ8_0:
      return Fill(run, [&](size_t k) { return b.At(2 + k) ^ 0x80; });
    case WeightFormat::kQ4_0:
    case WeightFormat::kIQ4_NL:
      return Fill(run, [&](size_t k) { return b.Four(2, k); });
    case WeightFormat::kQ4_1:
      return Fill(run, [&](size_t k) { return b.Four(4, k); });
    case WeightFormat::kQ5_0:
      return Fill(run, [&](size_t k) { return b.Four(6, k) | b.Bit(2 + k / 8, k % 8) << 4; });
    case WeightFormat::kQ5_1:
      return Fill(run, [&](size_t k) { return b.Four(8, k) | b.Bit(4 + k / 8, k % 8) << 4; });
    case WeightFormat::kMXFP4:
      return Fill(run, [&](size_t k) { return b.Four(1, k); });
    case WeightFormat::kQ2_K:
      return Fill(run, [&](size_t k) { return b.TwoOfRun(16, j, k); });
    case WeightFormat::kQ3_K:
      return Fill(run, [&](size_t k) { return b.TwoOfRun(32, j, k) | b.Bit(k, j) << 2; });
    case WeightFormat::kQ4_K:
      return Fill(run, [&](size_t k) { return b.FourOfRun(16, j, k); });
    case WeightFormat::kQ5_K:
      return Fill(run, [&](size_t k) { return b.FourOfRun(48, j, k) | b.Bit(16 + k, j) << 4; });
    case WeightFormat::kQ6_K:
      // A half of the block has 64 bytes with the low four bits of two runs of 64 elements.
      return Fill(run, [&](size_t k) {
        const unsigned low = b.At(j / 4 * 64 + j % 2 * 32 + k) >> (j % 4 / 2 * 4) & 15;
        return low | b.TwoOfRun(128, j, k) << 4;
      });
    default:
      break;
  }
  Fill(run, [&](size_t k) { return b.Four(8 + j * 16, k); });  // IQ4_XS
}

}  // namespace

float ReadScale(const QuantFormat& format, const std::byte* at) {
  return format.exponent ? HalfOfE8M0(Block(at).At(0)) : Block(at).Half(0);
}

QuantRun ReadRun(WeightFormat format, const std::byte* block, int run) {
  PREFIXD_CHECK(format.quantized()) << format.name();
  const QuantFormat of = QuantFormatOf(format);
  PREFIXD_CHECK(run >= 0 && run < of.runs()) << "run " << run << " of " << format.name();
  QuantRun result;
  const Block b(block);
  result.scale = ReadScale(of, block + of.scale_at);
  if (of.offset) result.offset = of.offset_factors ? -b.Half(of.offset_at) : b.Half(of.offset_at);
  ReadFactors(format, b, static_cast<size_t>(run), &result);
  ReadCodes(format, b, static_cast<size_t>(run), &result);
  return result;
}

void WidenRun(const QuantFormat& format, const QuantRun& run, float* out) {
  for (int half = 0; half < 2; ++half) {
    const float scale = run.scale * static_cast<float>(run.factors[half]);
    const float offset = run.offset * static_cast<float>(run.offset_factors[half]);
    for (int k = half * kQuantHalf; k < (half + 1) * kQuantHalf; ++k) {
      const float product = scale * static_cast<float>(IntegerOf(format, run.codes[k]));
      out[k] = format.offset ? product + offset : product;
    }
  }
}

}  // namespace prefixd
