// Arguments of built-ins, and the tables of tests and functions. Filters and methods have their own files.
#include "text/jinja/builtins.h"

#include <algorithm>
#include <array>

#include "text/jinja/evaluator.h"
#include "text/jinja/format.h"
#include "text/jinja/loop.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

constexpr Int kMaxRange = 100'000;  // MAX_RANGE of Jinja's sandbox

const Value& Operand(std::string_view test, const Arguments& arguments) {
  return *Parameters(test, {"other"}, arguments, 1)[0];
}

Int IntOf(const Value& value) {
  if (const auto* undefined = value.As<Undefined>()) Raise(*undefined->message);
  const auto i = AsInt(value);
  if (!i) Raise("expected an integer, got '" + std::string(TypeName(value)) + "'");
  return *i;
}

template <CompareOp op>
bool CompareTest(Evaluator& e, const Value& v, const Arguments& a) {
  return Apply(op, v, Operand("comparison", a), e.budget());
}

template <typename T>
bool IsTest(Evaluator&, const Value& v, const Arguments&) {
  return v.Is<T>();
}

template <bool wanted>
bool IsBoolTest(Evaluator&, const Value& v, const Arguments&) {
  return v.Is<bool>() && *v.As<bool>() == wanted;
}

template <bool upper>
bool IsCasedTest(Evaluator& e, const Value& v, const Arguments&) {
  return IsCased(Str(v, e.budget()).bytes(), upper);
}

template <int remainder>
bool ParityTest(Evaluator&, const Value& v, const Arguments&) {
  return (IntOf(v) % 2 != 0) == (remainder == 1);
}

bool IsMapping(Evaluator&, const Value& v, const Arguments&) { return v.dict() != nullptr; }
bool IsDefined(Evaluator&, const Value& v, const Arguments&) { return !v.Is<Undefined>(); }
bool IsNumber(Evaluator&, const Value& v, const Arguments&) {
  return v.Is<bool>() || v.Is<Int>() || v.Is<double>() || v.Is<LongInt>();
}

bool IsInteger(Evaluator&, const Value& v, const Arguments&) { return v.Is<Int>() || v.Is<LongInt>(); }

bool IsCallable(Evaluator&, const Value& v, const Arguments&) {
  return v.Is<std::shared_ptr<const Callable>>() || v.Is<std::shared_ptr<Loop>>() || v.Is<Undefined>();
}

// True for values that have a length and can be indexed.
bool IsSequence(Evaluator&, const Value& v, const Arguments&) {
  using Type = Sequence::Type;
  const Sequence* s = v.sequence();
  return v.text() || v.dict() || v.Is<Undefined>() || (s && s->type != Type::kView);
}

bool IsIterable(Evaluator&, const Value& v, const Arguments&) {
  return v.text() || v.dict() || v.sequence() || v.Is<Undefined>() ||
         v.Is<std::shared_ptr<const Iterator>>() || v.Is<std::shared_ptr<Loop>>();
}

bool IsDivisibleBy(Evaluator& e, const Value& v, const Arguments& a) {
  const Value rest = Apply(BinaryOp::kModulo, v, Operand("divisibleby", a), e.budget());
  return Equal(rest, Value::Integer(0), e.budget());
}

bool IsIn(Evaluator& e, const Value& v, const Arguments& a) {
  return Apply(CompareOp::kIn, v, Operand("in", a), e.budget());
}

// Identity. Scalars of the same type and value count as the same object.
bool IsSameAs(Evaluator& e, const Value& v, const Arguments& a) {
  const Value& other = Operand("sameas", a);
  if (v.data().index() != other.data().index() || v.Is<Undefined>()) return false;
  if (v.sequence()) return v.sequence() == other.sequence();
  if (v.dict()) return v.dict() == other.dict();
  return Equal(v, other, e.budget());
}

struct TestEntry {
  std::string_view name;
  Test test;
};
constexpr TestEntry kTests[] = {
    {"defined", IsDefined},
    {"undefined", IsTest<Undefined>},
    {"none", IsTest<None>},
    {"boolean", IsTest<bool>},
    {"true", IsBoolTest<true>},
    {"false", IsBoolTest<false>},
    {"integer", IsInteger},
    {"float", IsTest<double>},
    {"number", IsNumber},
    {"string", IsTest<String>},
    {"mapping", IsMapping},
    {"sequence", IsSequence},
    {"iterable", IsIterable},
    {"callable", IsCallable},
    {"lower", IsCasedTest<false>},
    {"upper", IsCasedTest<true>},
    {"odd", ParityTest<1>},
    {"even", ParityTest<0>},
    {"divisibleby", IsDivisibleBy},
    {"sameas", IsSameAs},
    {"in", IsIn},
    {"==", CompareTest<CompareOp::kEqual>},
    {"eq", CompareTest<CompareOp::kEqual>},
    {"equalto", CompareTest<CompareOp::kEqual>},
    {"!=", CompareTest<CompareOp::kNotEqual>},
    {"ne", CompareTest<CompareOp::kNotEqual>},
    {">", CompareTest<CompareOp::kGreater>},
    {"gt", CompareTest<CompareOp::kGreater>},
    {"greaterthan", CompareTest<CompareOp::kGreater>},
    {">=", CompareTest<CompareOp::kGreaterEqual>},
    {"ge", CompareTest<CompareOp::kGreaterEqual>},
    {"<", CompareTest<CompareOp::kLess>},
    {"lt", CompareTest<CompareOp::kLess>},
    {"lessthan", CompareTest<CompareOp::kLess>},
    {"<=", CompareTest<CompareOp::kLessEqual>},
    {"le", CompareTest<CompareOp::kLessEqual>},
};

