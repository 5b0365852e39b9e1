// Lossless compression of the payload of a record: the KV of a block. A payload is stored raw, or with a
// codec that divides it into byte planes (storage/byte_planes.h) and compresses each plane by itself.
// docs/FORMAT.md has the format.
//
// Pure functions; any thread. A thread that uses them keeps its working memory, below 1 MiB, until it ends.
//
// Invariants
//   1. DecodePayload of what EncodePayload returned gives the same bytes. It writes the raw bytes or returns
//      an error; it never accepts bytes whose checksum is wrong.
//   2. A payload that is stored with a codec is smaller than the raw one by at least 1/kLeastGain of it.
//   3. DecodePayload accepts any bytes. It writes no more than the raw bytes, and apart from them it needs
//      only the working memory of the thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

// How a payload is stored. The numbers are part of the format.
enum class PayloadCodec : uint32_t {
  kRaw = 0,         // as it is
  kPlanesZstd = 1,  // byte planes, each of them a zstd frame or raw
};
std::string_view PayloadCodecName(PayloadCodec codec);  // "raw", "zstd"; "unknown" for other numbers

// A compressed payload that saves less than raw size / kLeastGain is not worth its decoding: it is stored
// raw.
inline constexpr uint64_t kLeastGain = 20;

// The codec and element for KV of a dtype ("f32", "f16" or "bf16"), for an operator who names none. It
// compresses where a load that reads and then decodes is faster than one that reads raw, at 500 MB/s for each
// thread that loads: one thread with a SATA drive, or four with an NVMe drive of 2 GB/s. On a trained model
// (bench/README.md, "KV compression") that is so for bf16, of which a disk then holds 45 % more blocks, and
// for f32 (18 %). f16 would gain 15 %, and loads would be faster below 300 MB/s only: it stays raw, as do
// other names, such as "q8_0".
struct CodecChoice {
  PayloadCodec codec = PayloadCodec::kRaw;
  uint32_t element_bytes = 1;
};
CodecChoice ChooseCodec(std::string_view kv_dtype);

// A payload as it is stored. The values may come from a damaged or hostile record.
struct StoredPayload {
  PayloadCodec codec = PayloadCodec::kRaw;
  uint32_t element_bytes = 1;             // width of the elements that the planes divide
  uint64_t raw_bytes = 0;                 // length of the payload
  uint64_t raw_checksum = 0;              // of the payload; 0 when it is raw
  std::span<const std::byte> bytes = {};  // what is stored
};

// Returns `raw` as a payload that is stored as it is; the result refers to it.
StoredPayload RawPayload(std::span<const std::byte> raw);

// Compresses `raw` into `buffer`, which it clears first, and returns a payload that refers to `buffer`.
// Returns RawPayload(raw) when the codec is kRaw, gains too little (invariant 2), or lacks memory. Requires a
// known codec and an element of 1, 2 or 4 bytes. Any remainder of the last element is stored as it is.
StoredPayload EncodePayload(PayloadCodec codec, size_t element_bytes, std::span<const std::byte> raw,
                            std::string* buffer);

// Writes the raw payload to `out`. kCorrupt, with undefined bytes in `out`: `out` has another length than the
// payload, the payload does not decode, or its checksum differs. kUnsupported: an unknown codec.
// kResourceExhausted: no working memory.
Status DecodePayload(const StoredPayload& payload, std::span<std::byte> out);

}  // namespace prefixd
