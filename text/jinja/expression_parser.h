// The expression half of the parser, and the token stream that both halves share. The grammar is that of
// Jinja2 3.1: filters and tests bind tighter than any binary operator, `**` and all others associate to the
// left, comparisons chain.
#pragma once

#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/nodes.h"

namespace prefixd::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Tokens. Names and operators are both matched by their text.
  const Token& current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& Next() {
    return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_];
  }  // returns the current one, moves on
  bool Is(Token::Kind kind) const { return current().kind == kind; }
  bool IsName(std::string_view text) const { return Is(Token::Kind::kName) && current().text == text; }
  bool IsOperator(std::string_view text) const {
    return Is(Token::Kind::kOperator) && current().text == text;
  }
  bool TakeName(std::string_view text);
  bool TakeOperator(std::string_view text);
  const Token& Expect(Token::Kind kind, std::string_view what);
  void ExpectOperator(std::string_view text);
  [[noreturn]] void Unexpected(std::string_view wanted) const;

  NameId Intern(const std::string& name);
  // The same for a name that the template itself defines somewhere, as a variable or a macro.
  NameId Define(const std::string& name);

  ExprPtr ParseExpression(bool with_conditional = true);
  // An expression, or several with commas between them, which make a tuple. `end` is a name that may follow.
  ExprPtr ParseTuple(bool with_conditional = true, std::string_view end = {}, bool in_parentheses = false);
  // The name of a filter, and its arguments, around `input`.
  ExprPtr ParseFilter(ExprPtr input);

  // Refuses names that are called but are neither defined by the template nor functions of ours.
  void CheckCalledNames() const;

  // Names like `caller` that the macro being parsed has mentioned; the statement parser keeps one set per
  // macro.
  std::set<std::string>* mentioned = nullptr;
  std::vector<std::string> names;
  std::vector<std::string> literals;

  // Counts nesting while it lives; too much is refused.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

 private:
  // Gives a node its place and height; refuses one that is too high.
  ExprPtr Finish(std::unique_ptr<Expr> node, Position at, std::initializer_list<const Expr*> operands) const;
  template <typename Node>
  ExprPtr FinishWithArguments(std::unique_ptr<Node> node, Position at, const ExprPtr& first) const;

  ExprPtr MakeConstant(const Value& value, Position at) const;

  ExprPtr ParseConditional();
  ExprPtr ParseLogic(bool is_and);
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  bool TakeCompareOp(CompareOp* op);
  template <typename Spellings>
  ExprPtr ParseBinary(const Spellings& spellings, ExprPtr (ExpressionParser::*next)());
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseFiltered();
  ExprPtr ParseUnary();
  ExprPtr ParsePostfixed();  // a primary with its calls and subscripts
  ExprPtr ParsePrimary();
  ExprPtr ParseName();
  ExprPtr ParseList();
  ExprPtr ParseDict();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr object);
  ExprPtr ParseCall(ExprPtr callee);
  ExprPtr ParseTest(ExprPtr input);
  ArgumentList ParseArguments();
  std::string ParseDottedName(std::string_view what);

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::unordered_map<std::string, NameId> ids_;
  std::set<std::string> defined_;
  std::vector<std::pair<std::string, Position>> called_;
};

}  // namespace prefixd::jinja
