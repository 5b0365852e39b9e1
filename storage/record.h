// The record of a block, as it lies in the lower tiers. Little-endian, version 1 (docs/FORMAT.md has the same
// table):
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
// Every byte is compared or summed when a record is read, so that no damage goes unseen. Pure functions; any
// thread.
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

// What a record is the record of.
struct RecordIdentity {
  BlockKey fingerprint;
  BlockKey key;
  BlockKey parent;
  std::span<const TokenId> tokens;
};

std::string EncodeRecord(const RecordIdentity& identity, std::span<const std::byte> payload);

// Why a record was refused.
enum class RecordDefect : uint8_t {
  kNone,
  kShort,        // bytes are missing, or there are too many
  kFormat,       // another magic or version
  kFingerprint,  // of another model
  kTokens,       // another key, parent or token ids: found by a colliding key, or damaged
  kChecksum,     // the payload is damaged
};
std::string_view RecordDefectName(RecordDefect defect);  // "none", "short", ...

struct DecodedRecord {
  RecordDefect defect = RecordDefect::kNone;
  std::span<const std::byte> payload;  // within `bytes`; empty unless defect is kNone
};

// Reads the record of `expected` from `bytes`, which may be anything.
DecodedRecord DecodeRecord(std::span<const std::byte> bytes, const RecordIdentity& expected);

}  // namespace prefixd
