#include "storage/record.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/prng.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const std::vector<TokenId>& Tokens() {
  static const std::vector<TokenId> kTokens{1, -1, 2147483647, 4};
  return kTokens;
}
RecordIdentity Identity() {
  return {.fingerprint = {1, 2},
          .root = {3, 4},
          .key = {5, 6},
          .parent = {7, 8},
          .prefix_check = 9,
          .tokens = Tokens()};
}
const std::string kPayload = "the payload of a block";
constexpr uint64_t kCreated = 10;
std::string Encode(const RecordIdentity& identity, std::string_view payload) {
  return EncodeRecord(identity, kCreated, RawPayload(Bytes(payload)));
}
// Compresses well.
const std::string kZeros(1000, '\0');
std::string EncodeCompressed(const RecordIdentity& identity) {
  std::string buffer;
  return EncodeRecord(identity, kCreated,
                      EncodePayload(PayloadCodec::kPlanesZstd, 2, Bytes(kZeros), &buffer));
}

// Decodes a record and its header. The test fails when the two contradict each other.
DecodedRecord Decode(std::string_view bytes) {
  DecodedRecord record = DecodeRecord(Bytes(bytes));
  const DecodedHead head = DecodeRecordHead(Bytes(bytes));
  if (record.defect == RecordDefect::kNone) {
    EXPECT_EQ(head.defect, RecordDefect::kNone);
    EXPECT_EQ(head.head, record.head);
  } else {
    EXPECT_TRUE(record.payload.bytes.empty() && record.tokens.empty() && record.head == RecordHead());
  }
  if (head.defect != RecordDefect::kNone) {
    EXPECT_EQ(record.defect, head.defect);
    EXPECT_EQ(head.head, RecordHead());
  }
  return record;
}
RecordDefect DefectOf(std::string_view bytes) { return Decode(bytes).defect; }
RecordDefect HeadDefectOf(std::string_view bytes) { return DecodeRecordHead(Bytes(bytes)).defect; }

std::string Flipped(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  return bytes;
}

// Puts right checksums into the record of a writer that is at fault.
void Seal(std::string* record) {
  const uint64_t body = Checksum(Bytes(*record).subspan(kRecordHeaderBytes));
  std::memcpy(record->data() + kRecordHeaderBytes - 16, &body, 8);
  const uint64_t header = Checksum(Bytes(*record).first(kRecordHeaderBytes - 8));
  std::memcpy(record->data() + kRecordHeaderBytes - 8, &header, 8);
}

TEST(Record, ReadsWhatWasWritten) {
  for (const size_t size : {0, 1, 7, 4096}) {
    for (const size_t tokens : {0, 1, 4}) {
      const std::string payload(size, 'p');
      RecordIdentity identity = Identity();
      identity.tokens = identity.tokens.first(tokens);
      const std::string bytes = Encode(identity, payload);
      EXPECT_EQ(bytes.size(), kRecordHeaderBytes + 4 * tokens + size);
      const DecodedRecord record = Decode(bytes);
      ASSERT_EQ(record.defect, RecordDefect::kNone);
      EXPECT_EQ(record.head.fingerprint, identity.fingerprint);
      EXPECT_EQ(record.head.root, identity.root);
      EXPECT_EQ(record.head.key, identity.key);
      EXPECT_EQ(record.head.parent, identity.parent);
      EXPECT_EQ(record.head.prefix_check, 9u);
      EXPECT_EQ(record.head.token_count, tokens);
      EXPECT_EQ(record.head.created, kCreated);
      EXPECT_EQ(record.head.codec, PayloadCodec::kRaw);
      EXPECT_EQ(record.head.raw_bytes, size);
      EXPECT_EQ(record.head.stored_bytes, size);
      EXPECT_EQ(record.tokens, std::vector<TokenId>(Tokens().begin(), Tokens().begin() + tokens));
      EXPECT_EQ(Text(record.payload.bytes), payload);
      std::string raw(size, '\0');
      EXPECT_EQ(ReadRecordPayload(record, std::as_writable_bytes(std::span(raw))), RecordDefect::kNone);
      EXPECT_EQ(raw, payload);
      EXPECT_EQ(CompareRecord(record, identity), RecordDefect::kNone);
    }
  }
}

