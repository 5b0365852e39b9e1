// The template variable `loop`: the state of a running for statement. As in Jinja, the statement requests its
// items from the source one at a time. `loop.last` and `loop.nextitem` request one more item; `loop.length`
// requests all items when the length is not known in advance. A Loop belongs to one rendering and its thread.
//
// Invariant: a Loop holds no values after its for statement has ended, even if the template has stored the
// Loop in another variable. So values never own one another in a cycle.
#pragma once

#include <deque>

#include "text/jinja/value.h"

namespace prefixd::jinja {

struct For;
struct Scope;

class Loop {
 public:
  // `length` is set when it is known in advance. `depth0` is the depth of recursive calls, from 0.
  // `recursive` is the for statement if the template may call the loop, else null. `outer_scope` is the scope
  // around the statement.
  Loop(std::shared_ptr<const Iterator> source, std::optional<size_t> length, size_t depth0,
       const For* recursive, Scope* outer_scope)
      : source_(std::move(source)),
        length_(length),
        depth0_(depth0),
        recursive_(recursive),
        outer_scope_(outer_scope) {}

  // Moves to the next item. Returns false at the end.
  bool Advance();
  const Value& current() const { return *current_; }
  int64_t index0() const { return index0_; }
  size_t Length();
  // Returns loop.index, loop.first and so on, or nullopt when there is no attribute of that name.
  std::optional<Value> Attribute(std::string_view name);
  // loop.changed(values...): returns whether the values differ from those of the previous call. The first
  // call returns true.
  Value Changed(Evaluator& evaluator, const Arguments& arguments);
  // loop(iterable): runs the for statement again, over `iterable`, and returns its output. Raises when the
  // loop is not recursive.
  Value Call(Evaluator& evaluator, const Arguments& arguments) const;
  // Drops all values. The for statement calls it when it has ended.
  void Close();

 private:
  bool Peek();  // whether there is a next item

  std::shared_ptr<const Iterator> source_;  // null once closed
  std::optional<size_t> length_;
  size_t depth0_;
  const For* recursive_;
  Scope* outer_scope_;
  int64_t index0_ = -1;
  std::optional<Value> previous_, current_;
  std::deque<Value> pending_;          // requested, not visited yet
  Namespace* last_changed_ = nullptr;  // owned by the evaluator; holds the last arguments of `changed`
};

}  // namespace prefixd::jinja
