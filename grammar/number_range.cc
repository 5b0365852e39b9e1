#include "grammar/number_range.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <compare>

namespace prefixd::grammar {
namespace {

constexpr int kIntegerDigits = 18, kNumberDigits = 15;
constexpr uint64_t kMostDivisor = 1000;
constexpr size_t kMostDivisorFraction = 4;

Decimal Parse(std::string text) {
  Decimal to;
  to.negative = text.starts_with('-');
  if (to.negative) text.erase(0, 1);
  const size_t point = std::min(text.find('.'), text.size());
  to.whole = text.substr(0, point);
  to.whole.erase(0, std::min(to.whole.find_first_not_of('0'), to.whole.size()));
  if (point < text.size()) to.fraction = text.substr(point + 1);
  to.fraction.erase(to.fraction.find_last_not_of('0') + 1);
  if (to.is_zero()) to.negative = false;
  return to;
}

// How the digits so far compare with those of a bound at the same places, without the signs.
enum class Order : int8_t { kLess = -1, kEqual = 0, kGreater = 1 };

enum class Part : uint8_t { kStart, kSign, kZero, kWhole, kPoint, kFraction };

struct At {
  Part part = Part::kStart;
  bool negative = false, is_zero = true;
  int8_t whole = 0, fraction = 0;  // digits
  std::array<Order, 2> order{};    // to low and to high
  uint32_t rest = 0;               // of the digits, modulo the divisor
  auto operator<=>(const At&) const = default;
};

class Numbers {
 public:
  explicit Numbers(const NumberRange& range) : range_(range) {
    if (!range.multiple_of) return;
    places_ = range.multiple_of->fraction.size();
    const std::string digits = range.multiple_of->whole + range.multiple_of->fraction;
    std::from_chars(digits.data(), digits.data() + digits.size(), divisor_);
    too_large_ = digits.size() > 6 || places_ > kMostDivisorFraction || divisor_ > kMostDivisor;
  }
  bool too_large() const { return too_large_; }

  std::optional<At> Next(At at, uint8_t byte) const {
    if (at.part == Part::kStart && byte == '-') {
      at.part = Part::kSign;
      at.negative = true;
      return at;
    }
    const bool in_whole = at.part == Part::kZero || at.part == Part::kWhole;
    if (in_whole && byte == '.' && MayHaveFraction()) {
      CompareLengths(&at);
      at.part = Part::kPoint;
      return at;
    }
    if (byte < '0' || byte > '9' || at.part == Part::kZero) return std::nullopt;
    const auto digit = static_cast<char>(byte);
    if (at.part == Part::kStart || at.part == Part::kSign) {
      at.part = byte == '0' ? Part::kZero : Part::kWhole;
      if (byte == '0') return at;
    }
    return AddDigit(at, digit);
  }

  bool IsFinal(At at) const {
    if (at.part != Part::kZero && at.part != Part::kWhole && at.part != Part::kFraction) return false;
    if (at.part != Part::kFraction) CompareLengths(&at);
    uint64_t rest = at.rest;
    for (size_t i = static_cast<size_t>(at.fraction); i < places_; ++i) rest = rest * 10 % divisor_;
    if (range_.multiple_of && rest != 0) return false;
    if (range_.low) {
      const Order order = Compare(at, *range_.low, 0);
      if (order == Order::kLess || (order == Order::kEqual && range_.without_low)) return false;
    }
    if (!range_.high) return true;
    const Order order = Compare(at, *range_.high, 1);
    return order == Order::kLess || (order == Order::kEqual && !range_.without_high);
  }

 private:
  const Decimal* Bound(size_t i) const {
    const auto& bound = i == 0 ? range_.low : range_.high;
    return bound ? &*bound : nullptr;
  }
  bool MayHaveFraction() const { return !range_.integer && (!range_.multiple_of || places_ > 0); }
  int MostDigits() const { return range_.integer ? kIntegerDigits : kNumberDigits; }

  std::optional<At> AddDigit(At at, char digit) const {
    if (at.whole + at.fraction >= MostDigits()) return std::nullopt;
    const bool in_fraction = at.part == Part::kPoint || at.part == Part::kFraction;
    if (in_fraction && range_.multiple_of && static_cast<size_t>(at.fraction) >= places_) return std::nullopt;
    if (in_fraction) at.part = Part::kFraction;
    for (size_t i = 0; i < 2; ++i) {
      const Decimal* bound = Bound(i);
      if (bound == nullptr || at.order[i] != Order::kEqual) continue;
      const std::string& digits = in_fraction ? bound->fraction : bound->whole;
      const auto place = static_cast<size_t>(in_fraction ? at.fraction : at.whole);
      // A whole part that is longer than the bound's is compared by its length.
      if (!in_fraction && place >= digits.size()) continue;
      const char other = place < digits.size() ? digits[place] : '0';
      at.order[i] = digit < other ? Order::kLess : digit > other ? Order::kGreater : Order::kEqual;
    }
    if (digit != '0') at.is_zero = false;
    ++(in_fraction ? at.fraction : at.whole);
    if (range_.multiple_of)
      at.rest =
          static_cast<uint32_t>((at.rest * uint64_t{10} + static_cast<uint64_t>(digit - '0')) % divisor_);
    return at;
  }

  // The whole part has ended: a longer one is greater.
  void CompareLengths(At* at) const {
    for (size_t i = 0; i < 2; ++i) {
      const Decimal* bound = Bound(i);
      if (bound == nullptr) continue;
      const auto whole = static_cast<size_t>(at->whole);
      if (whole < bound->whole.size()) at->order[i] = Order::kLess;
      if (whole > bound->whole.size()) at->order[i] = Order::kGreater;
    }
  }

  // The number with its sign, compared with the bound.
  Order Compare(const At& at, const Decimal& bound, size_t i) const {
    const bool negative = at.negative && !at.is_zero;
    if (negative != bound.negative) return negative ? Order::kLess : Order::kGreater;
    Order order = at.order[i];
    // A fraction that ended is followed by zeros.
    if (order == Order::kEqual && static_cast<size_t>(at.fraction) < bound.fraction.size())
      order = Order::kLess;
    if (!negative) return order;
    return order == Order::kLess ? Order::kGreater : order == Order::kGreater ? Order::kLess : order;
  }

  const NumberRange& range_;
  size_t places_ = 0;  // of the divisor's fraction
  uint64_t divisor_ = 1;
  bool too_large_ = false;
};

}  // namespace

Decimal Decimal::Of(double value) {
  std::array<char, 400> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  return Parse(std::string(text.data(), end.ptr));
}
Decimal Decimal::Of(int64_t value) { return Parse(std::to_string(value)); }
Decimal Decimal::Of(uint64_t value) { return Parse(std::to_string(value)); }

Result<ByteAutomaton> NumbersIn(const NumberRange& range, AutomatonBudget* budget) {
  const Numbers numbers(range);
  if (numbers.too_large()) return Unsupported("multiples of a number of that many digits are not supported");
  return Explore<At>([&](const At& at, uint8_t byte) { return numbers.Next(at, byte); },
                     [&](const At& at) { return numbers.IsFinal(at); }, budget);
}

}  // namespace prefixd::grammar
