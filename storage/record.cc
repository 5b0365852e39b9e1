#include "storage/record.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

constexpr std::string_view kMagic = "PFXBLOCK";

// Offsets of the fields of the header.
constexpr size_t kVersionAt = 8;
constexpr size_t kTokenCountAt = 12;
constexpr size_t kFingerprintAt = 16;
constexpr size_t kRootAt = 32;
constexpr size_t kKeyAt = 48;
constexpr size_t kParentAt = 64;
constexpr size_t kPrefixCheckAt = 80;
constexpr size_t kCreatedAt = 88;
constexpr size_t kCodecAt = 96;
constexpr size_t kElementBytesAt = 100;
constexpr size_t kRawBytesAt = 104;
constexpr size_t kRawChecksumAt = 112;
constexpr size_t kStoredBytesAt = 120;
constexpr size_t kBodyChecksumAt = 128;
constexpr size_t kHeaderChecksumAt = 136;
static_assert(kMagic.size() == kVersionAt);
static_assert(kHeaderChecksumAt + sizeof(uint64_t) == kRecordHeaderBytes);

void PutKey(std::string* out, const BlockKey& key) {
  PutLittle(out, key.low);
  PutLittle(out, key.high);
}

BlockKey GetKey(const std::byte* from) {
  return {.low = GetLittle<uint64_t>(from), .high = GetLittle<uint64_t>(from + 8)};
}

}  // namespace

std::string_view RecordDefectName(RecordDefect defect) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "none", "format", "version", "short", "long", "checksum", "fingerprint", "tokens", "decompress"};
  return kNames.at(static_cast<size_t>(defect));
}

std::string EncodeRecord(const RecordIdentity& identity, uint64_t created, const StoredPayload& payload) {
  PREFIXD_CHECK(identity.tokens.size() <= std::numeric_limits<uint32_t>::max()) << identity.tokens.size();
  std::string record;
  record.reserve(kRecordHeaderBytes + identity.tokens.size_bytes() + payload.bytes.size());
  record.append(kMagic);
  PutLittle(&record, kRecordVersion);
  PutLittle(&record, static_cast<uint32_t>(identity.tokens.size()));
  PutKey(&record, identity.fingerprint);
  PutKey(&record, identity.root);
  PutKey(&record, identity.key);
  PutKey(&record, identity.parent);
  PutLittle(&record, identity.prefix_check);
  PutLittle(&record, created);
  PutLittle(&record, static_cast<uint32_t>(payload.codec));
  PutLittle(&record, payload.element_bytes);
  PutLittle(&record, payload.raw_bytes);
  PutLittle(&record, payload.raw_checksum);
  PutLittle(&record, static_cast<uint64_t>(payload.bytes.size()));
  record.resize(kRecordHeaderBytes);  // leaves room for the checksums
  for (const TokenId token : identity.tokens) PutLittle(&record, token);
  record.append(reinterpret_cast<const char*>(payload.bytes.data()), payload.bytes.size());

  const auto put_checksum = [&record](size_t at, size_t begin, size_t end) {
    const uint64_t checksum = Checksum(std::as_bytes(std::span(record).subspan(begin, end - begin)));
    std::memcpy(record.data() + at, &checksum, sizeof checksum);
  };
  put_checksum(kBodyChecksumAt, kRecordHeaderBytes, record.size());
  put_checksum(kHeaderChecksumAt, 0, kHeaderChecksumAt);
  return record;
}

DecodedHead DecodeRecordHead(std::span<const std::byte> bytes) {
  // Magic and version come first: the header of another version may have another length, also a shorter one.
  if (bytes.size() < kTokenCountAt) return {.defect = RecordDefect::kShort};
  const std::byte* const at = bytes.data();
  if (std::memcmp(at, kMagic.data(), kMagic.size()) != 0) return {.defect = RecordDefect::kFormat};
  if (GetLittle<uint32_t>(at + kVersionAt) != kRecordVersion) return {.defect = RecordDefect::kVersion};
  if (bytes.size() < kRecordHeaderBytes) return {.defect = RecordDefect::kShort};
  if (Checksum(bytes.first(kHeaderChecksumAt)) != GetLittle<uint64_t>(at + kHeaderChecksumAt))
    return {.defect = RecordDefect::kChecksum};
  return {.head = {.fingerprint = GetKey(at + kFingerprintAt),
                   .root = GetKey(at + kRootAt),
                   .key = GetKey(at + kKeyAt),
                   .parent = GetKey(at + kParentAt),
                   .prefix_check = GetLittle<uint64_t>(at + kPrefixCheckAt),
                   .created = GetLittle<uint64_t>(at + kCreatedAt),
                   .token_count = GetLittle<uint32_t>(at + kTokenCountAt),
                   .codec = static_cast<PayloadCodec>(GetLittle<uint32_t>(at + kCodecAt)),
                   .element_bytes = GetLittle<uint32_t>(at + kElementBytesAt),
                   .raw_bytes = GetLittle<uint64_t>(at + kRawBytesAt),
                   .raw_checksum = GetLittle<uint64_t>(at + kRawChecksumAt),
                   .stored_bytes = GetLittle<uint64_t>(at + kStoredBytesAt)}};
}

DecodedRecord DecodeRecord(std::span<const std::byte> bytes) {
  const auto [defect, head] = DecodeRecordHead(bytes);
  if (defect != RecordDefect::kNone) return {.defect = defect};
  // The header checksum detects accidents only, so the lengths may be any numbers: no sum here can overflow.
  const std::span<const std::byte> body = bytes.subspan(kRecordHeaderBytes);
  const uint64_t token_bytes = uint64_t{head.token_count} * sizeof(TokenId);
  if (token_bytes > body.size()) return {.defect = RecordDefect::kShort};
  const std::span<const std::byte> stored = body.subspan(token_bytes);
  if (stored.size() < head.stored_bytes) return {.defect = RecordDefect::kShort};
  if (stored.size() > head.stored_bytes) return {.defect = RecordDefect::kLong};
  if (Checksum(body) != GetLittle<uint64_t>(bytes.data() + kBodyChecksumAt))
    return {.defect = RecordDefect::kChecksum};

  std::vector<TokenId> tokens(head.token_count);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = GetLittle<TokenId>(body.data() + i * sizeof(TokenId));
  }
  return {.head = head,
          .tokens = std::move(tokens),
          .payload = {.codec = head.codec,
                      .element_bytes = head.element_bytes,
                      .raw_bytes = head.raw_bytes,
                      .raw_checksum = head.raw_checksum,
                      .bytes = stored}};
}

RecordDefect CompareRecord(const DecodedRecord& record, const RecordIdentity& expected) {
  if (record.defect != RecordDefect::kNone) return record.defect;
  const RecordHead& head = record.head;
  if (head.fingerprint != expected.fingerprint) return RecordDefect::kFingerprint;
  if (head.root != expected.root || head.key != expected.key || head.parent != expected.parent ||
      head.prefix_check != expected.prefix_check || !std::ranges::equal(record.tokens, expected.tokens)) {
    return RecordDefect::kTokens;
  }
  return RecordDefect::kNone;
}

RecordDefect ReadRecordPayload(const DecodedRecord& record, std::span<std::byte> out) {
  if (record.defect != RecordDefect::kNone) return record.defect;
  return DecodePayload(record.payload, out).ok() ? RecordDefect::kNone : RecordDefect::kDecompress;
}

}  // namespace prefixd
