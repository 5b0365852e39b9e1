#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/loop.h"

namespace prefixd::jinja {
namespace {

using Type = Sequence::Type;

constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

std::optional<double> AsReal(const Value& value) {
  if (const double* d = value.As<double>()) return *d;
  if (const auto i = AsInt(value)) return static_cast<double>(*i);
  return std::nullopt;
}

void CheckDefined(const Value& value) {
  if (const auto* undefined = value.As<Undefined>()) Raise(*undefined->message);
}

[[noreturn]] void RaiseTypes(BinaryOp op, const Value& a, const Value& b) {
  const std::string left(TypeName(a)), right(TypeName(b));
  if (op == BinaryOp::kAdd && (left == "str" || left == "list" || left == "tuple")) {
    Raise("can only concatenate " + left + " (not \"" + right + "\") to " + left);
  }
  Raise("unsupported operand type(s) for " + std::string(kSymbols[static_cast<size_t>(op)]) + ": '" + left +
        "' and '" + right + "'");
}

[[noreturn]] void RaiseTooLarge() { Raise("an integer of the template is too large"); }

Int FloorDivide(Int a, Int b) {
  const Int quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Int Power(Int base, Int exponent) {
  Int result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) RaiseTooLarge();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) RaiseTooLarge();
  }
  return result;
}

double FloatModulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double FloatFloorDivide(double a, double b) {
  const double quotient = (a - FloatModulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value FloatPower(double base, double exponent) {
  if (base == 0 && exponent < 0) Raise("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(exponent) && exponent != std::floor(exponent)) {
    Raise("a negative number cannot be raised to a fractional power");
  }
  return Value::Float(std::pow(base, exponent));
}

constexpr Int kMinInt = static_cast<Int>(static_cast<unsigned __int128>(1) << 127);

Value ApplyInts(BinaryOp op, Int a, Int b) {
  Int result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOp::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOp::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOp::kPower:
      if (b < 0) return FloatPower(static_cast<double>(a), static_cast<double>(b));
      return Value::Integer(Power(a, b));
    case BinaryOp::kDivide:
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo:
      if (b == 0) Raise("division by zero");
      if (a == kMinInt && b == -1) RaiseTooLarge();
      if (op == BinaryOp::kDivide) return Value::Float(static_cast<double>(a) / static_cast<double>(b));
      result = op == BinaryOp::kFloorDivide ? FloorDivide(a, b) : a - FloorDivide(a, b) * b;
      break;
  }
  if (overflow) RaiseTooLarge();
  return Value::Integer(result);
}

Value ApplyFloats(BinaryOp op, double a, double b) {
  const bool divides = op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b == 0) Raise("float division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return Value::Float(a + b);
    case BinaryOp::kSubtract:
      return Value::Float(a - b);
    case BinaryOp::kMultiply:
      return Value::Float(a * b);
    case BinaryOp::kDivide:
      return Value::Float(a / b);
    case BinaryOp::kFloorDivide:
      return Value::Float(FloatFloorDivide(a, b));
    case BinaryOp::kModulo:
      return Value::Float(FloatModulo(a, b));
    case BinaryOp::kPower:
      return FloatPower(a, b);
  }
  return Value();
}

bool IsListOrTuple(const Value& value) {
  const Sequence* s = value.sequence();
  return s && (s->type == Type::kList || s->type == Type::kTuple);
}

Value Repeat(const Value& what, Int times, Budget& budget) {
  const size_t count = times <= 0 ? 0 : static_cast<size_t>(std::min<Int>(times, Int{1} << 40));
  if (const std::string* text = what.text()) {
    budget.StringSize(SaturatingProduct(text->size(), count));
    MarkedText out;
    for (size_t i = 0; i < count && !text->empty(); ++i) out += *what.marked();
    return NewText(std::move(out), budget, what.markup());
  }
  const Sequence& s = *what.sequence();
  budget.Bytes(std::min(SaturatingProduct(s.items.size() * sizeof(Value), count), size_t{1} << 60));
  std::vector<Value> items;
  for (size_t i = 0; i < count && !s.items.empty(); ++i)
    items.insert(items.end(), s.items.begin(), s.items.end());
  return Sequence::Make(s.type, std::move(items), budget);
}

Value ConcatSequences(const Value& a, const Value& b, Budget& budget) {
  std::vector<Value> items = a.sequence()->items;
  items.insert(items.end(), b.sequence()->items.begin(), b.sequence()->items.end());
  return Sequence::Make(a.sequence()->type, std::move(items), budget);
}

