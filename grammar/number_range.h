// NumberRange: the JSON numbers of a range, and the multiples of a number, as an automaton. Pure values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "grammar/byte_automaton.h"

namespace prefixd::grammar {

// A decimal number without an exponent: (-)whole.fraction, whole without zeros at the front ("" is 0),
// fraction without zeros at the end.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
  bool is_zero() const { return whole.empty() && fraction.empty(); }
  // The shortest decimal that reads back as this double. Requires a finite one.
  static Decimal Of(double value);
  static Decimal Of(int64_t value);
  static Decimal Of(uint64_t value);
};

struct NumberRange {
  std::optional<Decimal> low, high;
  bool without_low = false, without_high = false;  // the bound itself does not count
  std::optional<Decimal> multiple_of;              // above 0
  bool integer = false;
};

// Numbers are written without an exponent, integers with at most 18 digits, others with at most 15 digits, so
// that different texts are different doubles. kUnsupported: multiples of that number take too many states.
// kResourceExhausted: the budget.
Result<ByteAutomaton> NumbersIn(const NumberRange& range, AutomatonBudget* budget);

}  // namespace prefixd::grammar
