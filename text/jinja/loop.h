// The variable `loop`: where a for statement stands, and what it says about that. As in Jinja, the items of
// a loop are asked for one at a time; `loop.last` and `loop.nextitem` ask for one more, `loop.length` for all
// where the number is not known. Belongs to one rendering, hence to one thread.
//
// Invariant: once its statement has ended, a loop holds no values, so that values own one another without
// cycles however long a template keeps the loop.
#pragma once

#include <deque>

#include "text/jinja/value.h"

namespace prefixd::jinja {

struct For;
struct Scope;

class Loop {
 public:
  // `length` where it is known; `recursive` is the statement, around which stands `around`, where the loop
  // may be called.
  Loop(std::shared_ptr<const Iterator> source, std::optional<size_t> length, size_t depth0,
       const For* recursive, Scope* around)
      : source_(std::move(source)),
        length_(length),
        depth0_(depth0),
        recursive_(recursive),
        around_(around) {}

  // Moves to the next item; false at the end.
  bool Advance();
  const Value& current() const { return *current_; }
  int64_t index0() const { return index0_; }
  size_t Length();
  // index, first, previtem, ...; nothing where there is none of that name.
  std::optional<Value> Attribute(std::string_view name);
  // loop.changed(values...): whether they differ from those of the last call.
  Value Changed(Evaluator& evaluator, const Arguments& arguments);
  // loop(iterable): the text of the body over other items. Raises where the loop is not recursive.
  Value Call(Evaluator& evaluator, const Arguments& arguments) const;
  // The statement has ended.
  void Close();

 private:
  bool Peek();  // whether there is a next item

  std::shared_ptr<const Iterator> source_;  // null once closed
  std::optional<size_t> length_;
  size_t depth0_;
  const For* recursive_;
  Scope* around_;
  int64_t index0_ = -1;
  std::optional<Value> before_, current_;
  std::deque<Value> ahead_;            // asked for, and not visited yet
  Namespace* last_changed_ = nullptr;  // of the evaluator; holds what `changed` was given
};

}  // namespace prefixd::jinja
