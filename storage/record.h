// Encodes and decodes the record of a block, which the lower cache tiers store. A record says by itself which
// block it holds, so a reader can decode one that it does not expect. The format, version 3, is little-endian
// (docs/FORMAT.md has the same table):
//
//   offset  bytes
//        0      8  magic "PFXBLOCK"
//        8      4  version
//       12      4  n, number of token ids
//       16     16  fingerprint of the model     (keys: low half, high half)
//       32     16  key of the root: the model and the tenant
//       48     16  key of the block
//       64     16  key of its parent
//       80      8  prefix check of the block (hashing/block_key.h)
//       88      8  time of creation, in seconds since 1970
//       96      4  codec of the payload (storage/payload_codec.h)
//      100      4  bytes of an element of the payload
//      104      8  length of the raw payload
//      112      8  checksum of the raw payload; 0 when it is stored raw
//      120      8  p, length of the stored payload
//      128      8  body checksum: of all bytes from 144 on (hashing/checksum.h)
//      136      8  header checksum: of the bytes 0 to 135
//      144     4n  token ids
// 144 + 4n     p  stored payload, to the end
//
// Pure functions; any thread. The decoders accept any bytes.
//
// Invariants
//   1. The two checksums cover every byte. The header checksum covers the body checksum, so the header of one
//      record does not fit the body of another. Both cover what is stored, so damage is found before
//      anything is decompressed.
//   2. Bytes that DecodeRecord accepts are exactly those that EncodeRecord writes for what it returns.
//   3. DecodeRecordHead accepts the first kRecordHeaderBytes bytes of every record that DecodeRecord accepts,
//      and both return the same RecordHead for it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "hashing/block_key.h"
#include "storage/payload_codec.h"

namespace prefixd {

inline constexpr uint32_t kRecordVersion = 3;
inline constexpr size_t kRecordHeaderBytes = 144;

// Returns the seconds since the writing of a record: 0 when it says that it was written later.
inline double AgeOfRecord(uint64_t created, int64_t unix_seconds) {
  return std::max(0.0, static_cast<double>(unix_seconds) - static_cast<double>(created));
}

// The block that a record holds, or should hold.
struct RecordIdentity {
  BlockKey fingerprint;  // of the model
  BlockKey root;         // RootKey(fingerprint, tenant, salt)
  BlockKey key;
  BlockKey parent;            // equal to `root` for the first block of a sequence
  uint64_t prefix_check = 0;  // ChildCheck of the block: of its tokens and of all before them
  std::span<const TokenId> tokens;
};

// `created` is in seconds since 1970. RawPayload or EncodePayload makes the payload. Requires fewer than 2^32
// tokens.
std::string EncodeRecord(const RecordIdentity& identity, uint64_t created, const StoredPayload& payload);

// Why a record is rejected. docs/FORMAT.md lists the checks in their order.
enum class RecordDefect : uint8_t {
  kNone,
  kFormat,       // not a record: it does not begin with the magic
  kVersion,      // a record of another version, which is left to the daemons that read it
  kShort,        // bytes are missing
  kLong,         // bytes follow the payload
  kChecksum,     // the header or the body is damaged
  kFingerprint,  // whole, but of another model
  kTokens,       // whole, but of another block: root, key, parent, prefix check or token ids differ
  kDecompress,   // whole, but its payload does not give the raw bytes that are expected
};
std::string_view RecordDefectName(RecordDefect defect);  // "none", "format", ...

// The fields of a header.
struct RecordHead {
  BlockKey fingerprint;
  BlockKey root;
  BlockKey key;
  BlockKey parent;
  uint64_t prefix_check = 0;
  uint64_t created = 0;  // seconds since 1970
  uint32_t token_count = 0;
  PayloadCodec codec = PayloadCodec::kRaw;  // or a number that no codec has
  uint32_t element_bytes = 0;               // any number
  uint64_t raw_bytes = 0;                   // of the payload
  uint64_t raw_checksum = 0;
  uint64_t stored_bytes = 0;  // of the payload

  friend bool operator==(const RecordHead&, const RecordHead&) = default;
};

// Unless `defect` is kNone, the other members of these two are empty.
struct DecodedHead {
  RecordDefect defect = RecordDefect::kNone;
  RecordHead head = {};
};
struct DecodedRecord {
  RecordDefect defect = RecordDefect::kNone;
  RecordHead head = {};
  std::vector<TokenId> tokens = {};
  StoredPayload payload = {};  // refers to a part of the decoded bytes
};

// Decodes the header, which is the first kRecordHeaderBytes of `bytes`, and ignores the bytes after it. It
// tells which block a record holds, but not whether the body is whole.
DecodedHead DecodeRecordHead(std::span<const std::byte> bytes);

// Decodes a whole record of any block of any model, but not its payload. The result refers to `bytes`.
// Callers compare it with the block that they look for: two blocks may have the same key, and two prefixes
// may end in the same tokens.
DecodedRecord DecodeRecord(std::span<const std::byte> bytes);

// Returns the defect of `record` if it has one. Otherwise returns kNone when the record holds the block
// `expected`, and kFingerprint or kTokens when it holds another.
RecordDefect CompareRecord(const DecodedRecord& record, const RecordIdentity& expected);

// Writes the raw payload of `record` to `out`, which has the length that the caller expects of it. Returns
// kNone, the defect of `record` if it has one, or kDecompress, also when the working memory of DecodePayload
// cannot be allocated. Unless it returns kNone, the bytes in `out` are undefined.
RecordDefect ReadRecordPayload(const DecodedRecord& record, std::span<std::byte> out);

}  // namespace prefixd
