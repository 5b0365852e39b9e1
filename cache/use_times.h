// UseTimes: when the uses of blocks were, in seconds. The cache numbers the uses (NodeUse::last_use) and
// keeps no time in its nodes; this class turns such a number into a time. It has a fixed size: of uses long
// ago it keeps only some, so that the error stays small beside the age. Engine thread only.
//
// Invariants (CheckInvariants tests them)
//   1. It keeps at most kMost times. Their numbers and seconds grow.
//   2. The time that it says of a use is never after that use. It is before it by at most 1 s, or by a
//      hundredth of the age when Note was last called, whichever is more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace prefixd {

class UseTimes {
  struct Time {
    uint64_t number = 0;  // of the first use at or after `seconds`
    double seconds = 0;
  };

 public:
  static constexpr size_t kMost = 8192;

  // The uses from `number` on are at `seconds` or later. Requires that neither falls from call to call.
  void Note(uint64_t number, double seconds);
  // When the use with this number was. Nothing for 0, and for a use before the first Note.
  std::optional<double> Of(uint64_t number) const;

  static constexpr size_t MaxMemoryBytes() { return kMost * sizeof(Time); }
  size_t MemoryBytes() const { return times_.capacity() * sizeof(Time); }
  void CheckInvariants() const;

 private:
  void Thin();

  std::vector<Time> times_;
};

}  // namespace prefixd
