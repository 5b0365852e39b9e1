// The % operator of str, and strftime.
#include "text/jinja/format.h"

#include <locale.h>
#include <time.h>

#include <algorithm>

#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

// One conversion: "%[(key)][flags][width][.precision]kind".
struct Conversion {
  std::optional<std::string> key;
  std::string flags;
  FormatSpec spec;
  char kind = 0;

  bool Has(char flag) const { return flags.find(flag) != std::string::npos; }
};

class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments, Budget& budget)
      : marked_(*format.marked()),
        format_(*format.text()),
        markup_(format.markup()),
        arguments_(arguments),
        budget_(budget) {
    const Sequence* s = arguments.sequence();
    if (s && s->type == Sequence::Type::kTuple) tuple_ = s;
  }

  MarkedText Run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_.AppendPart(marked_, at_, percent);
      at_ = percent + 1;
      if (percent < format_.size()) out_ += Convert(ParseConversion());
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

  Conversion ParseConversion() {
    Conversion c;
    char next = Take();
    if (next == '(') {
      c.key.emplace();
      while ((next = Take()) != ')') *c.key += next;
      next = Take();
    }
    for (; std::string_view("-+ 0").find(next) != std::string_view::npos; next = Take()) c.flags += next;
    --at_;
    c.spec.align = c.Has('-') ? '<' : '>';
    c.spec.width = TakeNumber();
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      c.spec.precision = TakeNumber();
    }
    c.kind = Take();
    return c;
  }

  const Value& Argument(const Conversion& c) {
    if (c.key) {
      const Dict* d = arguments_.dict();
      if (d == nullptr) Raise("format requires a mapping");
      const Value* found = d->Find(*c.key);
      if (found == nullptr) Raise("the mapping of a format has no key " + ReprStr(*c.key));
      return *found;
    }
    const size_t given = tuple_ ? tuple_->items.size() : 1;
    if (used_ >= given) Raise("not enough arguments for format string");
    ++used_;
    return tuple_ ? tuple_->items[used_ - 1] : arguments_;
  }

  MarkedText Convert(const Conversion& c) {
    if (c.kind == '%') return MarkedText::MadeFrom(marked_, "%");
    const Value& value = Argument(c);
    if (c.kind == 's' || c.kind == 'r') {
      MarkedText text = c.kind == 's' ? Str(value, budget_) : Repr(value, budget_);
      if (markup_ && !(c.kind == 's' && value.markup())) text = text.MapRuns(EscapeHtml);
      return FormatText(text, c.spec, budget_);
    }
    const bool integral = std::string_view("diuxX").find(c.kind) != std::string_view::npos;
    if (!integral && std::string_view("eEfFgG").find(c.kind) == std::string_view::npos)
      Raise("unsupported format character '" + std::string(1, c.kind) + "'");
    return MarkedText::MadeFrom(marked_, Number(c, value, integral));
  }

  std::string Number(const Conversion& c, const Value& value, bool integral) {
    FormatSpec spec = c.spec;
    spec.type = c.kind == 'i' || c.kind == 'u' ? 'd' : c.kind;
    if (c.Has('+') || c.Has(' ')) spec.sign = c.Has('+') ? '+' : ' ';
    if (c.Has('0') && !c.Has('-')) {
      spec.fill = "0";
      spec.align = '=';
    }
    const double* real = value.As<double>();
    if (!integral && real) return FormatReal(*real, spec, budget_);
    auto integer = AsInt(value);
    if (real && spec.type == 'd' && *real > -1e38 && *real < 1e38) integer = static_cast<Int>(*real);
    if (integer) return FormatInteger(*integer, spec, budget_);
    Raise("%" + std::string(1, c.kind) + " format: a number is required, not " +
          std::string(TypeName(value)));
  }

  const MarkedText& marked_;
  const std::string& format_;  // its bytes
  const bool markup_;
  const Value& arguments_;
  Budget& budget_;
  const Sequence* tuple_ = nullptr;
  size_t at_ = 0;
  size_t used_ = 0;  // arguments that conversions have taken
  MarkedText out_;
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
  // The dot in front distinguishes an empty result from one that does not fit.
  const size_t size = strftime_l(page, sizeof page, ("." + format).c_str(), &fields, english);
  if (size == 0) Raise("strftime_now: the result is too long");
  return std::string(page + 1, size - 1);
}

}  // namespace prefixd::jinja
