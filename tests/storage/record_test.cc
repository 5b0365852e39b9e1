#include "storage/record.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/prng.h"

namespace prefixd {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

const std::vector<TokenId>& Tokens() {
  static const std::vector<TokenId> kTokens{1, -1, 2147483647, 4};
  return kTokens;
}
RecordIdentity Identity() {
  return {.fingerprint = {1, 2}, .key = {3, 4}, .parent = {5, 6}, .tokens = Tokens()};
}
const std::string kPayload = "the payload of a block";

RecordDefect DefectOf(std::string_view record, const RecordIdentity& expected = Identity()) {
  const DecodedRecord decoded = DecodeRecord(Bytes(record), expected);
  EXPECT_TRUE(decoded.defect == RecordDefect::kNone || decoded.payload.empty());
  return decoded.defect;
}

TEST(Record, ReadsWhatWasWritten) {
  for (const size_t size : {0, 1, 7, 4096}) {
    std::string payload(size, 'p');
    const std::string record = EncodeRecord(Identity(), Bytes(payload));
    EXPECT_EQ(record.size(), kRecordHeaderBytes + 16 + size);
    const DecodedRecord decoded = DecodeRecord(Bytes(record), Identity());
    ASSERT_EQ(decoded.defect, RecordDefect::kNone);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(decoded.payload.data()), decoded.payload.size()),
              payload);
  }
}

// The example of docs/FORMAT.md: the bytes of version 1 never change.
TEST(Record, HasTheKnownBytes) {
  const std::vector<TokenId> tokens{7, -2};
  const std::string record = EncodeRecord(
      {.fingerprint = {1, 2}, .key = {3, 4}, .parent = {5, 6}, .tokens = tokens}, Bytes("prefixd"));
  std::string hex;
  for (const unsigned char c : record) {
    hex += "0123456789abcdef"[c >> 4];
    hex += "0123456789abcdef"[c & 15];
  }
  EXPECT_EQ(hex,
            "504658424c4f434b"
            "01000000"
            "02000000"
            "0100000000000000"
            "0200000000000000"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000"
            "0600000000000000"
            "0700000000000000"
            "b4f9934393a86405"
            "07000000"
            "feffffff"
            "70726566697864");
}

TEST(Record, NoTruncationAndNoExtensionPasses) {
  const std::string record = EncodeRecord(Identity(), Bytes(kPayload));
  for (size_t size = 0; size < record.size(); ++size) {
    EXPECT_EQ(DefectOf(record.substr(0, size)), RecordDefect::kShort) << size;
  }
  EXPECT_EQ(DefectOf(record + '\0'), RecordDefect::kShort);
  EXPECT_EQ(DefectOf(record + record), RecordDefect::kShort);
}

TEST(Record, NoFlippedBitPasses) {
  const std::string record = EncodeRecord(Identity(), Bytes(kPayload));
  std::set<RecordDefect> seen;
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    std::string damaged = record;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const RecordDefect defect = DefectOf(damaged);
    EXPECT_NE(defect, RecordDefect::kNone) << "bit " << bit;
    seen.insert(defect);
  }
  EXPECT_EQ(seen.size(), 5u) << "every kind of refusal occurs";
}

TEST(Record, RefusalNamesWhatDiffers) {
  const std::string record = EncodeRecord(Identity(), Bytes(kPayload));
  RecordIdentity expected = Identity();
  expected.fingerprint.high ^= 1;
  EXPECT_EQ(DefectOf(record, expected), RecordDefect::kFingerprint);
  expected = Identity();
  expected.key.low ^= 1;
  EXPECT_EQ(DefectOf(record, expected), RecordDefect::kTokens);
  expected = Identity();
  expected.parent.low ^= 1;
  EXPECT_EQ(DefectOf(record, expected), RecordDefect::kTokens);
  expected = Identity();
  expected.tokens = expected.tokens.first(3);
  EXPECT_EQ(DefectOf(record, expected), RecordDefect::kTokens);
  std::vector<TokenId> other = Tokens();
  other.back() = 5;
  expected.tokens = other;
  EXPECT_EQ(DefectOf(record, expected), RecordDefect::kTokens) << "a colliding key";
  std::string damaged = record;
  damaged.back() ^= 1;
  EXPECT_EQ(DefectOf(damaged), RecordDefect::kChecksum);
  damaged = record;
  damaged[8] = 2;
  EXPECT_EQ(DefectOf(damaged), RecordDefect::kFormat) << "version 2";
}

TEST(Record, LengthsThatOverflowAreShort) {
  std::string record = EncodeRecord(Identity(), Bytes(kPayload));
  record.replace(12, 4, std::string(4, '\xff'));
  EXPECT_EQ(DefectOf(record), RecordDefect::kShort);
  record.replace(64, 8, std::string(8, '\xff'));
  EXPECT_EQ(DefectOf(record), RecordDefect::kShort);
}

TEST(Record, NoiseIsRefused) {
  Prng random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string noise(random.Below(200), '\0');
    for (char& c : noise) c = static_cast<char>(random.Next());
    EXPECT_NE(DefectOf(noise), RecordDefect::kNone);
  }
}

TEST(Record, DefectsHaveNames) {
  EXPECT_EQ(RecordDefectName(RecordDefect::kNone), "none");
  EXPECT_EQ(RecordDefectName(RecordDefect::kFingerprint), "fingerprint");
  EXPECT_EQ(RecordDefectName(RecordDefect::kChecksum), "checksum");
}

}  // namespace
}  // namespace prefixd
