#include "storage/payload_codec.h"

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_c_literalCompressionMode
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/checksum.h"
#include "storage/byte_planes.h"

namespace prefixd {
namespace {

// Elements of a chunk. A plane of a chunk fits one block of zstd, so that it has one Huffman table of its
// own. Chunks of 2^15 and 2^17 elements compress as well; in smaller ones the tables cost time.
constexpr size_t kChunkElements = size_t{1} << 16;

// KV has no repeated strings, so the search for them costs time and gains nothing: all gain is in the Huffman
// code of the last plane (bench/README.md, "KV compression"). The lowest level skips the search altogether:
// at -100 zstd took half as long again, for a worse code. It would leave out the Huffman code, too, if the
// next parameter did not ask for it.
const int kLevel = ZSTD_minCLevel();
constexpr int kLevelWithoutParameter = 1;  // for a libzstd that refuses the parameter

struct Deleter {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// The working memory of a thread.
struct Memory {
  std::unique_ptr<ZSTD_CCtx, Deleter> compressor;
  std::unique_ptr<ZSTD_DCtx, Deleter> decompressor;
  std::unique_ptr<std::byte[]> planes;  // [kMaxElementBytes][kChunkElements]

  std::byte* Planes() {
    if (planes == nullptr) planes.reset(new (std::nothrow) std::byte[kMaxElementBytes * kChunkElements]);
    return planes.get();
  }

