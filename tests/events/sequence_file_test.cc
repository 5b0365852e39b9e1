#include "events/sequence_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::TempDir;

TEST(SequenceFile, WithoutAFileNumbersBeginAtZero) {
  Result<SequenceFile> sequence = SequenceFile::Open("");
  ASSERT_TRUE(sequence.ok());
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(sequence->Take(), i);
  EXPECT_TRUE(sequence->Close().ok());
}

TEST(SequenceFile, NumbersGoOnAfterAnOrderlyEndWithoutAGap) {
  const TempDir folder;
  const std::string path = folder.path() / "sequence";
  for (uint64_t start = 0; start < 3 * 1500; start += 1500) {
    Result<SequenceFile> sequence = SequenceFile::Open(path);
    ASSERT_TRUE(sequence.ok()) << sequence.status().ToString();
    for (uint64_t i = 0; i < 1500; ++i) ASSERT_EQ(sequence->Take(), start + i);
    EXPECT_TRUE(sequence->Close().ok());
  }
}

TEST(SequenceFile, NumbersNeverFallAfterAKill) {
  const TempDir folder;
  const std::string path = folder.path() / "sequence";
  uint64_t last = 0;
  for (const int taken : {1, 999, 1, 1000, 1001, 0, 1}) {
    Result<SequenceFile> sequence = SequenceFile::Open(path);
    ASSERT_TRUE(sequence.ok());
    EXPECT_GE(sequence->next(), last);
    EXPECT_LE(sequence->next(), last + SequenceFile::kReserved);
    for (int i = 0; i < taken; ++i) last = sequence->Take() + 1;
  }
}

TEST(SequenceFile, RefusesAFileOfSomethingElse) {
  const TempDir folder;
  const std::string path = folder.path() / "sequence";
  for (const char* text : {"", "12a\n", "-1\n", "hello\n", "18446744073709551615\n", " 7\n"}) {
    std::ofstream(path) << text;
    const Result<SequenceFile> sequence = SequenceFile::Open(path);
    ASSERT_FALSE(sequence.ok()) << text;
    EXPECT_EQ(sequence.status().code(), Code::kInvalidArgument);
    EXPECT_NE(sequence.status().message().find(path), std::string::npos);
  }
  EXPECT_FALSE(SequenceFile::Open(folder.path() / "absent" / "sequence").ok());
}

}  // namespace
}  // namespace prefixd
