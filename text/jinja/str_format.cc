// Python's str.format: replacement fields in braces.
#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

MarkedText FormatField(const Value& value, std::string_view text, Budget& budget) {
  if (text.empty()) return Str(value, budget);
  const auto integer = AsInt(value);
  const double* real = value.As<double>();
  if (!integer && !real && value.text() == nullptr)
    Raise("unsupported format string passed to " + std::string(TypeName(value)) + ".__format__");
  const FormatSpec spec = ParseFormatSpec(text, integer || real, budget);
  if (value.text()) return FormatText(*value.marked(), spec, budget);
  return MarkedText::Own(integer ? FormatInteger(*integer, spec, budget) : FormatReal(*real, spec, budget));
}

class BraceFormatter {
 public:
  BraceFormatter(const Arguments& arguments, bool markup, Budget& budget)
      : arguments_(arguments), markup_(markup), budget_(budget) {}

  MarkedText Run(const MarkedText& marked) {
    const std::string_view format = marked.bytes();
    MarkedText out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at++];
      if (c != '{' && c != '}') {
        out.AppendPart(marked, at - 1, at);
      } else if (at < format.size() && format[at] == c) {
        out.AppendPart(marked, at - 1, at);
        ++at;
      } else if (c == '}') {
        Raise("Single '}' encountered in format string");
      } else {
        const size_t end = format.find_first_of("{}", at);
        if (end == std::string_view::npos) Raise("expected '}' before end of string");
        if (format[end] == '{') Raise("a replacement field inside a replacement field is not supported");
        out += Field(format.substr(at, end - at));
        at = end + 1;
      }
      budget_.StringSize(out.size());
    }
    return out;
  }

 private:
  MarkedText Field(std::string_view field) {
    budget_.Steps(1);
    size_t end = std::min(field.find_first_of("!:"), field.size());
    Value value = Argument(field.substr(0, end));
    if (end < field.size() && field[end] == '!') {
      if (end + 1 >= field.size()) Raise("end of string while looking for conversion specifier");
      const char conversion = field[end + 1];
      if (conversion != 's' && conversion != 'r')
        Raise("Unknown conversion specifier " + std::string(1, conversion));
      value = NewText(conversion == 's' ? Str(value, budget_) : Repr(value, budget_), budget_);
      end += 2;
      if (end < field.size() && field[end] != ':') Raise("expected ':' after conversion specifier");
    }
    const std::string_view spec = end < field.size() ? field.substr(end + 1) : std::string_view();
    if (markup_ && value.markup() && !spec.empty()) Raise("a format specifier is given for markup");
    const MarkedText text = FormatField(value, spec, budget_);
    return markup_ && !value.markup() ? text.MapRuns(EscapeHtml) : text;
  }

  // The argument of the field `name`: the next positional one where the name is empty.
  Value Argument(std::string_view name) {
    if (name.find_first_of(".[") != std::string_view::npos)
      Raise("'.' and '[' in a replacement field are not supported");
    const auto number = AllOf(name, CharacterClass::kDecimal) ? ParseInt(name, 10) : std::nullopt;
    if (name.empty() || number) {
      if (automatic_.value_or(name.empty()) != name.empty())
        Raise("cannot switch between automatic and manual field numbering");
      automatic_ = name.empty();
      return Positional(number ? *number : next_++);
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    Raise("the format has no argument " + ReprStr(name));
  }

  Value Positional(Int index) const {
    if (index >= static_cast<Int>(arguments_.positional.size()))
      Raise("Replacement index " + ReprInt(index) + " out of range for positional args tuple");
    return arguments_.positional[static_cast<size_t>(index)];
  }

  const Arguments& arguments_;
  const bool markup_;
  Budget& budget_;
  Int next_ = 0;                   // index of the next positional argument
  std::optional<bool> automatic_;  // whether fields are numbered automatically; unset before the first field
};

}  // namespace

Value FormatBraces(const Value& format, const Arguments& arguments, Budget& budget) {
  return NewText(BraceFormatter(arguments, format.markup(), budget).Run(*format.marked()), budget,
                 format.markup());
}

}  // namespace prefixd::jinja
