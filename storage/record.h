// Encodes and decodes the record of a block, which the lower cache tiers store. The format, version 1, is
// little-endian (docs/FORMAT.md has the same table):
//
//   offset  bytes
//        0      8  magic "PFXBLOCK"
//        8      4  version
//       12      4  n, number of token ids
//       16     16  fingerprint of the model     (keys: low half, high half)
//       32     16  key
//       48     16  parent key
//       64      8  p, length of the payload
//       72      8  checksum of the payload (hashing/checksum.h)
//       80     4n  token ids
//   80 + 4n     p  payload, to the end
//
// DecodeRecord compares every byte with the expected one or covers it by the checksum. So it detects any
// accidental damage. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"
#include "hashing/block_key.h"

namespace prefixd {

inline constexpr uint32_t kRecordVersion = 1;
inline constexpr size_t kRecordHeaderBytes = 80;

// Identifies the block that a record belongs to.
struct RecordIdentity {
  BlockKey fingerprint;
  BlockKey key;
  BlockKey parent;
  std::span<const TokenId> tokens;
};

// Requires fewer than 2^32 tokens.
std::string EncodeRecord(const RecordIdentity& identity, std::span<const std::byte> payload);

// Why DecodeRecord rejected a record.
enum class RecordDefect : uint8_t {
  kNone,
  kShort,        // too few bytes, or too many
  kFormat,       // the magic or the version differs
  kFingerprint,  // the record belongs to another model
  kTokens,       // key, parent or token ids differ: a key collision, or damage
  kChecksum,     // the payload is damaged
};
std::string_view RecordDefectName(RecordDefect defect);  // "none", "short", ...

struct DecodedRecord {
  RecordDefect defect = RecordDefect::kNone;
  std::span<const std::byte> payload;  // a part of `bytes`; empty unless defect is kNone
};

// Decodes `bytes` and checks that they are the record of the block `expected`. `bytes` may have any content.
// The result refers to `bytes`.
DecodedRecord DecodeRecord(std::span<const std::byte> bytes, const RecordIdentity& expected);

}  // namespace prefixd
