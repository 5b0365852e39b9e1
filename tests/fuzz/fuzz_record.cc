// Decodes any bytes as a record and as the header of one. The decoders never read past the end. They accept
// only what the encoder writes, and agree on the header.
//
// Random bytes do not have right checksums. So the harness decodes every input a second time with the magic,
// the version and both checksums put right, which leaves the lengths as they are: then the defect must follow
// from the lengths alone.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/checksum.h"
#include "storage/record.h"

namespace {

using prefixd::DecodedHead;
using prefixd::DecodedRecord;
using prefixd::RecordDefect;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Only a raw payload, or one whose checksum is right, is read.
void CheckPayload(const DecodedRecord& record) {
  std::string raw(std::min<uint64_t>(record.head.raw_bytes, 1 << 16), '\0');
  const RecordDefect defect = prefixd::ReadRecordPayload(record, std::as_writable_bytes(std::span(raw)));
  if (defect == RecordDefect::kDecompress) return;
  PREFIXD_CHECK(defect == RecordDefect::kNone && raw.size() == record.head.raw_bytes);
  if (record.head.codec == prefixd::PayloadCodec::kRaw) {
    PREFIXD_CHECK(std::ranges::equal(Bytes(raw), record.payload.bytes));
  } else {
    PREFIXD_CHECK(prefixd::Checksum(Bytes(raw)) == record.head.raw_checksum);
  }
}

RecordDefect Decode(std::string_view bytes) {
  const DecodedRecord record = prefixd::DecodeRecord(Bytes(bytes));
  const DecodedHead head = prefixd::DecodeRecordHead(Bytes(bytes));
  PREFIXD_CHECK(prefixd::DecodeRecordHead(Bytes(bytes.substr(0, prefixd::kRecordHeaderBytes))).defect ==
                head.defect);
  if (record.defect == RecordDefect::kNone) {
    const prefixd::RecordIdentity identity{.fingerprint = record.head.fingerprint,
                                           .root = record.head.root,
                                           .key = record.head.key,
                                           .parent = record.head.parent,
                                           .prefix_check = record.head.prefix_check,
                                           .tokens = record.tokens};
    PREFIXD_CHECK(prefixd::EncodeRecord(identity, record.head.created, record.payload) == bytes);
    PREFIXD_CHECK(prefixd::CompareRecord(record, identity) == RecordDefect::kNone);
    PREFIXD_CHECK(head.defect == RecordDefect::kNone && head.head == record.head);
    CheckPayload(record);
  } else {
    PREFIXD_CHECK(record.payload.bytes.empty() && record.tokens.empty());
    PREFIXD_CHECK(head.defect == RecordDefect::kNone || head.defect == record.defect);
  }
  return record.defect;
}

void CheckLengths(std::string record) {
  const std::string start = prefixd::EncodeRecord({}, 0, {}).substr(0, 12);  // magic and version
  record.replace(0, start.size(), start);
  const auto put_checksum = [&record](size_t at, std::span<const std::byte> of) {
    const uint64_t checksum = prefixd::Checksum(of);
    std::memcpy(record.data() + at, &checksum, sizeof checksum);
  };
  put_checksum(128, Bytes(record).subspan(prefixd::kRecordHeaderBytes));
  put_checksum(136, Bytes(record).first(136));

  using Wide = unsigned __int128;  // holds the sum of any two lengths
  const Wide expected = Wide{prefixd::kRecordHeaderBytes} +
                        Wide{4} * prefixd::GetLittle<uint32_t>(record.data() + 12) +
                        prefixd::GetLittle<uint64_t>(record.data() + 120);
  const RecordDefect defect = record.size() < expected   ? RecordDefect::kShort
                              : record.size() > expected ? RecordDefect::kLong
                                                         : RecordDefect::kNone;
  PREFIXD_CHECK(Decode(record) == defect);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Decode(bytes);
  if (size >= prefixd::kRecordHeaderBytes) CheckLengths(bytes);
  return 0;
}
