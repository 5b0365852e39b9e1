#include "storage/record.h"

#include <array>
#include <limits>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

constexpr std::string_view kMagic = "PFXBLOCK";

void PutKey(std::string* out, const BlockKey& key) {
  PutLittle(out, key.low);
  PutLittle(out, key.high);
}

BlockKey GetKey(const std::byte* from) {
  return {.low = GetLittle<uint64_t>(from), .high = GetLittle<uint64_t>(from + 8)};
}

bool SameTokens(const std::byte* from, std::span<const TokenId> tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (GetLittle<TokenId>(from + i * sizeof(TokenId)) != tokens[i]) return false;
  }
  return true;
}

}  // namespace

std::string_view RecordDefectName(RecordDefect defect) {
  static constexpr std::array<std::string_view, 6> kNames = {"none",        "short",  "format",
                                                             "fingerprint", "tokens", "checksum"};
  return kNames.at(static_cast<size_t>(defect));
}

std::string EncodeRecord(const RecordIdentity& identity, std::span<const std::byte> payload) {
  PREFIXD_CHECK(identity.tokens.size() <= std::numeric_limits<uint32_t>::max()) << identity.tokens.size();
  std::string record;
  record.reserve(kRecordHeaderBytes + identity.tokens.size_bytes() + payload.size());
  record.append(kMagic);
  PutLittle(&record, kRecordVersion);
  PutLittle(&record, static_cast<uint32_t>(identity.tokens.size()));
  PutKey(&record, identity.fingerprint);
  PutKey(&record, identity.key);
  PutKey(&record, identity.parent);
  PutLittle(&record, static_cast<uint64_t>(payload.size()));
  PutLittle(&record, Checksum(payload));
  for (const TokenId token : identity.tokens) PutLittle(&record, token);
  record.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  return record;
}

DecodedRecord DecodeRecord(std::span<const std::byte> bytes, const RecordIdentity& expected) {
  if (bytes.size() < kRecordHeaderBytes) return {.defect = RecordDefect::kShort};
  const std::byte* const at = bytes.data();
  if (std::string_view(reinterpret_cast<const char*>(at), kMagic.size()) != kMagic ||
      GetLittle<uint32_t>(at + 8) != kRecordVersion) {
    return {.defect = RecordDefect::kFormat};
  }
  const size_t body = bytes.size() - kRecordHeaderBytes;
  const uint64_t token_bytes = uint64_t{GetLittle<uint32_t>(at + 12)} * sizeof(TokenId);
  if (token_bytes > body || GetLittle<uint64_t>(at + 64) != body - token_bytes)
    return {.defect = RecordDefect::kShort};

  if (GetKey(at + 16) != expected.fingerprint) return {.defect = RecordDefect::kFingerprint};
  if (GetKey(at + 32) != expected.key || GetKey(at + 48) != expected.parent ||
      token_bytes != expected.tokens.size_bytes() || !SameTokens(at + kRecordHeaderBytes, expected.tokens)) {
    return {.defect = RecordDefect::kTokens};
  }
  const std::span<const std::byte> payload = bytes.subspan(kRecordHeaderBytes + token_bytes);
  if (Checksum(payload) != GetLittle<uint64_t>(at + 72)) return {.defect = RecordDefect::kChecksum};
  return {.payload = payload};
}

}  // namespace prefixd