bool Contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.text()) {
    CheckDefined(item);
    if (item.text() == nullptr) {
      Raise("'in <string>' requires string as left operand, not " + std::string(TypeName(item)));
    }
    budget.Scan(text->size());
    return FindText(*text, *item.text()) != std::string::npos;
  }
  if (const Dict* d = container.dict()) {
    if (item.dict() || (item.sequence() && item.sequence()->type == Type::kList)) {
      Raise("unhashable type: '" + std::string(TypeName(item)) + "'");
    }
    if (item.text()) budget.Scan(item.text()->size());
    return d->Find(item) != nullptr;
  }
  if (const auto* iterator = container.As<std::shared_ptr<const Iterator>>()) {
    while (const auto candidate = (*iterator)->next()) {
      if (Equal(*candidate, item, budget)) return true;
    }
    return false;
  }
  if (!container.sequence() && !container.Is<Undefined>()) {
    Raise("argument of type '" + std::string(TypeName(container)) + "' is not iterable");
  }
  const auto items = ItemsOf(container, budget);
  return std::any_of(items->items.begin(), items->items.end(),
                     [&](const Value& v) { return Equal(v, item, budget); });
}

std::string TypeOf(const Value& object) {
  return object.Is<None>() ? "None" : std::string(TypeName(object)) + " object";
}

Value NoAttribute(const Value& object, std::string_view name) {
  return Value::MakeUndefined("'" + TypeOf(object) + "' has no attribute " + ReprStr(name));
}

// Returns what getattr() finds on an object. Keys of dicts are not attributes.
std::optional<Value> OwnAttribute(const Value& object, std::string_view name) {
  CheckDefined(object);
  if (const auto* space = object.As<Namespace*>()) {
    const Value* member = name.starts_with('_') ? nullptr : (*space)->Find(name);
    return member ? std::optional<Value>(*member) : std::nullopt;
  }
  if (auto method = BindMethod(object, name)) return method;
  if (const auto* loop = object.As<std::shared_ptr<Loop>>()) return (*loop)->Attribute(name);
  if (const auto* callable = object.As<std::shared_ptr<const Callable>>())
    return (*callable)->Attribute(name);
  return std::nullopt;
}

}  // namespace

std::optional<Int> AsInt(const Value& value) {
  if (const Int* i = value.As<Int>()) return *i;
  if (const bool* b = value.As<bool>()) return *b ? 1 : 0;
  return std::nullopt;
}

Value NewText(MarkedText text, Budget& budget, bool markup) {
  budget.StringSize(text.size());
  budget.Bytes(text.size() + sizeof(MarkedText) + text.input().size() * sizeof(ByteRange));
  return Value::Marked(std::move(text), markup);
}

MarkedText EscapedText(const Value& value, Budget& budget) {
  return value.markup() ? *value.marked() : Str(value, budget).MapRuns(EscapeHtml);
}

Value ConcatText(const Value& a, const Value& b, Budget& budget) {
  const bool markup = a.markup() || b.markup();
  budget.StringSize(a.text()->size() + b.text()->size());
  MarkedText joined = markup ? EscapedText(a, budget) : *a.marked();
  joined += markup ? EscapedText(b, budget) : *b.marked();
  return NewText(std::move(joined), budget, markup);
}

Value Apply(BinaryOp op, const Value& a, const Value& b, Budget& budget) {
  if (op == BinaryOp::kModulo && a.text()) return FormatPercent(a, b, budget);
  CheckDefined(a);
  CheckDefined(b);
  if (const auto x = AsInt(a), y = AsInt(b); x && y) return ApplyInts(op, *x, *y);
  if (const auto x = AsReal(a), y = AsReal(b); x && y) return ApplyFloats(op, *x, *y);
  if (op == BinaryOp::kAdd) {
    if (a.text() && b.text()) return ConcatText(a, b, budget);
    if (IsListOrTuple(a) && IsListOrTuple(b) && a.sequence()->type == b.sequence()->type) {
      return ConcatSequences(a, b, budget);
    }
  }
  if (op == BinaryOp::kMultiply) {
    if (const auto times = AsInt(b); times && (a.text() || IsListOrTuple(a)))
      return Repeat(a, *times, budget);
    if (const auto times = AsInt(a); times && (b.text() || IsListOrTuple(b)))
      return Repeat(b, *times, budget);
  }
  RaiseTypes(op, a, b);
}