// The example of docs/FORMAT.md: the bytes of version 3 never change.
TEST(Record, HasTheKnownBytes) {
  const std::vector<TokenId> tokens{7, -2};
  RecordIdentity identity = Identity();
  identity.tokens = tokens;
  std::string hex;
  for (const unsigned char c : Encode(identity, "prefixd")) {
    hex += "0123456789abcdef"[c >> 4];
    hex += "0123456789abcdef"[c & 15];
  }
  EXPECT_EQ(hex,
            "504658424c4f434b"
            "03000000"
            "02000000"
            "0100000000000000"
            "0200000000000000"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000"
            "0600000000000000"
            "0700000000000000"
            "0800000000000000"
            "0900000000000000"
            "0a00000000000000"
            "00000000"
            "01000000"
            "0700000000000000"
            "0000000000000000"
            "0700000000000000"
            "4747771a2d2aa774"
            "b01f87e05bd21e93"
            "07000000"
            "feffffff"
            "70726566697864");
}

TEST(Record, ACompressedPayloadIsReadRaw) {
  const std::string bytes = EncodeCompressed(Identity());
  EXPECT_LT(bytes.size(), kRecordHeaderBytes + 16 + kZeros.size() / 2);
  const DecodedRecord record = Decode(bytes);
  ASSERT_EQ(record.defect, RecordDefect::kNone);
  EXPECT_EQ(record.head.codec, PayloadCodec::kPlanesZstd);
  EXPECT_EQ(record.head.element_bytes, 2u);
  EXPECT_EQ(record.head.raw_bytes, kZeros.size());
  EXPECT_EQ(record.head.raw_checksum, Checksum(Bytes(kZeros)));
  EXPECT_EQ(record.head.stored_bytes, bytes.size() - kRecordHeaderBytes - 16);
  std::string raw(kZeros.size(), 'x');
  EXPECT_EQ(ReadRecordPayload(record, std::as_writable_bytes(std::span(raw))), RecordDefect::kNone);
  EXPECT_EQ(raw, kZeros);
}

TEST(Record, APayloadThatDoesNotGiveTheExpectedBytesIsADefect) {
  const auto defect = [](std::string_view bytes, size_t expected_bytes) {
    std::string raw(expected_bytes, 'x');
    return ReadRecordPayload(DecodeRecord(Bytes(bytes)), std::as_writable_bytes(std::span(raw)));
  };
  const std::string whole = EncodeCompressed(Identity());
  EXPECT_EQ(defect(whole, kZeros.size()), RecordDefect::kNone);
  EXPECT_EQ(defect(whole, kZeros.size() + 1), RecordDefect::kDecompress) << "a block of another size";
  EXPECT_EQ(defect(whole, 0), RecordDefect::kDecompress);
  EXPECT_EQ(defect(Encode(Identity(), kPayload), kPayload.size() - 1), RecordDefect::kDecompress);
  // The record of a writer at fault: its checksums are right, its payload is not.
  for (const size_t at : {96u, 100u, 104u, 112u}) {  // codec, element, raw length, raw checksum
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 8);
    Seal(&bytes);
    EXPECT_EQ(DefectOf(bytes), RecordDefect::kNone) << at;
    EXPECT_EQ(defect(bytes, kZeros.size()), RecordDefect::kDecompress) << at;
  }
  std::string bytes = whole;
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  EXPECT_EQ(defect(bytes, kZeros.size()), RecordDefect::kChecksum) << "found before it is decompressed";
}

TEST(Record, TheHeadIsReadWithoutTheRest) {
  const std::string bytes = Encode(Identity(), kPayload);
  const RecordHead whole = Decode(bytes).head;
  for (const size_t size : {kRecordHeaderBytes, kRecordHeaderBytes + 1, bytes.size() - 1}) {
    const DecodedHead head = DecodeRecordHead(Bytes(bytes).first(size));
    EXPECT_EQ(head.defect, RecordDefect::kNone);
    EXPECT_EQ(head.head, whole);
  }
  std::string other_body = bytes;
  other_body.replace(kRecordHeaderBytes, std::string::npos, bytes.size(), 'x');
  EXPECT_EQ(HeadDefectOf(other_body), RecordDefect::kNone);
  EXPECT_NE(DefectOf(other_body), RecordDefect::kNone);
}

