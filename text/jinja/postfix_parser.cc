// Parses subscripts, calls, filters and tests, which follow a primary expression.
#include <algorithm>

#include "text/jinja/expression_parser.h"

namespace prefixd::jinja {
namespace {

using Kind = Token::Kind;

int HeightOf(const ArgumentList& arguments) {
  int height = 0;
  const auto see = [&](const ExprPtr& e) { height = std::max(height, e ? e->height : 0); };
  for (const auto& e : arguments.positional) see(e);
  for (const auto& [name, e] : arguments.named) see(e);
  see(arguments.sequence);
  see(arguments.mapping);
  return height;
}

// `map`, `select` and similar filters take the name of a filter or test as an argument. Checks that name when
// it is a constant.
void CheckNamedArgument(const std::string& filter, const ArgumentList& arguments, Position at) {
  const bool maps = filter == "map";
  const bool by_attribute = filter == "selectattr" || filter == "rejectattr";
  if (!maps && !by_attribute && filter != "select" && filter != "reject") return;
  const size_t which = by_attribute ? 1 : 0;
  if (arguments.positional.size() <= which) return;
  const auto* constant = dynamic_cast<const Const*>(arguments.positional[which].get());
  const std::string* name = constant ? constant->value.text() : nullptr;
  if (name == nullptr) return;
  if (maps && !FindFilter(*name))
    FailAt(Code::kUnsupported, at, "the filter '" + *name + "' is not supported");
  if (!maps && !FindTest(*name)) FailAt(Code::kUnsupported, at, "the test '" + *name + "' is not supported");
}

}  // namespace

template <typename Node>
ExprPtr ExpressionParser::FinishWithArguments(std::unique_ptr<Node> node, Position at,
                                              const ExprPtr& first) const {
  node->height = std::max(node->height, HeightOf(node->arguments) + 1);
  const Expr* operand = first.get();
  return Finish(std::move(node), at, {operand});
}

ExprPtr ExpressionParser::ParsePostfix(ExprPtr node) {
  for (;;) {
    if (IsOperator(".") || IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::ParseSubscript(ExprPtr object) {
  const Position at = current().at;
  const Expr* operand = object.get();
  if (TakeOperator(".")) {
    if (Is(Kind::kName)) {
      auto attribute = std::make_unique<Getattr>();
      attribute->object = std::move(object);
      attribute->name = Next().text;
      return Finish(std::move(attribute), at, {operand});
    }
    auto item = std::make_unique<Getitem>();
    item->object = std::move(object);
    item->key = MakeConstant(Value::Integer(Expect(Kind::kInteger, "a name or number").integer), at);
    return Finish(std::move(item), at, {operand});
  }
  ExpectOperator("[");
  ExprPtr bounds[3];
  size_t colons = 0;
  while (!IsOperator("]")) {
    if (TakeOperator(":")) {
      if (++colons > 2) Unexpected("']'");
    } else if (bounds[colons] == nullptr) {
      bounds[colons] = ParseExpression();
    } else {
      Unexpected("']'");
    }
  }
  ExpectOperator("]");
  if (colons == 0) {
    if (bounds[0] == nullptr) Unexpected("a subscript before this");
    auto item = std::make_unique<Getitem>();
    item->object = std::move(object);
    item->key = std::move(bounds[0]);
    const Expr* key = item->key.get();
    return Finish(std::move(item), at, {operand, key});
  }
  auto slice = std::make_unique<Slice>();
  slice->object = std::move(object);
  slice->start = std::move(bounds[0]);
  slice->stop = std::move(bounds[1]);
  slice->step = std::move(bounds[2]);
  const auto* s = slice.get();
  return Finish(std::move(slice), at, {operand, s->start.get(), s->stop.get(), s->step.get()});
}

ExprPtr ExpressionParser::ParseCall(ExprPtr callee) {
  const Position at = current().at;
  if (const auto* name = dynamic_cast<const Name*>(callee.get())) called_.emplace_back(name->text, name->at);
  if (const auto* attribute = dynamic_cast<const Getattr*>(callee.get())) {
    if (!IsMethodName(attribute->name)) {
      FailAt(Code::kUnsupported, attribute->at, "the method '" + attribute->name + "' is not supported");
    }
  }
  auto call = std::make_unique<Call>();
  call->callee = std::move(callee);
  call->arguments = ParseArguments();
  const ExprPtr& first = call->callee;
  return FinishWithArguments(std::move(call), at, first);
}

ArgumentList ExpressionParser::ParseArguments() {
  ArgumentList list;
  ExpectOperator("(");
  bool first = true;
  while (!IsOperator(")")) {
    if (!std::exchange(first, false)) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    if (list.mapping) Unexpected("')'");
    if (TakeOperator("**")) {
      list.mapping = ParseExpression();
    } else if (list.sequence == nullptr && TakeOperator("*")) {
      list.sequence = ParseExpression();
    } else if (Is(Kind::kName) && Look().kind == Kind::kOperator && Look().text == "=") {
      std::string name = Next().text;
      Next();
      list.named.emplace_back(std::move(name), ParseExpression());
    } else if (list.named.empty() && list.sequence == nullptr) {
      list.positional.push_back(ParseExpression());
    } else {
      Unexpected("an argument with a name");
    }
  }
  ExpectOperator(")");
  return list;
}

std::string ExpressionParser::ParseDottedName(std::string_view what) {
  std::string name = Expect(Kind::kName, what).text;
  while (TakeOperator(".")) name += "." + Expect(Kind::kName, what).text;
  return name;
}

ExprPtr ExpressionParser::ParseFilter(ExprPtr input) {
  const Position at = current().at;
  auto use = std::make_unique<FilterExpr>();
  const std::string name = ParseDottedName("the name of a filter");
  use->filter = FindFilter(name);
  if (!use->filter) FailAt(Code::kUnsupported, at, "the filter '" + name + "' is not supported");
  use->input = std::move(input);
  if (IsOperator("(")) use->arguments = ParseArguments();
  CheckNamedArgument(name, use->arguments, at);
  const ExprPtr& first = use->input;
  return FinishWithArguments(std::move(use), at, first);
}

ExprPtr ExpressionParser::ParseTest(ExprPtr input) {
  Next();  // is
  const bool negated = TakeName("not");
  const Position at = current().at;
  auto use = std::make_unique<TestExpr>();
  const std::string name = ParseDottedName("the name of a test");
  use->test = FindTest(name);
  if (!use->test) FailAt(Code::kUnsupported, at, "the test '" + name + "' is not supported");
  use->input = std::move(input);
  const bool operand = Is(Kind::kName) || Is(Kind::kString) || Is(Kind::kInteger) || Is(Kind::kFloat) ||
                       IsOperator("[") || IsOperator("{");
  if (IsOperator("(")) {
    use->arguments = ParseArguments();
  } else if (operand && !IsName("else") && !IsName("or") && !IsName("and")) {
    if (IsName("is")) FailAt(Code::kInvalidArgument, current().at, "tests cannot be chained");
    const Nesting nesting(*this);
    use->arguments.positional.push_back(ParsePostfixed());
  }
  const ExprPtr& first = use->input;
  ExprPtr node = FinishWithArguments(std::move(use), at, first);
  if (!negated) return node;
  auto unary = std::make_unique<Unary>();
  unary->operand = std::move(node);
  const Expr* test = unary->operand.get();
  return Finish(std::move(unary), at, {test});
}

}  // namespace prefixd::jinja