bool Apply(CompareOp op, const Value& a, const Value& b, Budget& budget) {
  switch (op) {
    case CompareOp::kEqual:
      return Equal(a, b, budget);
    case CompareOp::kNotEqual:
      return !Equal(a, b, budget);
    case CompareOp::kLess:
      return Less(a, b, budget);
    case CompareOp::kGreater:
      return Less(b, a, budget);
    case CompareOp::kLessEqual:
      return Less(a, b, budget) || Equal(a, b, budget);
    case CompareOp::kGreaterEqual:
      return Less(b, a, budget) || Equal(a, b, budget);
    case CompareOp::kIn:
      return Contains(b, a, budget);
    case CompareOp::kNotIn:
      return !Contains(b, a, budget);
  }
  return false;
}

Value UnaryMinus(const Value& value) {
  CheckDefined(value);
  if (const auto i = AsInt(value)) {
    if (*i == kMinInt) RaiseTooLarge();
    return Value::Integer(-*i);
  }
  if (const double* d = value.As<double>()) return Value::Float(-*d);
  Raise("bad operand type for unary -: '" + std::string(TypeName(value)) + "'");
}

Value UnaryPlus(const Value& value) {
  CheckDefined(value);
  if (const auto i = AsInt(value)) return Value::Integer(*i);
  if (value.Is<double>()) return value;
  Raise("bad operand type for unary +: '" + std::string(TypeName(value)) + "'");
}

Value GetAttribute(const Value& object, std::string_view name, Budget& budget) {
  budget.Steps(1);
  if (auto own = OwnAttribute(object, name)) return *own;
  if (const Dict* d = object.dict()) {
    if (const Value* found = d->Find(name)) return *found;
  }
  return NoAttribute(object, name);
}

Value GetItem(const Value& object, const Value& key, Budget& budget) {
  budget.Steps(1);
  CheckDefined(object);
  if (const Dict* d = object.dict()) {
    if (key.text()) budget.Scan(key.text()->size());
    if (const Value* found = d->Find(key)) return *found;
  }
  const Sequence* s = object.sequence();
  const bool indexed = s && s->type != Type::kView;
  if (const auto index = AsInt(key); index && (object.text() || indexed)) {
    if (object.text()) budget.Scan(object.text()->size());
    const Int length = static_cast<Int>(*Length(object));
    const Int at = *index < 0 ? *index + length : *index;
    if (at >= 0 && at < length) {
      if (indexed) return s->items[static_cast<size_t>(at)];
      const SliceRange one{static_cast<int64_t>(at), 1, 1};
      return NewText(SliceText(*object.marked(), one, static_cast<size_t>(length)), budget, object.markup());
    }
  }
  if (const std::string* name = key.text()) {
    if (auto own = OwnAttribute(object, *name)) return *own;
    return NoAttribute(object, *name);
  }
  return Value::MakeUndefined(TypeOf(object) + " has no element " + Repr(key, budget).bytes());
}

Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step,
               Budget& budget) {
  CheckDefined(object);
  const Sequence* s = object.sequence();
  const bool sliceable = object.text() || (s && s->type != Type::kView);
  if (!sliceable) Raise("'" + std::string(TypeName(object)) + "' object cannot be sliced");
  const auto bound = [](const Value& value) {
    const auto i = AsInt(value);
    if (!i && !value.Is<None>())
      Raise("slice indices must be integers or none, not '" + std::string(TypeName(value)) + "'");
    return i;
  };
  const auto from = bound(start), to = bound(stop), by = bound(step);
  if (by == Int{0}) Raise("slice step cannot be zero");
  if (object.text()) budget.Scan(object.text()->size());
  const size_t length = *Length(object);
  const SliceRange range = ResolveSlice(from, to, by.value_or(1), length);
  if (object.text()) {
    return NewText(SliceText(*object.marked(), range, length), budget, object.markup());
  }
  budget.Bytes(range.count * sizeof(Value));
  std::vector<Value> items;
  items.reserve(range.count);
  for (size_t i = 0; i < range.count; ++i) {
    items.push_back(s->items[static_cast<size_t>(range.start + static_cast<int64_t>(i) * range.step)]);
  }
  return Sequence::Make(s->type, std::move(items), budget, s->label);
}

}  // namespace prefixd::jinja