TEST(Record, NoTruncationAndNoExtensionPasses) {
  const std::string bytes = Encode(Identity(), kPayload);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DefectOf(bytes.substr(0, size)), RecordDefect::kShort) << size;
    EXPECT_EQ(HeadDefectOf(bytes.substr(0, size)),
              size < kRecordHeaderBytes ? RecordDefect::kShort : RecordDefect::kNone);
  }
  EXPECT_EQ(DefectOf(bytes + '\0'), RecordDefect::kLong);
  EXPECT_EQ(DefectOf(bytes + bytes), RecordDefect::kLong);
}

TEST(Record, NoFlippedBitPasses) {
  const std::string raw = Encode(Identity(), kPayload);
  const std::string compressed = EncodeCompressed(Identity());
  for (const std::string& bytes : {raw, compressed}) {
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      const size_t at = bit / 8;
      const RecordDefect expected = at < 8    ? RecordDefect::kFormat
                                    : at < 12 ? RecordDefect::kVersion
                                              : RecordDefect::kChecksum;
      EXPECT_EQ(DefectOf(Flipped(bytes, bit)), expected) << "bit " << bit;
      EXPECT_EQ(HeadDefectOf(Flipped(bytes, bit)), at < kRecordHeaderBytes ? expected : RecordDefect::kNone)
          << "bit " << bit;
    }
  }
}

// Two flipped bits in different bytes, or a range of zeros.
TEST(Record, NoSeededDamagePasses) {
  const std::string bytes = Encode(Identity(), kPayload);
  Prng random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = bytes;
    if (random.Chance(0.5)) {
      const size_t first = random.Below(bytes.size());
      const size_t second = (first + 1 + random.Below(bytes.size() - 1)) % bytes.size();
      damaged = Flipped(Flipped(bytes, first * 8 + random.Below(8)), second * 8 + random.Below(8));
    } else {  // a hole, as of a page that was never written
      const size_t begin = random.Below(bytes.size());
      const size_t hole = 1 + random.Below(bytes.size() - begin);
      damaged.replace(begin, hole, hole, '\0');
      if (damaged == bytes) continue;
    }
    EXPECT_NE(DefectOf(damaged), RecordDefect::kNone) << i;
  }
}

TEST(Record, AHeaderDoesNotFitTheBodyOfAnotherRecord) {
  const std::string one = Encode(Identity(), "one");
  const std::string two = Encode(Identity(), "two");
  EXPECT_EQ(DefectOf(one.substr(0, kRecordHeaderBytes) + two.substr(kRecordHeaderBytes)),
            RecordDefect::kChecksum);
}

TEST(Record, AnotherVersionIsNotDamage) {
  std::string bytes = Encode(Identity(), kPayload);
  for (const char version : {0, 1, 2, 4}) {
    bytes[8] = version;
    EXPECT_EQ(DefectOf(bytes), RecordDefect::kVersion);
    EXPECT_EQ(DefectOf(bytes.substr(0, 12)), RecordDefect::kVersion) << "its header may be shorter";
    EXPECT_EQ(DefectOf(bytes.substr(0, 11)), RecordDefect::kShort);
  }
  bytes[0] = 'Q';
  EXPECT_EQ(DefectOf(bytes), RecordDefect::kFormat) << "not a record of any version";
}