  ZSTD_CCtx* Compressor() {
    if (compressor != nullptr) return compressor.get();
    compressor.reset(ZSTD_createCCtx());
    if (compressor == nullptr) return nullptr;
    const auto set = [this](ZSTD_cParameter parameter, int value) {
      return ZSTD_isError(ZSTD_CCtx_setParameter(compressor.get(), parameter, value)) == 0;
    };
    const bool huffman = set(ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
    if (!set(ZSTD_c_compressionLevel, huffman ? kLevel : kLevelWithoutParameter)) compressor.reset();
    return compressor.get();
  }

  ZSTD_DCtx* Decompressor() {
    if (decompressor == nullptr) decompressor.reset(ZSTD_createDCtx());
    return decompressor.get();
  }
};

Memory& ThreadMemory() {
  thread_local Memory memory;
  return memory;
}

// Whether a sample of the plane is like noise: zstd would find that out by a look at all of it. Of n bytes
// that are equally likely, a byte value has n / 256, and the sum of the squares is n + n^2 / 256.
bool IsNoise(std::span<const std::byte> plane) {
  constexpr size_t kSample = 1024;
  if (plane.size() < 4 * kSample) return false;
  std::array<uint32_t, 256> counts{};
  const size_t step = (plane.size() / kSample - 1) | 1;  // odd: not always the same dimension of a head
  for (size_t i = 0; i < kSample; ++i) ++counts[static_cast<uint8_t>(plane[i * step])];
  uint64_t squares = 0;
  for (const uint64_t count : counts) squares += count * count;
  return squares <= (kSample + kSample * kSample / 256) * 5 / 4;
}

// Appends one plane: its stored length, then a frame, or the plane itself when no frame is smaller.
void AppendPlane(ZSTD_CCtx* compressor, std::span<const std::byte> plane, std::string* out) {
  const size_t length_at = out->size();
  const size_t begin = length_at + sizeof(uint32_t);
  out->resize(begin + plane.size());
  size_t stored = plane.size();
  if (!IsNoise(plane)) {
    const size_t frame =
        ZSTD_compress2(compressor, out->data() + begin, plane.size() - 1, plane.data(), plane.size());
    if (ZSTD_isError(frame) == 0) stored = frame;
  }
  if (stored == plane.size()) std::memcpy(out->data() + begin, plane.data(), stored);
  const auto length = static_cast<uint32_t>(stored);
  std::memcpy(out->data() + length_at, &length, sizeof length);
  out->resize(begin + stored);
}

// Appends all chunks and the remainder. Returns false when the result would exceed `limit`.
bool Compress(Memory& memory, size_t element_bytes, std::span<const std::byte> raw, size_t limit,
              std::string* out) {
  while (raw.size() >= element_bytes) {
    const size_t count = std::min(raw.size() / element_bytes, kChunkElements);
    const std::span<std::byte> planes(memory.Planes(), count * element_bytes);
    SplitPlanes(element_bytes, raw.first(planes.size()), planes);
    for (size_t p = 0; p < element_bytes; ++p) {
      AppendPlane(memory.Compressor(), planes.subspan(p * count, count), out);
    }
    raw = raw.subspan(planes.size());
    if (out->size() > limit) return false;
  }
  out->append(reinterpret_cast<const char*>(raw.data()), raw.size());
  return out->size() <= limit;
}

// Reads one plane of `count` bytes from the start of `*stored` and removes it there. Returns where the plane
// is: in the stored bytes, or in `scratch`. Null: it is damaged.
const std::byte* ReadPlane(ZSTD_DCtx* decompressor, size_t count, std::byte* scratch,
                           std::span<const std::byte>* stored) {
  if (stored->size() < sizeof(uint32_t)) return nullptr;
  const size_t length = GetLittle<uint32_t>(stored->data());
  *stored = stored->subspan(sizeof(uint32_t));
  if (length > count || length > stored->size()) return nullptr;
  const std::span<const std::byte> plane = stored->first(length);
  *stored = stored->subspan(length);
  if (length == count) return plane.data();
  // Exactly one frame of the current format, which states its length: zstd would also accept several, ones to
  // skip, and those of its first versions.
  if (length < sizeof(uint32_t) || GetLittle<uint32_t>(plane.data()) != ZSTD_MAGICNUMBER ||
      ZSTD_getFrameContentSize(plane.data(), length) != count ||
      ZSTD_findFrameCompressedSize(plane.data(), length) != length) {
    return nullptr;
  }
  // It writes to `scratch` directly, so a frame that asks for a large window gets none.
  const size_t written = ZSTD_decompressDCtx(decompressor, scratch, count, plane.data(), length);
  return written == count ? scratch : nullptr;
}

// Returns false when the stored bytes are damaged.
bool Decompress(Memory& memory, size_t element_bytes, std::span<const std::byte> stored,
                std::span<std::byte> out) {
  while (out.size() >= element_bytes) {
    const size_t count = std::min(out.size() / element_bytes, kChunkElements);
    std::array<const std::byte*, kMaxElementBytes> planes = {};
    for (size_t p = 0; p < element_bytes; ++p) {
      planes[p] = ReadPlane(memory.Decompressor(), count, memory.Planes() + p * kChunkElements, &stored);
      if (planes[p] == nullptr) return false;
    }
    JoinPlanes(element_bytes, std::span(planes).first(element_bytes), out.first(count * element_bytes));
    out = out.subspan(count * element_bytes);
  }
  if (stored.size() != out.size()) return false;
  std::ranges::copy(stored, out.begin());
  return true;
}

}  // namespace

std::string_view PayloadCodecName(PayloadCodec codec) {
  switch (codec) {
    case PayloadCodec::kRaw:
      return "raw";
    case PayloadCodec::kPlanesZstd:
      return "zstd";
  }
  return "unknown";
}

CodecChoice ChooseCodec(std::string_view kv_dtype) {
  if (kv_dtype == "bf16") return {PayloadCodec::kPlanesZstd, 2};
  if (kv_dtype == "f32") return {PayloadCodec::kPlanesZstd, 4};
  if (kv_dtype == "f16") return {PayloadCodec::kRaw, 2};
  return {};
}

StoredPayload RawPayload(std::span<const std::byte> raw) { return {.raw_bytes = raw.size(), .bytes = raw}; }

StoredPayload EncodePayload(PayloadCodec codec, size_t element_bytes, std::span<const std::byte> raw,
                            std::string* buffer) {
  PREFIXD_CHECK(codec == PayloadCodec::kRaw || codec == PayloadCodec::kPlanesZstd)
      << static_cast<uint32_t>(codec);
  PREFIXD_CHECK(IsElementBytes(element_bytes)) << element_bytes;
  buffer->clear();
  if (codec == PayloadCodec::kRaw || raw.empty()) return RawPayload(raw);
  Memory& memory = ThreadMemory();
  if (memory.Planes() == nullptr || memory.Compressor() == nullptr) return RawPayload(raw);
  const size_t limit = raw.size() - (raw.size() + kLeastGain - 1) / kLeastGain;
  buffer->reserve(limit + kMaxElementBytes * (kChunkElements + sizeof(uint32_t)));
  if (!Compress(memory, element_bytes, raw, limit, buffer)) return RawPayload(raw);
  return {.codec = codec,
          .element_bytes = static_cast<uint32_t>(element_bytes),
          .raw_bytes = raw.size(),
          .raw_checksum = Checksum(raw),
          .bytes = std::as_bytes(std::span(*buffer))};
}

Status DecodePayload(const StoredPayload& payload, std::span<std::byte> out) {
  if (payload.raw_bytes != out.size()) {
    return Corrupt("a payload has " + std::to_string(payload.raw_bytes) + " bytes, not " +
                   std::to_string(out.size()));
  }
  if (payload.codec == PayloadCodec::kRaw) {
    if (payload.bytes.size() != out.size()) return Corrupt("a raw payload has the length of another");
    std::ranges::copy(payload.bytes, out.begin());
    return Status::Ok();
  }
  if (payload.codec != PayloadCodec::kPlanesZstd) {
    return Unsupported("a payload has the codec " + std::to_string(static_cast<uint32_t>(payload.codec)) +
                       ", which this version does not know");
  }
  if (!IsElementBytes(payload.element_bytes))
    return Corrupt("a payload has elements of " + std::to_string(payload.element_bytes) + " bytes");
  Memory& memory = ThreadMemory();
  if (memory.Planes() == nullptr || memory.Decompressor() == nullptr)
    return ResourceExhausted("no memory to decompress a payload");
  if (!Decompress(memory, payload.element_bytes, payload.bytes, out))
    return Corrupt("a payload does not decompress");
  if (Checksum(out) != payload.raw_checksum) return Corrupt("a decompressed payload has another checksum");
  return Status::Ok();
}

}  // namespace prefixd
