// The expression half of the parser, and the token stream that both halves share. Used by one thread. The
// grammar is that of Jinja2 3.1: filters and tests bind tighter than any binary operator, all binary
// operators including `**` associate to the left, and comparisons chain.
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

  // The token stream. Names and operators are both matched by their text. Take... moves on when the current
  // token matches; Expect... fails when it does not.
  const Token& current() const { return tokens_[at_]; }
  const Token& Look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  // Returns the current token and moves on. Stays at the last token.
  const Token& Next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
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

  // Returns the id of `name`.
  NameId Intern(const std::string& name);
  // The same for a name that the template defines itself, as a variable or a macro.
  NameId Define(const std::string& name);

  ExprPtr ParseExpression(bool with_conditional = true);
  // Parses one expression, or several separated by commas, which form a tuple. `end` is a name that may
  // follow.
  ExprPtr ParseTuple(bool with_conditional = true, std::string_view end = {}, bool in_parentheses = false);
  // Parses the name of a filter and its arguments, and applies the filter to `input`.
  ExprPtr ParseFilter(ExprPtr input);

  // Rejects the template when it calls a name that it does not define and that is no built-in function.
  void CheckCalledNames() const;

  // The names that the current macro uses; null outside of macros. The statement parser owns one set per
  // macro, to find whether the macro uses `caller`, `varargs` or `kwargs`.
  std::set<std::string>* used_names = nullptr;
  std::vector<std::string> names;     // by NameId
  std::vector<std::string> literals;  // string constants

  // Counts one level of nesting while it lives. Fails when the template nests too deeply.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

 private:
  // Sets the position and the height of a node. Fails when the node is too high.
  ExprPtr Finish(std::unique_ptr<Expr> node, Position at, std::initializer_list<const Expr*> operands) const;
  template <typename Node>
  ExprPtr FinishWithArguments(std::unique_ptr<Node> node, Position at, const ExprPtr& first) const;

  ExprPtr MakeConstant(const Value& value, Position at) const;

  ExprPtr ParseConditional();
  ExprPtr ParseBoolOp(bool is_and);
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  bool TakeCompareOp(CompareOp* op);
  template <typename Operators>
  ExprPtr ParseBinary(const Operators& operators, ExprPtr (ExpressionParser::*next)());
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseFiltered();
  ExprPtr ParseUnary();
  ExprPtr ParsePostfixed();  // a primary expression with its calls and subscripts
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