TEST(Record, ComparisonNamesWhatDiffers) {
  const std::string bytes = Encode(Identity(), kPayload);
  const DecodedRecord record = Decode(bytes);
  EXPECT_EQ(CompareRecord(record, Identity()), RecordDefect::kNone);
  RecordIdentity expected = Identity();
  expected.fingerprint.high ^= 1;
  EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kFingerprint);
  expected.key.low ^= 1;
  EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kFingerprint) << "the model comes first";
  for (BlockKey RecordIdentity::*const member :
       {&RecordIdentity::root, &RecordIdentity::key, &RecordIdentity::parent}) {
    expected = Identity();
    (expected.*member).low ^= 1;
    EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens);
    expected = Identity();
    (expected.*member).high ^= 1;
    EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens);
  }
  for (const uint64_t bit : {uint64_t{1}, uint64_t{1} << 63}) {
    expected = Identity();
    expected.prefix_check ^= bit;
    EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens) << "the same tokens after others";
  }
  expected = Identity();
  expected.tokens = expected.tokens.first(3);
  EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens);
  std::vector<TokenId> other = Tokens();
  other.back() = 5;
  expected.tokens = other;
  EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens) << "a colliding key";
  other.back() = Tokens().back();
  other.push_back(0);
  expected.tokens = other;
  EXPECT_EQ(CompareRecord(record, expected), RecordDefect::kTokens);
}

TEST(Record, ComparisonReturnsTheDefectOfTheRecord) {
  const std::string bytes = Encode(Identity(), kPayload);
  RecordIdentity other = Identity();
  other.fingerprint = {9, 9};
  EXPECT_EQ(CompareRecord(Decode(bytes + '\0'), other), RecordDefect::kLong);
  EXPECT_EQ(CompareRecord(Decode(Flipped(bytes, bytes.size() * 8 - 1)), Identity()), RecordDefect::kChecksum);
}

TEST(Record, LengthsThatOverflowAreShort) {
  std::string bytes = Encode(Identity(), kPayload);
  const auto with_lengths = [&bytes](uint32_t tokens, uint64_t payload) {
    std::memcpy(bytes.data() + 12, &tokens, 4);
    std::memcpy(bytes.data() + 120, &payload, 8);
    Seal(&bytes);
    return DefectOf(bytes);
  };
  const uint64_t body = bytes.size() - kRecordHeaderBytes;
  EXPECT_EQ(with_lengths(4, body - 16), RecordDefect::kNone);
  EXPECT_EQ(with_lengths(4, body - 15), RecordDefect::kShort);
  EXPECT_EQ(with_lengths(4, body - 17), RecordDefect::kLong);
  EXPECT_EQ(with_lengths(5, body - 20), RecordDefect::kNone) << "other tokens, other payload";
  EXPECT_EQ(with_lengths(0xffffffff, 0), RecordDefect::kShort);
  EXPECT_EQ(with_lengths(0, ~uint64_t{0}), RecordDefect::kShort);
  EXPECT_EQ(with_lengths(4, ~uint64_t{0}), RecordDefect::kShort);
  EXPECT_EQ(with_lengths(0x40000004, body - 16), RecordDefect::kShort) << "4n is right in 32 bits";
}

TEST(Record, NoiseIsRefused) {
  Prng random(1);
  const std::string start = Encode(Identity(), {}).substr(0, 12);
  for (int i = 0; i < 2000; ++i) {
    std::string noise = random.Chance(0.5) ? start : "";
    const size_t size = noise.size() + random.Below(300);
    while (noise.size() < size) noise += static_cast<char>(random.Next());
    EXPECT_NE(DefectOf(noise), RecordDefect::kNone);
  }
}

TEST(Record, DefectsHaveNames) {
  EXPECT_EQ(RecordDefectName(RecordDefect::kNone), "none");
  EXPECT_EQ(RecordDefectName(RecordDefect::kVersion), "version");
  EXPECT_EQ(RecordDefectName(RecordDefect::kShort), "short");
  EXPECT_EQ(RecordDefectName(RecordDefect::kChecksum), "checksum");
  EXPECT_EQ(RecordDefectName(RecordDefect::kFingerprint), "fingerprint");
  EXPECT_EQ(RecordDefectName(RecordDefect::kTokens), "tokens");
  EXPECT_EQ(RecordDefectName(RecordDefect::kDecompress), "decompress");
}

}  // namespace
}  // namespace prefixd
