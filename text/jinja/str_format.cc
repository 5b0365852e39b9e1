// Python's str.format: replacement fields in braces, and the format specifications of str, int and float.
#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

constexpr size_t kMaxPrecision = 1000;  // of a number

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ = or none
  char sign = '-';
  bool alternate = false;
  size_t width = 0;
  char grouping = 0;
  std::optional<size_t> precision;
  char type = 0;
};

bool IsAlign(std::string_view text, size_t at) {
  return at < text.size() && std::string_view("<>^=").find(text[at]) != std::string_view::npos;
}

class SpecParser {
 public:
  SpecParser(std::string_view text, const Budget& budget) : text_(text), budget_(budget) {}

  Spec Parse(bool number) {
    Spec spec;
    const size_t first = text_.empty() ? 0 : CharacterSize(text_, 0);
    const bool filled = IsAlign(text_, first) && !text_.empty();
    if (filled) spec.fill = std::string(text_.substr(0, first));
    if (filled) at_ = first;
    if (IsAlign(text_, at_)) spec.align = text_[at_++];
    if (At("+- ")) spec.sign = text_[at_++];
    if (At("#")) spec.alternate = (++at_, true);
    if (!filled && At("0")) {
      spec.fill = "0";
      ++at_;
      if (spec.align == 0 && number) spec.align = '=';
    }
    spec.width = Number().value_or(0);
    if (At(",_")) spec.grouping = text_[at_++];
    if (At(",_")) Raise("Cannot specify both ',' and '_'.");
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

[[noreturn]] void RaiseType(char type, const Value& value) {
  Raise("Unknown format code '" + std::string(1, type) + "' for object of type '" +
        std::string(TypeName(value)) + "'");
}

std::string Padded(const Spec& spec, const std::string& prefix, const std::string& body, char align,
                   Budget& budget) {
  const size_t length = CountCharacters(prefix) + CountCharacters(body);
  const size_t pad = spec.width > length ? spec.width - length : 0;
  budget.StringSize(SaturatingProduct(pad, spec.fill.size()));
  const size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  std::string out = align == '=' ? prefix : "";
  for (size_t i = 0; i < left; ++i) out += spec.fill;
  out += (align == '=' ? "" : prefix) + body;
  for (size_t i = left; i < pad; ++i) out += spec.fill;
  return out;
}

// Separators between groups of digits, and zeros in front until all are at least `least` characters.
std::string Grouped(std::string digits, char separator, size_t group, size_t least) {
  const auto length = [&](size_t n) { return n + (n - 1) / group; };
  size_t wanted = digits.size();
  while (length(wanted) < least) ++wanted;
  digits.insert(0, wanted - digits.size(), '0');
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out;
}

// Sign, digits with their grouping, and what follows them, laid out in the width.
std::string LayOut(const Spec& spec, bool negative, const std::string& mark, std::string digits,
                   const std::string& rest, size_t group, Budget& budget) {
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  const std::string prefix = sign + mark;
  if (spec.grouping != 0 && !digits.empty()) {
    const bool zeros = spec.fill == "0" && spec.align == '=';
    const size_t taken = prefix.size() + rest.size();
    digits = Grouped(std::move(digits), spec.grouping, group,
                     zeros && spec.width > taken ? spec.width - taken : 0);
  }
  return Padded(spec, prefix, digits + rest, spec.align == 0 ? '>' : spec.align, budget);
}

std::string FormatText(const Value& value, const Spec& spec, Budget& budget) {
  if (spec.type != 0 && spec.type != 's') RaiseType(spec.type, value);
  if (spec.sign != '-' || spec.alternate || spec.grouping != 0 || spec.align == '=')
    Raise("a sign, '#', '=' or grouping is not allowed in a string format specifier");
  std::string text = *value.text();
  if (spec.precision) {
    const size_t length = CountCharacters(text);
    text = SliceText(text, ResolveSlice(std::nullopt, static_cast<Int>(*spec.precision), 1, length), length);
  }
  return Padded(spec, "", text, spec.align == 0 ? '<' : spec.align, budget);
}

std::string FormatReal(const Value& value, double real, Spec spec, Budget& budget) {
  if (spec.precision > kMaxPrecision) Raise("a number is formatted with a precision of at most 1000");
  char type = spec.type == 0 || spec.type == 'n' ? 'g' : spec.type;
  if (std::string_view("eEfFgG%").find(type) == std::string_view::npos) RaiseType(spec.type, value);
  if (type == '%') {
    type = 'f';
    real *= 100;
  }
  int precision = static_cast<int>(spec.precision.value_or(6));
  std::string text;
  if (spec.type == 0 && !spec.precision) {
    text = FloatText(std::fabs(real));
  } else {
    char buffer[1400];
    if (spec.type == 0 && precision == 0) precision = 1;
    const auto print = [&](char kind, int digits) {
      const char pattern[] = {'%', spec.alternate ? '#' : '0', '.', '*', kind, 0};
      return std::string(buffer, static_cast<size_t>(
                                     std::snprintf(buffer, sizeof buffer, pattern, digits, std::fabs(real))));
    };
    text = print(type, precision);
    if (spec.type == 0 && std::isfinite(real)) {
      // Like g, but with a digit behind the point, for which an exponent makes room where it must.
      const std::string scientific = print('e', precision - 1);
      const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
      if (exponent == precision - 1) {
        const size_t e = scientific.find('e');
        std::string digits = scientific.substr(0, e);
        if (!spec.alternate && digits.find('.') != std::string::npos) {
          digits.erase(digits.find_last_not_of('0') + 1);
          if (digits.back() == '.') digits.pop_back();
        }
        text = digits + scientific.substr(e);
      } else if (text.find_first_of(".e") == std::string::npos) {
        text += ".0";
      }
    }
  }
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  return LayOut(spec, std::signbit(real), "", text.substr(0, digits),
                text.substr(digits) + (spec.type == '%' ? "%" : ""), 3, budget);
}

std::string FormatInteger(const Value& value, Int integer, const Spec& spec, Budget& budget) {
  if (std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos && spec.type != 0)
    return FormatReal(value, static_cast<double>(integer), spec, budget);
  if (spec.precision) Raise("Precision not allowed in integer format specifier");
  if (spec.type == 'c') {
    if (spec.sign != '-' || spec.alternate || spec.grouping != 0)
      Raise("a sign, '#' or grouping is not allowed with integer format specifier 'c'");
    if (integer < 0 || integer >= 0x110000 || (integer >= 0xD800 && integer < 0xE000))
      Raise("%c arg not in range(0x110000)");
    std::string text;
    AppendUtf8(&text, static_cast<char32_t>(integer));
    return Padded(spec, "", text, spec.align == 0 ? '>' : spec.align, budget);
  }
  const bool decimal = spec.type == 0 || spec.type == 'd' || spec.type == 'n';
  const unsigned base = decimal                     ? 10
                        : spec.type == 'b'          ? 2
                        : spec.type == 'o'          ? 8
                        : (spec.type | 0x20) == 'x' ? 16
                                                    : 0;
  if (base == 0) RaiseType(spec.type, value);
  if ((spec.grouping == ',' && !decimal) || (spec.grouping != 0 && spec.type == 'n'))
    Raise("Cannot specify ',' with '" + std::string(1, spec.type) + "'.");
  const std::string mark = spec.alternate && !decimal ? std::string("0") + spec.type : "";
  return LayOut(spec, integer < 0, mark, IntDigits(integer, base, spec.type == 'X'), "", decimal ? 3 : 4,
                budget);
}

std::string FormatField(const Value& value, std::string_view text, Budget& budget) {
  if (text.empty()) return Str(value, budget);
  const bool number = AsInt(value) || value.Is<double>();
  if (!number && value.text() == nullptr)
    Raise("unsupported format string passed to " + std::string(TypeName(value)) + ".__format__");
  const Spec spec = SpecParser(text, budget).Parse(number);
  if (const auto integer = AsInt(value)) return FormatInteger(value, *integer, spec, budget);
  if (const double* real = value.As<double>()) return FormatReal(value, *real, spec, budget);
  return FormatText(value, spec, budget);
}

class BraceFormatter {
 public:
  BraceFormatter(const Arguments& arguments, bool markup, Budget& budget)
      : arguments_(arguments), markup_(markup), budget_(budget) {}

  // `nesting` is how deep fields may stand in the specifications of fields.
  std::string Run(std::string_view format, int nesting) {
    if (nesting < 0) Raise("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at++];
      if (c != '{' && c != '}') {
        out += c;
      } else if (at < format.size() && format[at] == c) {
        out += c;
        ++at;
      } else if (c == '}') {
        Raise("Single '}' encountered in format string");
      } else {
        const size_t end = EndOfField(format, at);
        out += Field(format.substr(at, end - at), nesting);
        at = end + 1;
      }
      budget_.StringSize(out.size());
    }
    return out;
  }

 private:
  static size_t EndOfField(std::string_view format, size_t at) {
    bool bracket = false;
    for (int open = 1; at < format.size(); ++at) {
      const char c = format[at];
      if (c == '[') bracket = true;
      if (c == ']') bracket = false;
      if (bracket) continue;
      open += (c == '{') - (c == '}');
      if (open == 0) return at;
    }
    Raise("expected '}' before end of string");
  }

  std::string Field(std::string_view field, int nesting) {
    budget_.Steps(1);
    size_t end = 0;
    for (bool bracket = false; end < field.size(); ++end) {
      if (field[end] == '[') bracket = true;
      if (field[end] == ']') bracket = false;
      if (!bracket && (field[end] == '!' || field[end] == ':')) break;
      if (!bracket && field[end] == '{') Raise("unexpected '{' in field name");
    }
    const std::string_view name = field.substr(0, end);
    char conversion = 0;
    if (end < field.size() && field[end] == '!') {
      if (end + 1 >= field.size()) Raise("end of string while looking for conversion specifier");
      conversion = field[end + 1];
      end += 2;
      if (end < field.size() && field[end] != ':') Raise("expected ':' after conversion specifier");
    }
    Value value = Look(name);
    const std::string spec = end < field.size() ? Run(field.substr(end + 1), nesting - 1) : "";
    if (conversion == 's') {
      value = NewText(Str(value, budget_), budget_);
    } else if (conversion == 'r' || conversion == 'a') {
      std::string text = Repr(value, budget_);
      if (conversion == 'a') text = AsciiOf(text);
      value = NewText(std::move(text), budget_);
    } else if (conversion != 0) {
      Raise("Unknown conversion specifier " + std::string(1, conversion));
    }
    if (markup_ && value.markup() && !spec.empty()) Raise("a format specifier is given for markup");
    const std::string text = FormatField(value, spec, budget_);
    return markup_ && !value.markup() ? EscapeHtml(text) : text;
  }

  // The argument that a field names, and what the name says to take of it: "0.a[b]".
  Value Look(std::string_view name) {
    size_t at = std::min(name.find_first_of(".["), name.size());
    std::string first(name.substr(0, at));
    const bool digits = !first.empty() && AllOf(first, CharacterClass::kDecimal);
    if (name.empty() || (digits && at == name.size())) {
      const bool automatic = name.empty();
      if (numbering_ && *numbering_ != automatic)
        Raise("cannot switch between automatic and manual field numbering");
      numbering_ = automatic;
    }
    Value value = name.empty() ? Positional(next_++)
                  : digits     ? Positional(ParseInt(first, 10).value_or(-1))
                               : Named(first);
    while (at < name.size()) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        if (end == at + 1) Raise("Empty attribute in format string");
        value = GetAttribute(value, name.substr(at + 1, end - at - 1), budget_);
        at = end;
      } else if (name[at] == '[') {
        const size_t end = name.find(']', at);
        if (end == std::string_view::npos) Raise("Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, end - at - 1);
        if (key.empty()) Raise("Empty attribute in format string");
        const auto index = AllOf(key, CharacterClass::kDecimal) ? ParseInt(key, 10) : std::nullopt;
        value = GetItem(value, index ? Value::Integer(*index) : Value::Text(std::string(key)), budget_);
        at = end + 1;
      } else {
        Raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value Positional(Int index) const {
    if (index < 0 || index >= static_cast<Int>(arguments_.positional.size())) {
      Raise("Replacement index " + IntText(index) + " out of range for positional args tuple");
    }
    return arguments_.positional[static_cast<size_t>(index)];
  }

  Value Named(const std::string& name) const {
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    Raise("the format names an argument that is not there: " + QuotePython(name));
  }

  const Arguments& arguments_;
  const bool markup_;
  Budget& budget_;
  Int next_ = 0;
  std::optional<bool> numbering_;  // true: automatic
};

}  // namespace

Value FormatBraces(const Value& format, const Arguments& arguments, Budget& budget) {
  return NewText(BraceFormatter(arguments, format.markup(), budget).Run(*format.text(), 1), budget,
                 format.markup());
}

}  // namespace prefixd::jinja
