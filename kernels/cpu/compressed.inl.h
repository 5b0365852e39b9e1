// Reads panels of bf16 weights, of which some are compressed (compressed_panel.h), as [term / 2][kPanel]
// pairs. Included before gemm_panels.inl.h. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// The bytes of a step of kCompressedTerms terms.
constexpr size_t kCodesOfStep = kPanelVectors * cpu::kCompressedCodes;
constexpr size_t kCompressedStep = kCodesOfStep + kPanelVectors * cpu::kCompressedLowers;
constexpr size_t kPlainStep = static_cast<size_t>(kPanel) * cpu::kCompressedTerms * sizeof(uint16_t);

PREFIXD_INLINE size_t StepsOf(int terms) { return static_cast<size_t>(terms / cpu::kCompressedTerms); }
// The place in a panel of its first weight of a term.
PREFIXD_INLINE uint32_t FirstPlace(int term) { return static_cast<uint32_t>(term) * kPanel; }

// Reads the exception at p, which is not aligned.
PREFIXD_INLINE cpu::CompressedException ExceptionAt(const char* p) {
  cpu::CompressedException exception;
  __builtin_memcpy(&exception, p, sizeof exception);
  return exception;
}

// Reads the terms of a panel in ascending order.
struct PairReader {
  static constexpr uint32_t kNoPlace = ~uint32_t{0};

  const char* at;               // where the next term lies in memory
  const char* uppers;           // the table of a compressed panel, else null
  uint32_t first;               // the place of the next term
  uint32_t place;               // of the next exception, or kNoPlace
  const char *exception, *end;  // the exceptions from there on
};

PREFIXD_INLINE void FindException(PairReader& reader) {
  reader.place = reader.exception == reader.end ? PairReader::kNoPlace : ExceptionAt(reader.exception).place;
}

// Asks for what ReadFrom and the first exceptions take of a panel that is read later.
PREFIXD_INLINE void PrefetchHeader(const void* panel, int terms) {
  constexpr size_t kLine = 64;
  const char* const header = static_cast<const char*>(panel) + StepsOf(terms) * kCompressedStep;
  PrefetchFar(header);
  PrefetchFar(header + kLine);
}

// Starts at the term `first`, a multiple of kCompressedTerms, of a panel of `terms`.
PREFIXD_INLINE PairReader ReadFrom(const void* panel, bool compressed, int terms, int first) {
  const auto* const bytes = static_cast<const char*>(panel);
  PairReader reader = {bytes + StepsOf(first) * kPlainStep,
                       nullptr,
                       FirstPlace(first),
                       PairReader::kNoPlace,
                       nullptr,
                       nullptr};
  if (!compressed) return reader;
  reader.at = bytes + StepsOf(first) * kCompressedStep;
  reader.uppers = bytes + StepsOf(terms) * kCompressedStep;
  const char* const exceptions = reader.uppers + cpu::kCompressedHeader;
  constexpr size_t kBytes = sizeof(cpu::CompressedException);
  uint32_t count, low = 0;
  __builtin_memcpy(&count, reader.uppers + cpu::kCompressedTable, sizeof count);
  // The exceptions are in the order of their steps, and a step begins here.
  for (uint32_t high = first == 0 ? 0 : count; low < high;) {
    const uint32_t middle = (low + high) / 2;
    if (ExceptionAt(exceptions + middle * kBytes).place < reader.first) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  reader.exception = exceptions + low * kBytes;
  reader.end = exceptions + count * kBytes;
  FindException(reader);
  return reader;
}

// Writes the exceptions of the steps that were read to `to`, before `end`, over the weights there.
inline void WriteExceptions(PairReader& reader, uint32_t end, uint32_t* to) {
  while (reader.place < end) {
    const cpu::CompressedException exception = ExceptionAt(reader.exception);
    char* const weight = reinterpret_cast<char*>(to) + (exception.place - reader.first) * sizeof(uint16_t);
    __builtin_memcpy(weight, &exception.value, sizeof exception.value);
    reader.exception += sizeof exception;
    FindException(reader);
  }
}

// Writes the next `steps` steps as pairs.
PREFIXD_INLINE void ReadPairs(PairReader& reader, size_t steps, uint32_t* to) {
  if (reader.uppers == nullptr) {
    __builtin_memcpy(to, reader.at, steps * kPlainStep);
    reader.at += steps * kPlainStep;
    return;
  }
  const UpperBytes uppers = LoadUpperBytes(reader.uppers);
  const char* at = reader.at;
  uint32_t* pairs = to;
  for (size_t step = 0; step < steps; ++step, at += kCompressedStep, pairs += 2 * kPanel) {
#pragma GCC unroll 2
    for (int v = 0; v < kPanelVectors; ++v) {
      const char* const lowers = at + kCodesOfStep + v * cpu::kCompressedLowers;
      Decompress(uppers, at + v * cpu::kCompressedCodes, lowers, pairs + v * kLanes,
                 pairs + kPanel + v * kLanes);
    }
  }
  reader.at = at;
  const uint32_t end = reader.first + static_cast<uint32_t>(steps) * (cpu::kCompressedTerms * kPanel);
  if (reader.place < end) [[unlikely]]
    WriteExceptions(reader, end, to);
  reader.first = end;
}

}  // namespace prefixd::PREFIXD_ISA