Value Range(Evaluator& e, const Arguments& a) {
  const Parameters p("range", {"start", "stop", "step"}, a, 1);
  const bool only_stop = !p.given(1);
  const Int start = only_stop ? 0 : IntOf(*p[0]);
  const Int stop = IntOf(only_stop ? *p[0] : *p[1]);
  const Int step = p.given(2) ? IntOf(*p[2]) : 1;
  if (step == 0) Raise("range() arg 3 must not be zero");
  constexpr Int kFar = Int{1} << 100;  // bounds within which stop - start does not overflow
  if (std::max({start, stop, step}) > kFar || std::min({start, stop, step}) < -kFar)
    Raise("range() is too big");
  const Int distance = step > 0 ? stop - start : start - stop;
  const Int stride = step > 0 ? step : -step;
  const Int count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (count > kMaxRange) Raise("range() is too big: at most 100000 items");
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  for (Int i = 0; i < count; ++i) items.push_back(Value::Integer(start + i * step));
  std::string label =
      "range(" + ReprInt(start) + ", " + ReprInt(stop) + (step == 1 ? "" : ", " + ReprInt(step)) + ")";
  return Sequence::Make(Sequence::Type::kRange, std::move(items), e.budget(), std::move(label));
}

// dict(mapping or pairs, **named).
Dict DictOf(Evaluator& e, const Arguments& a) {
  if (a.positional.size() > 1)
    Raise("dict expected at most 1 argument, got " + std::to_string(a.positional.size()));
  Dict dict;
  if (!a.positional.empty()) {
    if (const auto* undefined = a.positional[0].As<Undefined>()) Raise(*undefined->message);
    if (const Dict* d = a.positional[0].dict()) {
      dict = *d;
    } else {
      for (const Value& item : Each(a.positional[0], e.budget())) {
        const auto pair = ItemsOf(item, e.budget());
        if (pair->items.size() != 2) Raise("dict() requires pairs");
        if (pair->items[0].text()) e.budget().Scan(pair->items[0].text()->size());
        dict.Set(pair->items[0], pair->items[1]);
      }
    }
  }
  for (const auto& [name, value] : a.named) dict.Set(a.Name(name), value);
  return dict;
}

Value MakeDict(Evaluator& e, const Arguments& a) { return Dict::Make(DictOf(e, a), e.budget()); }

Value MakeNamespace(Evaluator& e, const Arguments& a) {
  Namespace* space = e.NewNamespace();
  for (const auto& [key, value] : DictOf(e, a).items) space->Set(Str(key, e.budget()).bytes(), value);
  return Value(space);
}

Value RaiseException(Evaluator& e, const Arguments& a) {
  Raise(Str(*Parameters("raise_exception", {"message"}, a, 1)[0], e.budget()).bytes());
}

Value StrftimeNow(Evaluator& e, const Arguments& a) {
  static const std::string kNone;
  const Parameters p("strftime_now", {"format"}, a, 1);
  std::string text = FormatTime(p.Text(0, kNone), e.unix_seconds());
  return NewText(MarkedText::MadeFrom(*p[0]->marked(), std::move(text)), e.budget());
}

class Function final : public Callable {
 public:
  using Body = Value (*)(Evaluator&, const Arguments&);
  Function(std::string_view name, Body body) : name_(name), body_(body) {}
  Value Call(Evaluator& evaluator, const Arguments& arguments) const override {
    return body_(evaluator, arguments);
  }
  std::string Describe() const override { return "<function " + name_ + ">"; }
  const std::string& name() const { return name_; }

 private:
  const std::string name_;
  const Body body_;
};

}  // namespace

Test FindTest(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const auto& e) { return e.name == name; });
  return found == std::end(kTests) ? nullptr : found->test;
}

std::shared_ptr<const Callable> FindFunction(std::string_view name) {
  static const std::array kFunctions = {
      std::make_shared<const Function>("dict", MakeDict),
      std::make_shared<const Function>("namespace", MakeNamespace),
      std::make_shared<const Function>("raise_exception", RaiseException),
      std::make_shared<const Function>("range", Range),
      std::make_shared<const Function>("strftime_now", StrftimeNow),
  };
  for (const auto& function : kFunctions) {
    if (function->name() == name) return function;
  }
  return nullptr;
}

Parameters::Parameters(std::string_view function, std::initializer_list<std::string_view> names,
                       const Arguments& arguments, size_t required)
    : function_(function), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    Raise(std::string(function) + "() takes at most " + std::to_string(names.size()) + " arguments (" +
          std::to_string(arguments.positional.size()) + " given)");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      Raise(std::string(function) + "() got an unexpected keyword argument '" + name + "'");
    const Value*& slot = values_[static_cast<size_t>(found - names.begin())];
    if (slot != nullptr) Raise(std::string(function) + "() got multiple values for argument '" + name + "'");
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) {
      Raise(std::string(function) + "() missing the argument '" + std::string(names.begin()[i]) + "'");
    }
  }
}

Int Parameters::Integer(size_t i, Int fallback) const {
  if (!given(i) || values_[i]->Is<None>()) return fallback;
  return IntOf(*values_[i]);
}

const std::string& Parameters::Text(size_t i, const std::string& fallback) const {
  if (!given(i)) return fallback;
  if (const auto* undefined = values_[i]->As<Undefined>()) Raise(*undefined->message);
  if (values_[i]->text() == nullptr) {
    Raise(std::string(function_) + "() argument must be str, not " + std::string(TypeName(*values_[i])));
  }
  return *values_[i]->text();
}

}  // namespace prefixd::jinja
