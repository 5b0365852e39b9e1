#include "kernels/cpu/quant_matrix.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "base/bytes.h"
#include "kernels/check_arguments.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/numerics.h"
#include "kernels/quant_run.h"

namespace prefixd {
namespace {

using cpu::kQuantPanel;

constexpr size_t kStep = 4;  // columns of a step
constexpr size_t kWord = kStep * kQuantPanel;
constexpr size_t kLine = 64;
constexpr size_t kHalfBytes = 2;   // of an f16
constexpr uint8_t kSigned = 0x80;  // makes a code of 8 bits the integer that it stands for

size_t Panels(int rows) { return (static_cast<size_t>(rows) + kQuantPanel - 1) / kQuantPanel; }
size_t CodesOfRun(const QuantFormat& format) { return static_cast<size_t>(format.bits) * kWord; }

using PiecesOfSteps = std::array<cpu::CodePieces, cpu::kQuantSteps>;

// PiecesOf, by the bits of a code.
constexpr auto kPieces = [] {
  std::array<PiecesOfSteps, 9> all = {};
  for (const size_t bits : {2, 3, 4, 5, 6, 8}) {
    for (size_t step = 0; step < all[bits].size(); ++step)
      all[bits][step] = cpu::PiecesOf(static_cast<int>(bits), static_cast<int>(step));
  }
  return all;
}();

// Calls fn(step, piece, mask of the bits of the piece in four bytes) for every piece of the codes of a run.
template <typename Fn>
void ForPieces(int bits, const Fn& fn) {
  const PiecesOfSteps& steps = kPieces[static_cast<size_t>(bits)];
  for (size_t step = 0; step < steps.size(); ++step) {
    for (int i = 0; i < steps[step].count; ++i) {
      const cpu::CodePiece& piece = steps[step].piece[i];
      fn(step, piece, 0x01010101u * ((1u << piece.bits) - 1));
    }
  }
}

// Write and read the codes of a run of an output, four bytes at once.
void WriteCodes(const uint8_t* codes, int bits, std::byte* to) {
  uint32_t words[8] = {};
  ForPieces(bits, [&](size_t step, const cpu::CodePiece& piece, uint32_t mask) {
    uint32_t four;
    std::memcpy(&four, codes + kStep * step, kStep);
    words[piece.word] |= (four >> piece.to & mask) << piece.at;
  });
  for (size_t w = 0; w < static_cast<size_t>(bits); ++w) std::memcpy(to + w * kWord, &words[w], kStep);
}

void ReadCodes(const std::byte* from, int bits, uint8_t* codes) {
  uint32_t steps[cpu::kQuantSteps] = {}, words[8];
  for (size_t w = 0; w < static_cast<size_t>(bits); ++w) std::memcpy(&words[w], from + w * kWord, kStep);
  ForPieces(bits, [&](size_t step, const cpu::CodePiece& piece, uint32_t mask) {
    steps[step] |= (words[piece.word] >> piece.at & mask) << piece.to;
  });
  std::memcpy(codes, steps, sizeof steps);
}

// The factors of a block as the panel has them, one after another.
class Factors {
 public:
  explicit Factors(const QuantFormat& format) : format_(format) {}
  std::byte* bytes() { return bytes_; }

  void Write(int run, const QuantRun& from) {
    ForEach(run, [&](int i, int half, bool of_offset) {
      Set(i, static_cast<unsigned>(of_offset ? from.offset_factors[half]
                                             : from.factors[half] + format_.factor_zero));
    });
  }
  void Read(int run, QuantRun* to) const {
    ForEach(run, [&](int i, int half, bool of_offset) {
      int* const factors = of_offset ? to->offset_factors : to->factors;
      factors[half] = Get(i) - (of_offset ? 0 : format_.factor_zero);
      if (!format_.by_half) factors[1] = factors[0];
    });
  }

