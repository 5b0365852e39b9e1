// Format specifications, which str.format and the % operator share.
#include <cmath>

#include "text/jinja/format.h"

namespace prefixd::jinja {
namespace {

constexpr size_t kMaxPrecision = 1000;  // of a number

bool IsAlign(std::string_view text, size_t at) {
  return at < text.size() && std::string_view("<>^=").find(text[at]) != std::string_view::npos;
}

class SpecParser {
 public:
  SpecParser(std::string_view text, const Budget& budget) : text_(text), budget_(budget) {}

  FormatSpec Parse(bool number) {
    FormatSpec spec;
    const size_t first = text_.empty() ? 0 : CharacterSize(text_, 0);
    const bool filled = IsAlign(text_, first) && !text_.empty();
    if (filled) spec.fill = std::string(text_.substr(0, first));
    if (filled) at_ = first;
    if (IsAlign(text_, at_)) spec.align = text_[at_++];
    if (At("+- ")) spec.sign = text_[at_++];
    if (!filled && At("0")) {
      spec.fill = "0";
      ++at_;
      if (spec.align == 0 && number) spec.align = '=';
    }
    spec.width = Number().value_or(0);
    if (At(",")) spec.grouping = (++at_, true);
    if (At(".")) {
      ++at_;
      spec.precision = Number();
      if (!spec.precision) Raise("Format specifier missing precision");
    }
    if (at_ < text_.size()) spec.type = text_[at_++];
    if (at_ < text_.size()) Raise("Invalid format specifier");
    return spec;
  }

 private:
  bool At(std::string_view any) const {
    return at_ < text_.size() && any.find(text_[at_]) != std::string_view::npos;
  }

  std::optional<size_t> Number() {
    if (!At("0123456789")) return std::nullopt;
    size_t number = 0;
    while (At("0123456789")) {
      number = number * 10 + static_cast<size_t>(text_[at_++] - '0');
      budget_.StringSize(number);
    }
    return number;
  }

  const std::string_view text_;
  const Budget& budget_;
  size_t at_ = 0;
};

[[noreturn]] void RaiseType(char type, std::string_view type_name) {
  Raise("Unknown format code '" + std::string(1, type) + "' for object of type '" + std::string(type_name) +
        "'");
}

// `sign` and `body` in the width. The alignment '=' puts the fill between them.
std::string Padded(const FormatSpec& spec, const std::string& sign, const std::string& body, char align,
                   const Budget& budget) {
  const size_t length = sign.size() + CountCharacters(body);
  const size_t pad = spec.width > length ? spec.width - length : 0;
  budget.StringSize(SaturatingProduct(pad, spec.fill.size()));
  const size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  std::string out = align == '=' ? sign : "";
  for (size_t i = 0; i < left; ++i) out += spec.fill;
  out += (align == '=' ? "" : sign) + body;
  for (size_t i = left; i < pad; ++i) out += spec.fill;
  return out;
}

std::string PaddedNumber(const FormatSpec& spec, bool negative, const std::string& text,
                         const Budget& budget) {
  std::string body;
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (spec.grouping && i > 0 && i < digits && (digits - i) % 3 == 0) body += ',';
    body += text[i];
  }
  if (spec.grouping && spec.align == '=') Raise("',' together with zero padding is not supported");
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return Padded(spec, sign, body, spec.align == 0 ? '>' : spec.align, budget);
}

bool IsRealType(char type) {
  return type != 0 && std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}

}  // namespace

FormatSpec ParseFormatSpec(std::string_view text, bool number, const Budget& budget) {
  return SpecParser(text, budget).Parse(number);
}

MarkedText FormatText(const MarkedText& text, const FormatSpec& spec, Budget& budget) {
  if (spec.type != 0 && spec.type != 's') RaiseType(spec.type, "str");
  if (spec.sign != '-' || spec.grouping || spec.align == '=')
    Raise("a sign, '=' or ',' is not allowed in a string format specifier");
  MarkedText cut = text;
  if (spec.precision) {
    const size_t length = CountCharacters(text.bytes());
    cut = SliceText(text, ResolveSlice(std::nullopt, static_cast<Int>(*spec.precision), 1, length), length);
  }
  if (CountCharacters(cut.bytes()) >= spec.width) return cut;
  return MarkedText::MadeFrom(cut, Padded(spec, "", cut.bytes(), spec.align == 0 ? '<' : spec.align, budget));
}

std::string FormatReal(double value, const FormatSpec& spec, Budget& budget) {
  if (spec.precision > kMaxPrecision) Raise("a number is formatted with a precision of at most 1000");
  std::string text = ReprFloat(std::fabs(value));
  if (spec.type == 0 && spec.precision) {
    Raise("a precision without a format code is not supported");
  } else if (spec.type != 0) {
    if (!IsRealType(spec.type)) RaiseType(spec.type, "float");
    const bool percent = spec.type == '%';
    const char pattern[] = {'%', '.', '*', percent ? 'f' : spec.type, 0};
    char buffer[1400];  // the largest double has 309 digits before the point
    const int size =
        std::snprintf(buffer, sizeof buffer, pattern, static_cast<int>(spec.precision.value_or(6)),
                      std::fabs(percent ? value * 100 : value));
    text = std::string(buffer, static_cast<size_t>(size)) + (percent ? "%" : "");
  }
  return PaddedNumber(spec, std::signbit(value), text, budget);
}

std::string FormatInteger(Int value, const FormatSpec& spec, Budget& budget) {
  if (IsRealType(spec.type)) return FormatReal(static_cast<double>(value), spec, budget);
  if (spec.precision) Raise("a precision in the format of an integer is not supported");
  const bool decimal = spec.type == 0 || spec.type == 'd';
  if (!decimal && spec.type != 'x' && spec.type != 'X') RaiseType(spec.type, "int");
  if (spec.grouping && !decimal) Raise("Cannot specify ',' with '" + std::string(1, spec.type) + "'.");
  return PaddedNumber(spec, value < 0, IntDigits(value, decimal ? 10 : 16, spec.type == 'X'), budget);
}

}  // namespace prefixd::jinja
