// For statements and the variable `loop`.
#include "text/jinja/loop.h"

#include "text/jinja/evaluator.h"

namespace prefixd::jinja {

bool Loop::Peek() {
  if (!ahead_.empty()) return true;
  auto item = source_ ? source_->next() : std::nullopt;
  if (item) ahead_.push_back(*std::move(item));
  return !ahead_.empty();
}

bool Loop::Advance() {
  if (!Peek()) return false;
  ++index0_;
  before_ = std::exchange(current_, std::move(ahead_.front()));
  ahead_.pop_front();
  return true;
}

size_t Loop::Length() {
  if (length_) return *length_;
  while (auto item = source_ ? source_->next() : std::nullopt) ahead_.push_back(*std::move(item));
  length_ = static_cast<size_t>(index0_ + 1) + ahead_.size();
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
    return index0_ == 0 || !before_ ? Value::Missing("there is no previous item") : *before_;
  }
  if (name == "nextitem") return Peek() ? ahead_.front() : Value::Missing("there is no next item");
  return std::nullopt;
}

Value Loop::Changed(Evaluator& e, const Arguments& a) {
  if (!a.named.empty()) Raise("changed() takes no keyword arguments");
  Value now = Sequence::Make(Sequence::Flavor::kTuple, a.positional, e.budget());
  const bool first = last_changed_ == nullptr;
  if (first) last_changed_ = e.NewNamespace();
  if (!first && Equal(last_changed_->members[0].second, now, e.budget())) return Value::Bool(false);
  last_changed_->Set("value", std::move(now));
  return Value::Bool(true);
}

Value Loop::Call(Evaluator& e, const Arguments& a) const {
  const Parameters p("loop", {"iterable"}, a, 1);
  if (recursive_ == nullptr) Raise("The loop must have the 'recursive' marker to be called recursively.");
  return NewText(recursive_->Recurse(e, around_, *p[0], depth0_ + 1), e.budget());
}

void Loop::Close() {
  source_ = nullptr;
  recursive_ = nullptr;
  before_ = current_ = std::nullopt;
  ahead_.clear();
}

// The items that satisfy the condition, found as they are asked for.
std::shared_ptr<const Iterator> For::Select(Evaluator& e, Scope* around, const Value& over) const {
  auto source = IteratorOf(over, e.budget());
  if (condition == nullptr) return source;
  const int depth = source->depth;
  auto next = [this, &e, around, source = std::move(source)]() -> std::optional<Value> {
    while (auto item = source->next()) {
      e.budget().Steps(1);
      const Evaluator::ScopeGuard scope(e, around);
      e.Assign(target, *item);
      if (Truth(e.Eval(*condition))) return item;
    }
    return std::nullopt;
  };
  return *Iterator::Make(depth, std::move(next), e.budget()).As<std::shared_ptr<const Iterator>>();
}

Flow For::Walk(Evaluator& e, Scope* around, const Value& over, size_t depth0) const {
  const auto loop = std::make_shared<Loop>(Select(e, around, over), condition ? std::nullopt : Length(over),
                                           depth0, recursive ? this : nullptr, around);
  struct Closing {
    Loop& loop;
    ~Closing() { loop.Close(); }
  } const closing{*loop};
  // As in Jinja, `else` runs unless the body came to its end once: a first turn that breaks or continues
  // counts for nothing.
  bool completed = false;
  Flow flow = Flow::kNext;
  while (flow != Flow::kBreak && loop->Advance()) {
    const Evaluator::ScopeGuard scope(e, around);
    e.budget().Steps(1);
    e.Assign(loop_name, Value(std::shared_ptr<Loop>(loop)));
    e.Assign(target, loop->current());
    flow = e.Run(body);
    completed = completed || flow == Flow::kNext;
  }
  if (completed) return Flow::kNext;
  const Evaluator::ScopeGuard scope(e, around);
  return e.Run(otherwise);
}

Flow For::Run(Evaluator& e) const { return Walk(e, e.scope(), e.Eval(*iterable), 0); }

std::string For::Recurse(Evaluator& e, Scope* around, const Value& over, size_t depth0) const {
  return e.Capture([&] { Walk(e, around, over, depth0); });
}

}  // namespace prefixd::jinja
