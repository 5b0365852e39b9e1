#include "storage/segment_directory.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/prng.h"
#include "storage/record.h"

namespace prefixd {
namespace {

SegmentDirectory Example(const std::string& heads) {
  SegmentDirectory directory{.group = {1, 2}, .tick = 3.5};
  directory.entries.push_back(
      {.key = {3, 4}, .bytes = 5, .heat = -1, .created = 6, .head = std::string_view(heads).substr(0, 5)});
  directory.entries.push_back({.key = {7, 8},
                               .bytes = 100'000,
                               .heat = 2.25,
                               .created = 9,
                               .cost_class = 200,
                               .head = std::string_view(heads).substr(0, kRecordHeaderBytes)});
  directory.deleted = {{10, 11}, {12, 13}};
  return directory;
}

TEST(SegmentDirectory, DecodesWhatItEncodes) {
  const std::string heads(kRecordHeaderBytes, 'h');
  const SegmentDirectory directory = Example(heads);
  const std::string bytes = EncodeDirectory(directory);
  EXPECT_LE(bytes.size(), DirectoryBytes(2, 2));
  const auto decoded = DecodeDirectory(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->group, directory.group);
  EXPECT_EQ(decoded->tick, directory.tick);
  EXPECT_EQ(decoded->deleted, directory.deleted);
  ASSERT_EQ(decoded->entries.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(decoded->entries[i].key, directory.entries[i].key);
    EXPECT_EQ(decoded->entries[i].bytes, directory.entries[i].bytes);
    EXPECT_EQ(decoded->entries[i].heat, directory.entries[i].heat);
    EXPECT_EQ(decoded->entries[i].created, directory.entries[i].created);
    EXPECT_EQ(decoded->entries[i].cost_class, directory.entries[i].cost_class);
    EXPECT_EQ(decoded->entries[i].head, directory.entries[i].head);
  }
}

TEST(SegmentDirectory, SaysWhatIsKept) {
  const std::string heads(kRecordHeaderBytes, 'h');
  SegmentDirectory directory = Example(heads);
  const std::string plain = EncodeDirectory(directory);
  EXPECT_EQ(plain[8], 1) << "readable for daemons that keep nothing";
  directory.kept = {{{3, 4}, 5, {.until = 1'800'000'000, .seconds = 300, .owner = 6}},
                    {{20, 21}, 7, {.until = 1'900'000'000, .seconds = 3600, .owner = 8}}};
  const std::string bytes = EncodeDirectory(directory);
  EXPECT_EQ(bytes[8], 2);
  EXPECT_EQ(bytes.size() - plain.size(), DirectoryBytes(0, 0, 2) - DirectoryBytes(0, 0));
  const auto decoded = DecodeDirectory(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->kept, directory.kept);
  EXPECT_EQ(decoded->deleted, directory.deleted);
  for (size_t i = 0; i < bytes.size(); ++i) EXPECT_FALSE(DecodeDirectory(bytes.substr(0, i)).ok()) << i;
}

TEST(SegmentDirectory, RefusesEveryDamage) {
  const std::string heads(kRecordHeaderBytes, 'h');
  const std::string bytes = EncodeDirectory(Example(heads));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int bit : {0, 5}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      EXPECT_FALSE(DecodeDirectory(damaged).ok()) << "bit " << bit << " of byte " << i;
    }
    EXPECT_FALSE(DecodeDirectory(bytes.substr(0, i)).ok()) << "the first " << i << " bytes";
  }
  EXPECT_FALSE(DecodeDirectory(bytes + "x").ok());
}

TEST(SegmentDirectory, TellsAnotherVersionFromDamage) {
  const std::string heads(kRecordHeaderBytes, 'h');
  std::string bytes = EncodeDirectory(Example(heads));
  EXPECT_EQ(DecodeDirectory("short").status().code(), Code::kCorrupt);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  EXPECT_EQ(DecodeDirectory(bytes).status().code(), Code::kCorrupt);
  bytes[8] = 9;
  EXPECT_EQ(DecodeDirectory(bytes).status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace prefixd