 private:
  // Calls fn(index of the factor in its block, half, whether it is one of the offset).
  template <typename Fn>
  void ForEach(int run, const Fn& fn) const {
    const int count = format_.FactorsOfRun();
    for (int t = 0; t < count; ++t) {
      const int of_half = format_.offset_factors ? 2 : 1;
      fn(run * count + t, t / of_half, t % of_half == 1);
    }
  }
  // The byte of the higher bits of factor i.
  size_t HighByte(int i) const {
    return static_cast<size_t>(format_.runs() * format_.FactorsOfRun() / 2 + i / 4);
  }
  void Set(int i, unsigned factor) {
    if (format_.factor_bits == 8) {
      bytes_[i] = static_cast<std::byte>(factor);
      return;
    }
    bytes_[i / 2] |= static_cast<std::byte>((factor & 15) << i % 2 * 4);
    if (format_.factor_bits == 6) bytes_[HighByte(i)] |= static_cast<std::byte>(factor >> 4 << i % 4 * 2);
  }
  int Get(int i) const {
    if (format_.factor_bits == 8) return static_cast<int8_t>(bytes_[i]);
    unsigned factor = static_cast<unsigned>(bytes_[i / 2]) >> i % 2 * 4 & 15;
    if (format_.factor_bits == 6)
      factor |= (static_cast<unsigned>(bytes_[HighByte(i)]) >> i % 4 * 2 & 3) << 4;
    return static_cast<int>(factor);
  }

