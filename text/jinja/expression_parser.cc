#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>

namespace prefixd::jinja {
namespace {

using Kind = Token::Kind;

std::string DescribeToken(const Token& token) {
  switch (token.kind) {
    case Kind::kData:
      return "text";
    case Kind::kVariableBegin:
      return "'{{'";
    case Kind::kVariableEnd:
      return "'}}'";
    case Kind::kBlockBegin:
      return "'{%'";
    case Kind::kBlockEnd:
      return "'%}'";
    case Kind::kString:
      return "a string";
    case Kind::kEnd:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
  }
}

struct BinaryOperator {
  std::string_view text;
  BinaryOp op;
};
constexpr std::array<BinaryOperator, 2> kSums = {{{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSubtract}}};
constexpr std::array<BinaryOperator, 4> kProducts = {{{"*", BinaryOp::kMultiply},
                                                      {"/", BinaryOp::kDivide},
                                                      {"//", BinaryOp::kFloorDivide},
                                                      {"%", BinaryOp::kModulo}}};
constexpr std::array<BinaryOperator, 1> kPowers = {{{"**", BinaryOp::kPower}}};
constexpr std::array<std::pair<std::string_view, CompareOp>, 6> kComparisons = {
    {{"==", CompareOp::kEqual},
     {"!=", CompareOp::kNotEqual},
     {"<", CompareOp::kLess},
     {"<=", CompareOp::kLessEqual},
     {">", CompareOp::kGreater},
     {">=", CompareOp::kGreaterEqual}}};

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (parser.nesting_ >= kMaxNesting) {
    FailAt(Code::kInvalidArgument, parser.current().at, "the template is nested too deeply");
  }
  ++parser.nesting_;
}

bool ExpressionParser::TakeName(std::string_view text) {
  if (!IsName(text)) return false;
  Next();
  return true;
}

bool ExpressionParser::TakeOperator(std::string_view text) {
  if (!IsOperator(text)) return false;
  Next();
  return true;
}

const Token& ExpressionParser::Expect(Kind kind, std::string_view what) {
  if (!Is(kind)) Unexpected(what);
  return Next();
}

void ExpressionParser::ExpectOperator(std::string_view text) {
  if (!TakeOperator(text)) Unexpected("'" + std::string(text) + "'");
}

void ExpressionParser::Unexpected(std::string_view wanted) const {
  FailAt(Code::kInvalidArgument, current().at,
         "expected " + std::string(wanted) + ", got " + DescribeToken(current()));
}

NameId ExpressionParser::Intern(const std::string& name) {
  const auto [entry, added] = ids_.try_emplace(name, static_cast<NameId>(names.size()));
  if (added) names.push_back(name);
  return entry->second;
}

NameId ExpressionParser::Define(const std::string& name) {
  defined_.insert(name);
  return Intern(name);
}

void ExpressionParser::CheckCalledNames() const {
  for (const auto& [name, at] : called_) {
    if (name == "caller" || name == "loop" || defined_.count(name) != 0 || FindFunction(name)) continue;
    FailAt(Code::kUnsupported, at, "the function '" + name + "' is not supported");
  }
}

ExprPtr ExpressionParser::Finish(std::unique_ptr<Expr> node, Position at,
                                 std::initializer_list<const Expr*> operands) const {
  node->at = at;
  for (const Expr* operand : operands)
    node->height = std::max(node->height, operand ? operand->height + 1 : 1);
  if (node->height > kMaxExpressionHeight)
    FailAt(Code::kInvalidArgument, at, "the expression is nested too deeply");
  return node;
}

ExprPtr ExpressionParser::ParseExpression(bool with_conditional) {
  const Nesting nesting(*this);
  return with_conditional ? ParseConditional() : ParseBoolOp(false);
}

ExprPtr ExpressionParser::ParseTuple(bool with_conditional, std::string_view end, bool in_parentheses) {
  const Position at = current().at;
  auto tuple = std::make_unique<SequenceLiteral>();
  tuple->type = Sequence::Type::kTuple;
  bool is_tuple = false;
  for (;;) {
    if (Is(Kind::kVariableEnd) || Is(Kind::kBlockEnd) || IsOperator(")") || (!end.empty() && IsName(end)))
      break;
    tuple->items.push_back(ParseExpression(with_conditional));
    tuple->height = std::max(tuple->height, tuple->items.back()->height + 1);
    if (!TakeOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !tuple->items.empty()) return std::move(tuple->items[0]);
  if (!is_tuple && !in_parentheses) Unexpected("an expression");
  return Finish(std::move(tuple), at, {});
}

ExprPtr ExpressionParser::ParseConditional() {
  ExprPtr node = ParseBoolOp(false);
  while (IsName("if")) {
    const Position at = Next().at;
    auto conditional = std::make_unique<CondExpr>();
    conditional->if_true = std::move(node);
    conditional->condition = ParseBoolOp(false);
    if (TakeName("else")) {
      const Nesting nesting(*this);
      conditional->if_false = ParseConditional();
    }
    const auto* c = conditional.get();
    node = Finish(std::move(conditional), at, {c->if_true.get(), c->condition.get(), c->if_false.get()});
  }
  return node;
}

ExprPtr ExpressionParser::ParseBoolOp(bool is_and) {
  const auto operand = [&] { return is_and ? ParseNot() : ParseBoolOp(true); };
  ExprPtr node = operand();
  while (IsName(is_and ? "and" : "or")) {
    const Position at = Next().at;
    auto logic = std::make_unique<BoolOp>();
    logic->is_and = is_and;
    logic->left = std::move(node);
    logic->right = operand();
    const auto* l = logic.get();
    node = Finish(std::move(logic), at, {l->left.get(), l->right.get()});
  }
  return node;
}

ExprPtr ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nesting nesting(*this);
  auto unary = std::make_unique<Unary>();
  const Position at = Next().at;
  unary->operand = ParseNot();
  const Expr* operand = unary->operand.get();
  return Finish(std::move(unary), at, {operand});
}

bool ExpressionParser::TakeCompareOp(CompareOp* op) {
  for (const auto& [text, which] : kComparisons) {
    if (!TakeOperator(text)) continue;
    *op = which;
    return true;
  }
  if (TakeName("in")) {
    *op = CompareOp::kIn;
    return true;
  }
  if (!IsName("not") || Look().kind != Kind::kName || Look().text != "in") return false;
  Next();
  Next();
  *op = CompareOp::kNotIn;
  return true;
}

ExprPtr ExpressionParser::ParseCompare() {
  const Position at = current().at;
  ExprPtr first = ParseSum();
  CompareOp op;
  if (!TakeCompareOp(&op)) return first;
  auto compare = std::make_unique<Compare>();
  compare->height = first->height + 1;
  compare->first = std::move(first);
  do {
    compare->rest.emplace_back(op, ParseSum());
    compare->height = std::max(compare->height, compare->rest.back().second->height + 1);
  } while (TakeCompareOp(&op));
  return Finish(std::move(compare), at, {});
}

// Parses one level of binary operators, which associate to the left. `next` parses the operands.
template <typename Operators>
ExprPtr ExpressionParser::ParseBinary(const Operators& operators, ExprPtr (ExpressionParser::*next)()) {
  ExprPtr node = (this->*next)();
  for (;;) {
    const auto found = std::find_if(std::begin(operators), std::end(operators),
                                    [&](const auto& op) { return IsOperator(op.text); });
    if (found == std::end(operators)) return node;
    const Position at = Next().at;
    auto binary = std::make_unique<Binary>();
    binary->op = found->op;
    binary->left = std::move(node);
    binary->right = (this->*next)();
    const auto* b = binary.get();
    node = Finish(std::move(binary), at, {b->left.get(), b->right.get()});
  }
}

ExprPtr ExpressionParser::ParseSum() { return ParseBinary(kSums, &ExpressionParser::ParseConcat); }
ExprPtr ExpressionParser::ParseProduct() { return ParseBinary(kProducts, &ExpressionParser::ParsePower); }
ExprPtr ExpressionParser::ParsePower() { return ParseBinary(kPowers, &ExpressionParser::ParseFiltered); }

ExprPtr ExpressionParser::ParseConcat() {
  const Position at = current().at;
  ExprPtr first = ParseProduct();
  if (!IsOperator("~")) return first;
  auto concat = std::make_unique<Concat>();
  concat->height = first->height + 1;
  concat->operands.push_back(std::move(first));
  while (TakeOperator("~")) {
    concat->operands.push_back(ParseProduct());
    concat->height = std::max(concat->height, concat->operands.back()->height + 1);
  }
  return Finish(std::move(concat), at, {});
}

// Parses a unary expression and the filters and tests that follow it.
ExprPtr ExpressionParser::ParseFiltered() {
  ExprPtr node = ParseUnary();
  for (;;) {
    if (TakeOperator("|")) {
      node = ParseFilter(std::move(node));
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::ParseUnary() {
  if (!IsOperator("-") && !IsOperator("+")) return ParsePostfixed();
  const Nesting nesting(*this);
  auto unary = std::make_unique<Unary>();
  unary->op = IsOperator("-") ? Unary::Op::kMinus : Unary::Op::kPlus;
  const Position at = Next().at;
  unary->operand = ParseUnary();
  const Expr* operand = unary->operand.get();
  return ParsePostfix(Finish(std::move(unary), at, {operand}));
}

ExprPtr ExpressionParser::ParsePostfixed() { return ParsePostfix(ParsePrimary()); }

ExprPtr ExpressionParser::MakeConstant(const Value& value, Position at) const {
  auto constant = std::make_unique<Const>();
  constant->value = value;
  return Finish(std::move(constant), at, {});
}

ExprPtr ExpressionParser::ParsePrimary() {
  const Position at = current().at;
  switch (current().kind) {
    case Kind::kName:
      return ParseName();
    case Kind::kInteger:
      return MakeConstant(Value::Integer(Next().integer), at);
    case Kind::kFloat:
      return MakeConstant(Value::Float(Next().real), at);
    case Kind::kString: {
      std::string text;
      while (Is(Kind::kString)) text += Next().text;  // adjacent literals form one string
      literals.push_back(text);
      return MakeConstant(Value::Text(std::move(text)), at);
    }
    default:
      break;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  if (!TakeOperator("(")) Unexpected("an expression");
  ExprPtr node = ParseTuple(true, {}, true);
  ExpectOperator(")");
  return node;
}

ExprPtr ExpressionParser::ParseName() {
  const Token& token = Next();
  const std::string& text = token.text;
  if (text == "true" || text == "True" || text == "false" || text == "False") {
    return MakeConstant(Value::Bool(text == "true" || text == "True"), token.at);
  }
  if (text == "none" || text == "None") return MakeConstant(Value(), token.at);
  if (used_names != nullptr) used_names->insert(text);
  auto name = std::make_unique<Name>();
  name->id = Intern(text);
  name->text = text;
  const auto function = FindFunction(text);
  name->fallback = function ? Value(function) : Value::MakeUndefined("'" + text + "' is undefined");
  return Finish(std::move(name), token.at, {});
}

ExprPtr ExpressionParser::ParseList() {
  auto list = std::make_unique<SequenceLiteral>();
  const Position at = Next().at;
  while (!IsOperator("]")) {
    if (!list->items.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    list->items.push_back(ParseExpression());
    list->height = std::max(list->height, list->items.back()->height + 1);
  }
  ExpectOperator("]");
  return Finish(std::move(list), at, {});
}

ExprPtr ExpressionParser::ParseDict() {
  auto dict = std::make_unique<DictLiteral>();
  const Position at = Next().at;
  while (!IsOperator("}")) {
    if (!dict->items.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    ExprPtr key = ParseExpression();
    ExpectOperator(":");
    ExprPtr value = ParseExpression();
    dict->height = std::max({dict->height, key->height + 1, value->height + 1});
    dict->items.emplace_back(std::move(key), std::move(value));
  }
  ExpectOperator("}");
  return Finish(std::move(dict), at, {});
}

}  // namespace prefixd::jinja
