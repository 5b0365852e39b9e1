// The trial of an instruction that multiplies pairs of bf16: does it give the bits of the definition, and is
// it worth its name? Both questions compare two tables of operations on the same tiles: `dots` has the
// instruction, `fma` computes numerics rule 8 by fma, which the tests compare with `ref`. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cpu/ops.h"

namespace prefixd::cpu {

struct DotsComparison {
  int64_t sums = 0;       // that were compared
  int64_t different = 0;  // of them; all NaNs are equal
};

// Multiplies seeded pairs by both tables: any bits, numbers of one size, sums that cancel, products about
// 2^-126, sums that reach 2^-126 or not by rounding, sums about the largest number, and a mixture with zeros,
// subnormals, infinities and NaNs. Takes some milliseconds. Requires tables of the same panel and tile_rows.
DotsComparison CompareDots(const Ops& dots, const Ops& fma);

// Returns the time of `dots` over that of `fma` for a tile in the CPU cache. The tables take turns, and the
// fastest of some tens of runs counts for each, so that other processes disturb the ratio little. Takes less
// than a millisecond. The requirement is the same.
double TimeOfDots(const Ops& dots, const Ops& fma);

// Say what is wrong with the instruction, in a few words: it has other bits, so that it must not be used, or
// it is not faster. Empty: nothing is.
std::string WrongBits(const DotsComparison& comparison);
std::string TooSlow(double time_of_dots);

}  // namespace prefixd::cpu
