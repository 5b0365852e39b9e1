// PrefixTrace: hashes of the prefixes of a sequence of numbers, such as the code points of a text or the ids
// of tokens, by which two sequences are compared long after both are gone. The sequence itself is not kept.
//
// Threads: one owner; const members may be called by several at once.
//
// Invariants
//   1. CommonLength of two traces is the length of the common prefix of their sequences. It may be larger
//      with a chance of 2^-16, by one unit, and with 2^-64 by more.
//   2. A unit takes 2.125 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace prefixd {

class PrefixTrace {
 public:
  void Append(uint32_t unit);
  // Appends the code points of valid UTF-8. Returns their number.
  size_t AppendText(std::string_view utf8);
  // Whether `other` begins with this sequence and then `unit`. Requires that it begins with this sequence.
  bool GoesOnIn(const PrefixTrace& other, uint32_t unit) const;

  size_t size() const { return fine_.size(); }
  size_t held_bytes() const;
  void ShrinkToFit();

  static size_t CommonLength(const PrefixTrace& a, const PrefixTrace& b);

 private:
  uint64_t StateWith(uint32_t unit) const;
  static constexpr size_t kStretch = 64;  // units between two marks

  uint64_t state_ = 0;
  std::vector<uint64_t> marks_;  // the hash after each full stretch
  std::vector<uint16_t> fine_;   // a part of the hash after each unit
};

}  // namespace prefixd
