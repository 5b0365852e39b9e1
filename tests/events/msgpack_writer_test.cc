// Each type at the ends of each of its forms, as the specification of msgpack has them.
#include "events/msgpack_writer.h"

#include <gtest/gtest.h>

#include "tests/events/hex.h"

namespace prefixd::msgpack {
namespace {

using testing_support::Hex;

std::string Unsigned(uint64_t value) {
  std::string out;
  PutUnsigned(&out, value);
  return Hex(out);
}

TEST(MsgpackWriter, NumbersTakeTheShortestForm) {
  EXPECT_EQ(Unsigned(0), "00");
  EXPECT_EQ(Unsigned(127), "7f");
  EXPECT_EQ(Unsigned(128), "cc80");
  EXPECT_EQ(Unsigned(255), "ccff");
  EXPECT_EQ(Unsigned(256), "cd0100");
  EXPECT_EQ(Unsigned(65535), "cdffff");
  EXPECT_EQ(Unsigned(65536), "ce00010000");
  EXPECT_EQ(Unsigned(UINT32_MAX), "ceffffffff");
  EXPECT_EQ(Unsigned(uint64_t{UINT32_MAX} + 1), "cf0000000100000000");
  EXPECT_EQ(Unsigned(UINT64_MAX), "cfffffffffffffffff");
}

TEST(MsgpackWriter, TextsAndArraysTakeTheShortestForm) {
  const auto text_head = [](size_t size) {
    std::string out;
    PutText(&out, std::string(size, 'a'));
    EXPECT_EQ(out.substr(out.size() - size), std::string(size, 'a'));
    return Hex(out.substr(0, out.size() - size));
  };
  EXPECT_EQ(text_head(0), "a0");
  EXPECT_EQ(text_head(31), "bf");
  EXPECT_EQ(text_head(32), "d920");
  EXPECT_EQ(text_head(255), "d9ff");
  EXPECT_EQ(text_head(256), "da0100");
  EXPECT_EQ(text_head(65536), "db00010000");
  const auto array = [](size_t size) {
    std::string out;
    PutArray(&out, size);
    return Hex(out);
  };
  EXPECT_EQ(array(0), "90");
  EXPECT_EQ(array(15), "9f");
  EXPECT_EQ(array(16), "dc0010");
  EXPECT_EQ(array(65535), "dcffff");
  EXPECT_EQ(array(65536), "dd00010000");
}

TEST(MsgpackWriter, OtherTypes) {
  std::string out;
  PutNil(&out);
  PutSmallMap(&out, 8);
  PutDouble(&out, 1.5);
  EXPECT_EQ(Hex(out), "c088cb3ff8000000000000");
}

}  // namespace
}  // namespace prefixd::msgpack
