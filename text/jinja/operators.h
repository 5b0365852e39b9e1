// Operators and subscripts of the template language on values, as Python (inside Jinja's sandbox) defines
// them. All raise on wrong types and on undefined operands. Pure but for the budget they spend.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace prefixd::jinja {

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

Value Apply(BinaryOp op, const Value& a, const Value& b, Budget& budget);
bool Apply(CompareOp op, const Value& a, const Value& b, Budget& budget);
Value Negate(const Value& value);
Value Affirm(const Value& value);  // unary plus

// bool and int as an int; nothing for others.
std::optional<Int> AsInt(const Value& value);

// object.name: methods come before the keys of a dict. object[key]: keys come first. What is not there is
// undefined; an undefined object raises.
Value GetAttribute(const Value& object, std::string_view name, Budget& budget);
Value GetItem(const Value& object, const Value& key, Budget& budget);
// object[start:stop:step], none where absent.
Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step, Budget& budget);

// Text of a str that became longer or was made; checks and charges its size.
Value NewText(std::string text, Budget& budget, bool markup = false);
// a + b on two str, with the escaping that markup asks for.
Value ConcatText(const Value& a, const Value& b, Budget& budget);
// `value` as text that may stand in markup: escaped unless it is markup itself.
std::string EscapedText(const Value& value, Budget& budget);

}  // namespace prefixd::jinja
