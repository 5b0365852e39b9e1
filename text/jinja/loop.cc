// The for statement and the variable `loop`.
#include "text/jinja/loop.h"

#include "text/jinja/evaluator.h"

namespace prefixd::jinja {

bool Loop::Peek() {
  if (!pending_.empty()) return true;
  auto item = source_ ? source_->next() : std::nullopt;
  if (item) pending_.push_back(*std::move(item));
  return !pending_.empty();
}

bool Loop::Advance() {
  if (!Peek()) return false;
  ++index0_;
  previous_ = std::exchange(current_, std::move(pending_.front()));
  pending_.pop_front();
  return true;
}

size_t Loop::Length() {
  if (length_) return *length_;
  while (auto item = source_ ? source_->next() : std::nullopt) pending_.push_back(*std::move(item));
  length_ = static_cast<size_t>(index0_ + 1) + pending_.size();
  return *length_;
}

std::optional<Value> Loop::Attribute(std::string_view name) {
  const auto number = [](auto n) { return Value::Integer(static_cast<Int>(n)); };
  if (name == "index") return number(index0_ + 1);
  if (name == "index0") return number(index0_);
  if (name == "first") return Value::Bool(index0_ == 0);
  if (name == "last") return Value::Bool(!Peek());
  if (name == "length") return number(Length());
  if (name == "revindex") return number(static_cast<int64_t>(Length()) - index0_);
  if (name == "revindex0") return number(static_cast<int64_t>(Length()) - index0_ - 1);
  if (name == "depth") return number(depth0_ + 1);
  if (name == "depth0") return number(depth0_);
  if (name == "previtem") {
    return index0_ == 0 || !previous_ ? Value::MakeUndefined("there is no previous item") : *previous_;
  }
  if (name == "nextitem") return Peek() ? pending_.front() : Value::MakeUndefined("there is no next item");
  return std::nullopt;
}

Value Loop::Changed(Evaluator& e, const Arguments& a) {
  if (!a.named.empty()) Raise("changed() takes no keyword arguments");
  Value now = Sequence::Make(Sequence::Type::kTuple, a.positional, e.budget());
  const bool first = last_changed_ == nullptr;
  if (first) last_changed_ = e.NewNamespace();
  if (!first && Equal(last_changed_->members[0].second, now, e.budget())) return Value::Bool(false);
  last_changed_->Set("value", std::move(now));
  return Value::Bool(true);
}

Value Loop::Call(Evaluator& e, const Arguments& a) const {
  const Parameters p("loop", {"iterable"}, a, 1);
  if (recursive_ == nullptr) Raise("The loop must have the 'recursive' marker to be called recursively.");
  return NewText(recursive_->Recurse(e, outer_scope_, *p[0], depth0_ + 1), e.budget());
}

void Loop::Close() {
  source_ = nullptr;
  recursive_ = nullptr;
  previous_ = current_ = std::nullopt;
  pending_.clear();
}

// Returns the items that satisfy the condition. Evaluates the condition when the next item is requested.
std::shared_ptr<const Iterator> For::Select(Evaluator& e, Scope* outer_scope, const Value& over) const {
  auto source = IteratorOf(over, e.budget());
  if (condition == nullptr) return source;
  const int depth = source->depth;
  auto next = [this, &e, outer_scope, source = std::move(source)]() -> std::optional<Value> {
    while (auto item = source->next()) {
      e.budget().Steps(1);
      const Evaluator::ScopeGuard scope(e, outer_scope);
      e.Assign(target, *item);
      if (IsTrue(e.Eval(*condition))) return item;
    }
    return std::nullopt;
  };
  return *Iterator::Make(depth, std::move(next), e.budget()).As<std::shared_ptr<const Iterator>>();
}

Flow For::Walk(Evaluator& e, Scope* outer_scope, const Value& over, size_t depth0) const {
  const auto loop =
      std::make_shared<Loop>(Select(e, outer_scope, over), condition ? std::nullopt : Length(over), depth0,
                             recursive ? this : nullptr, outer_scope);
  struct Closing {
    Loop& loop;
    ~Closing() { loop.Close(); }
  } const closing{*loop};
  // As in Jinja, `else` runs unless the body was completed at least once. An iteration that ends in break or
  // continue does not complete it.
  bool completed = false;
  Flow flow = Flow::kNext;
  while (flow != Flow::kBreak && loop->Advance()) {
    const Evaluator::ScopeGuard scope(e, outer_scope);
    e.budget().Steps(1);
    e.Assign(loop_name, Value(std::shared_ptr<Loop>(loop)));
    e.Assign(target, loop->current());
    flow = e.Run(body);
    completed = completed || flow == Flow::kNext;
  }
  if (completed) return Flow::kNext;
  const Evaluator::ScopeGuard scope(e, outer_scope);
  return e.Run(else_body);
}

Flow For::Run(Evaluator& e) const { return Walk(e, e.scope(), e.Eval(*iterable), 0); }

MarkedText For::Recurse(Evaluator& e, Scope* outer_scope, const Value& over, size_t depth0) const {
  return e.Capture([&] { Walk(e, outer_scope, over, depth0); });
}

}  // namespace prefixd::jinja