  const QuantFormat& format_;
  std::byte bytes_[16] = {};
};

// The places of an output among what a block of a panel has besides codes.
struct Head {
  Head(const QuantFormat& format, std::byte* block, size_t output)
      : scale(block + output * static_cast<size_t>(format.ScaleBytes())),
        offset(block + kQuantPanel * static_cast<size_t>(format.ScaleBytes()) + output * 2),
        factors(block + kQuantPanel * static_cast<size_t>(format.HeadBytes() - format.FactorBytes()) +
                output) {}
  std::byte *scale, *offset;
  std::byte* factors;  // kQuantPanel bytes apart
};

}  // namespace

size_t QuantMatrix::Bytes(int rows, int cols, WeightFormat format) {
  const size_t panel = format.RowBytes(cols) * kQuantPanel;
  return Panels(rows) * ((panel + kLine - 1) / kLine * kLine);
}

Result<std::unique_ptr<Matrix>> QuantMatrix::Allocate(int rows, int cols, WeightFormat format,
                                                      HostArena& arena) {
  CheckMatrixShape(rows, cols, format);
  PREFIXD_CHECK(format.quantized()) << format.name();
  PREFIXD_ASSIGN_OR_RETURN(HostMemory memory, arena.Allocate(Bytes(rows, cols, format)));
  return std::unique_ptr<Matrix>(new QuantMatrix(rows, cols, format, std::move(memory)));
}

int QuantMatrix::panels() const { return static_cast<int>(Panels(rows_)); }

size_t QuantMatrix::CodeBytes() const {
  return static_cast<size_t>(blocks()) * CodesOfRun(QuantFormatOf(format_));
}

std::byte* QuantMatrix::Panel(int row) const {
  return memory_.data() + static_cast<size_t>(row / kQuantPanel) * PanelBytes();
}

void QuantMatrix::WriteRow(int row, const std::byte* blocks) {
  const QuantFormat format = QuantFormatOf(format_);
  const auto output = static_cast<size_t>(row % kQuantPanel);
  std::byte* codes = Panel(row) + output * kStep;
  std::byte* block = Panel(row) + CodeBytes();
  for (int done = 0; done < this->blocks(); done += format.runs(), blocks += format_.block_bytes()) {
    Factors factors(format);
    for (int i = 0; i < format.runs(); ++i, codes += CodesOfRun(format)) {
      const QuantRun run = ReadRun(format_, blocks, i);
      WriteCodes(run.codes, format.bits, codes);
      factors.Write(i, run);
    }
    const Head head(format, block, output);
    std::memcpy(head.scale, blocks + format.scale_at, static_cast<size_t>(format.ScaleBytes()));
    if (format.offset) {
      std::memcpy(head.offset, blocks + format.offset_at, 2);
      if (format.offset_factors) head.offset[1] ^= std::byte{0x80};  // the negative
    }
    for (size_t i = 0; i < static_cast<size_t>(format.FactorBytes()); ++i)
      head.factors[i * kQuantPanel] = factors.bytes()[i];
    block += static_cast<size_t>(format.HeadBytes()) * kQuantPanel;
  }
}

// As WriteRow, of rows of one panel in a format whose codes are in the order of a panel: each 4 neighbouring
// bytes of a block are a word. It writes the panel from its begin to its end, because memory that nothing has
// used yet is in no cache.
void QuantMatrix::CopyRows(int row, int rows, const std::byte* blocks) {
  const auto words = static_cast<size_t>(format_.block_bytes() - kHalfBytes) / kStep;
  const size_t row_bytes = format_.RowBytes(cols_), output = static_cast<size_t>(row % kQuantPanel);
  const auto count = static_cast<size_t>(rows);
  std::byte* to = Panel(row) + output * kStep;
  std::byte* scales = Panel(row) + CodeBytes() + output * kHalfBytes;
  for (int b = 0; b < this->blocks(); ++b, scales += kQuantPanel * kHalfBytes) {
    for (size_t r = 0; r < count; ++r)
      std::memcpy(scales + r * kHalfBytes, blocks + r * row_bytes, kHalfBytes);
    blocks += kHalfBytes;
    for (size_t w = 0; w < words; ++w, to += kWord, blocks += kStep) {
      for (size_t r = 0; r < count; ++r) std::memcpy(to + r * kStep, blocks + r * row_bytes, kStep);
    }
  }
}

void QuantMatrix::WriteRows(int first_row, const MatrixSource& from) {
  CheckUploadRows(*this, first_row, from);
  PREFIXD_CHECK(from.format == format_) << from.format.name() << " into " << format_.name();
  const size_t row_bytes = format_.RowBytes(cols_);
  const bool in_order = format_ == WeightFormat::kQ8_0 || format_ == WeightFormat::kQ4_0;
  for (int done = 0; done < from.rows;) {
    const int row = first_row + done;
    const int count = in_order ? std::min(kQuantPanel - row % kQuantPanel, from.rows - done) : 1;
    const auto* const blocks =
        static_cast<const std::byte*>(from.data) + row_bytes * static_cast<size_t>(done);
    in_order ? CopyRows(row, count, blocks) : WriteRow(row, blocks);
    done += count;
  }
}

void QuantMatrix::ReadRow(int row, float* out) const {
  const QuantFormat format = QuantFormatOf(format_);
  const auto output = static_cast<size_t>(row % kQuantPanel);
  const std::byte* codes = Panel(row) + output * kStep;
  std::byte* block = Panel(row) + CodeBytes();
  for (int done = 0; done < blocks(); done += format.runs()) {
    const Head head(format, block, output);
    Factors factors(format);
    for (size_t i = 0; i < static_cast<size_t>(format.FactorBytes()); ++i)
      factors.bytes()[i] = head.factors[i * kQuantPanel];
    QuantRun run;
    run.scale = ReadScale(format, head.scale);
    if (format.offset) run.offset = numerics::F32FromF16(GetLittle<uint16_t>(head.offset));
    for (int i = 0; i < format.runs(); ++i, codes += CodesOfRun(format), out += kQuantBlock) {
      ReadCodes(codes, format.bits, run.codes);
      for (uint8_t& code : run.codes) code ^= format.bits == 8 ? kSigned : 0;
      factors.Read(i, &run);
      WidenRun(format, run, out);
    }
    block += static_cast<size_t>(format.HeadBytes()) * kQuantPanel;
  }
}

}  // namespace prefixd
