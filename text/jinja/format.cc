#include "text/jinja/format.h"

#include <locale.h>
#include <time.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

// One conversion: "%[(key)][flags][width][.precision]kind".
struct Conversion {
  std::string key;
  bool has_key = false;
  std::string flags;
  size_t width = 0;
  std::optional<size_t> precision;
  char kind = 0;
};

class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments, Budget& budget)
      : format_(*format.text()), markup_(format.markup()), arguments_(arguments), budget_(budget) {
    const Sequence* s = arguments.sequence();
    if (s && s->flavor == Sequence::Flavor::kTuple) tuple_ = s;
  }

  std::string Run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_.append(format_, at_, percent - at_);
      at_ = percent + 1;
      if (percent < format_.size()) Convert(ParseConversion());
      budget_.StringSize(out_.size());
    }
    const size_t given = tuple_ ? tuple_->items.size() : 1;
    if (used_ < given && (tuple_ || !arguments_.dict()))
      Raise("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char Take() {
    if (at_ >= format_.size()) Raise("incomplete format");
    return format_[at_++];
  }

  size_t TakeNumber() {
    size_t number = 0;
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      number = number * 10 + static_cast<size_t>(format_[at_++] - '0');
      budget_.StringSize(number);
    }
    return number;
  }

  // A width or precision: digits, or "*" for the next argument.
  Int TakeSize() {
    if (at_ >= format_.size() || format_[at_] != '*') return static_cast<Int>(TakeNumber());
    ++at_;
    const Int* size = Argument({}).As<Int>();
    if (size == nullptr) Raise("* wants int");
    const Int magnitude = std::clamp<Int>(*size, -(Int{1} << 62), Int{1} << 62);
    budget_.StringSize(static_cast<size_t>(magnitude < 0 ? -magnitude : magnitude));
    return magnitude;
  }

  Conversion ParseConversion() {
    Conversion c;
    char next = Take();
    if (next == '(') {
      c.has_key = true;
      while ((next = Take()) != ')') c.key += next;
      next = Take();
    }
    for (; std::string_view("-+ 0#").find(next) != std::string_view::npos; next = Take()) c.flags += next;
    --at_;
    const Int width = TakeSize();
    if (width < 0) c.flags += '-';
    c.width = static_cast<size_t>(width < 0 ? -width : width);
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      c.precision = static_cast<size_t>(std::max<Int>(TakeSize(), 0));
    }
    c.kind = Take();
    return c;
  }

  const Value& Argument(const Conversion& c) {
    if (c.has_key) {
      const Dict* d = arguments_.dict();
      if (d == nullptr) Raise("format requires a mapping");
      const Value* found = d->Find(c.key);
      if (found == nullptr) Raise("the format names a key that is not there: " + QuotePython(c.key));
      return *found;
    }
    const size_t given = tuple_ ? tuple_->items.size() : 1;
    if (used_ >= given) Raise("not enough arguments for format string");
    ++used_;
    return tuple_ ? tuple_->items[used_ - 1] : arguments_;
  }

  void Convert(const Conversion& c) {
    if (c.kind == '%') {
      out_ += '%';
      return;
    }
    const Value& value = Argument(c);
    switch (c.kind) {
      case 's':
      case 'r':
      case 'a':
        return Text(c, value);
      case 'c':
        return Character(c, value);
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return Integer(c, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return Real(c, value);
      default:
        Raise("unsupported format character '" + std::string(1, c.kind) + "'");
    }
  }

  void Text(const Conversion& c, const Value& value) {
    std::string text = c.kind == 's' ? Str(value, budget_) : Repr(value, budget_);
    if (c.kind == 'a') text = AsciiOf(text);
    if (markup_ && !(c.kind == 's' && value.markup())) text = EscapeHtml(text);
    if (c.precision) {
      const size_t length = CountCharacters(text);
      text = SliceText(text, ResolveSlice(std::nullopt, static_cast<Int>(*c.precision), 1, length), length);
    }
    Pad(c, {}, text, false);
  }

  void Character(const Conversion& c, const Value& value) {
    std::string text;
    if (value.text() && CountCharacters(*value.text()) == 1) {
      text = *value.text();
    } else if (const auto code = AsInt(value);
               code && *code >= 0 && *code < 0x110000 && (*code < 0xD800 || *code > 0xDFFF)) {
      AppendUtf8(&text, static_cast<char32_t>(*code));
    } else {
      Raise("%c requires int or char");
    }
    Pad(c, {}, text, false);
  }

  void Integer(const Conversion& c, const Value& value) {
    auto integer = AsInt(value);
    const bool decimal = c.kind == 'd' || c.kind == 'i' || c.kind == 'u';
    if (const double* d = value.As<double>(); d && decimal && *d > -1e38 && *d < 1e38)
      integer = static_cast<Int>(*d);
    if (!integer) {
      Raise("%" + std::string(1, c.kind) + " format: a number is required, not " +
            std::string(TypeName(value)));
    }
    const unsigned base = decimal ? 10 : c.kind == 'o' ? 8 : 16;
    std::string digits = IntDigits(*integer, base, c.kind == 'X');
    if (c.precision > digits.size()) digits.insert(0, *c.precision - digits.size(), '0');
    const bool marked = !decimal && c.flags.find('#') != std::string::npos;
    Pad(c, Sign(c, *integer < 0) + (marked ? std::string("0") + c.kind : ""), digits, true);
  }

  void Real(const Conversion& c, const Value& value) {
    const auto integer = AsInt(value);
    const double* d = value.As<double>();
    if (!integer && !d) Raise("must be real number, not " + std::string(TypeName(value)));
    const double real = d ? *d : static_cast<double>(*integer);
    const std::string pattern =
        std::string("%") + (c.flags.find('#') != std::string::npos ? "#" : "") + ".*" + c.kind;
    const size_t precision = c.precision.value_or(6);
    if (precision > 1000) Raise("a number is formatted with a precision of at most 1000");
    char buffer[1400];  // the largest double has 309 digits before the point
    const int size =
        std::snprintf(buffer, sizeof buffer, pattern.c_str(), static_cast<int>(precision), std::abs(real));
    Pad(c, Sign(c, std::signbit(real)), std::string_view(buffer, static_cast<size_t>(size)), true);
  }

  static std::string Sign(const Conversion& c, bool negative) {
    if (negative) return "-";
    if (c.flags.find('+') != std::string::npos) return "+";
    return c.flags.find(' ') != std::string::npos ? " " : "";
  }

  void Pad(const Conversion& c, const std::string& sign, std::string_view body, bool number) {
    const size_t length = CountCharacters(body) + sign.size();
    const size_t fill = c.width > length ? c.width - length : 0;
    budget_.StringSize(out_.size() + fill);
    const bool left = c.flags.find('-') != std::string::npos;
    const bool zeros = number && !left && c.flags.find('0') != std::string::npos;
    if (!left && !zeros) out_.append(fill, ' ');
    out_ += sign;
    if (zeros) out_.append(fill, '0');
    out_ += body;
    if (left) out_.append(fill, ' ');
  }

  const std::string& format_;
  const bool markup_;
  const Value& arguments_;
  Budget& budget_;
  const Sequence* tuple_ = nullptr;
  size_t at_ = 0;
  size_t used_ = 0;
  std::string out_;
};

}  // namespace

Value FormatPercent(const Value& format, const Value& arguments, Budget& budget) {
  return NewText(PercentFormatter(format, arguments, budget).Run(), budget, format.markup());
}

std::string FormatTime(const std::string& format, int64_t unix_seconds) {
  static const locale_t english = newlocale(LC_ALL_MASK, "C", nullptr);
  const time_t seconds = unix_seconds;
  tm fields{};
  if (localtime_r(&seconds, &fields) == nullptr) Raise("strftime_now: the time is out of range");
  char page[4096];
  // A mark in front tells an empty result from one that does not fit.
  const size_t size = strftime_l(page, sizeof page, ("." + format).c_str(), &fields, english);
  if (size == 0) Raise("strftime_now: the result is too long");
  return std::string(page + 1, size - 1);
}

}  // namespace prefixd::jinja
