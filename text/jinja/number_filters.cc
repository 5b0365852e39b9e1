// Filters on numbers.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "text/jinja/evaluator.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

Int IntOfDouble(double d) {
  if (std::isinf(d)) Raise("cannot convert float infinity to integer");
  if (std::fabs(d) >= 0x1p126) Raise("an integer of the template is too large");
  return static_cast<Int>(d);
}

Value IntFilter(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("int", {"default", "base"}, a);
  if (const auto* undefined = v.As<Undefined>()) Raise(*undefined->message);
  if (const auto i = AsInt(v)) return Value::Integer(*i);
  std::optional<double> real;
  if (const double* d = v.As<double>()) real = *d;
  if (v.text()) {
    e.budget().Scan(v.text()->size());
    const Int base = p.Integer(1, 10);
    if (base == 0 || (base >= 2 && base <= 36)) {
      if (const auto parsed = ParseInt(*v.text(), static_cast<int>(base))) return Value::Integer(*parsed);
    }
    real = ParseFloat(*v.text());
    if (real && std::isinf(*real)) real.reset();
  }
  if (real && !std::isnan(*real)) return Value::Integer(IntOfDouble(*real));
  return p.given(0) ? *p[0] : Value::Integer(0);
}

Value FloatFilter(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("float", {"default"}, a);
  if (const auto* undefined = v.As<Undefined>()) Raise(*undefined->message);
  if (v.Is<double>()) return v;
  if (const auto i = AsInt(v)) return Value::Float(static_cast<double>(*i));
  if (v.text()) {
    e.budget().Scan(v.text()->size());
    if (const auto parsed = ParseFloat(*v.text())) return Value::Float(*parsed);
  }
  return p.given(0) ? *p[0] : Value::Float(0);
}

Value Abs(Evaluator& e, const Value& v, const Arguments&) {
  if (const double* d = v.As<double>()) return Value::Float(std::fabs(*d));
  return Less(v, Value::Integer(0), e.budget()) ? UnaryMinus(v) : UnaryPlus(v);
}

Value Round(Evaluator&, const Value& v, const Arguments& a) {
  static const std::string kCommon = "common";
  const Parameters p("round", {"precision", "method"}, a);
  const std::string& method = p.Text(1, kCommon);
  if (method != "common" && method != "ceil" && method != "floor")
    Raise("method must be common, ceil or floor");
  const Int precision = p.Integer(0, 0);
  if (precision < 0 || precision > 300) Raise("round takes a precision from 0 to 300");
  const double* real = v.As<double>();
  const auto integer = AsInt(v);
  if (real == nullptr && !integer) Raise("round requires a number, not '" + std::string(TypeName(v)) + "'");
  const double value = real ? *real : static_cast<double>(*integer);
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method != "common") {
    if (!std::isfinite(value)) Raise("cannot convert float infinity or NaN to integer");
    const double whole = method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale);
    return Value::Float((whole + 0.0) / scale);  // no -0, because Python rounds to an int first
  }
  if (integer) return Value::Integer(*integer);
  char buffer[700];  // printf rounds the exact value, ties to even, as Python does
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), value);
  return Value::Float(std::strtod(buffer, nullptr));
}

constexpr FilterEntry kNumberFilters[] = {
    {"abs", Abs},
    {"float", FloatFilter},
    {"int", IntFilter},
    {"round", Round},
};

}  // namespace

Filter FindNumberFilter(std::string_view name) {
  for (const auto& entry : kNumberFilters) {
    if (entry.name == name) return entry.filter;
  }
  return FindSequenceFilter(name);
}

}  // namespace prefixd::jinja
