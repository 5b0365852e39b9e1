// Operators and subscripts on values, as Python defines them inside Jinja's sandbox. All raise on wrong types
// and on undefined operands. They have no side effects besides what they charge to the budget.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace prefixd::jinja {

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

Value Apply(BinaryOp op, const Value& a, const Value& b, Budget& budget);
bool Apply(CompareOp op, const Value& a, const Value& b, Budget& budget);
Value UnaryMinus(const Value& value);
Value UnaryPlus(const Value& value);

// Returns a bool or int as an int, nullopt for other types.
std::optional<Int> AsInt(const Value& value);

// object.name and object[key]. A method hides a key of a dict in GetAttribute, and a key hides a method in
// GetItem. Return Undefined when nothing is found; raise when the object itself is undefined.
Value GetAttribute(const Value& object, std::string_view name, Budget& budget);
Value GetItem(const Value& object, const Value& key, Budget& budget);
// object[start:stop:step]; a bound that is not given is none.
Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget);

// Returns a str made from `text`. Checks and charges its size.
Value NewText(MarkedText text, Budget& budget, bool markup = false);
// Returns a + b for two str. When one is markup, the other is escaped.
Value ConcatText(const Value& a, const Value& b, Budget& budget);
// Returns `value` as HTML: its text, escaped unless it is markup.
MarkedText EscapedText(const Value& value, Budget& budget);

}  // namespace prefixd::jinja
