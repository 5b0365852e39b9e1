#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/loop.h"

namespace prefixd::jinja {
namespace {

constexpr size_t kIndexFrom = 8;  // a dict with fewer items is searched linearly

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

// bool, int and float as one type, for == and <.
struct Number {
  bool is_float;
  Int integer;
  double real;
};
std::optional<Number> NumberOf(const Value& value) {
  if (const bool* b = value.As<bool>()) return Number{false, *b ? 1 : 0, *b ? 1.0 : 0.0};
  if (const Int* i = value.As<Int>()) return Number{false, *i, static_cast<double>(*i)};
  if (const double* d = value.As<double>()) return Number{true, 0, *d};
  return std::nullopt;
}

bool ScalarEqual(const Value& a, const Value& b) {
  if (a.text() && b.text()) return *a.text() == *b.text();
  if (const auto x = NumberOf(a), y = NumberOf(b); x && y) {
    return x->is_float || y->is_float ? x->real == y->real : x->integer == y->integer;
  }
  if (a.Is<LongInt>() && b.Is<LongInt>()) return *a.As<LongInt>()->digits == *b.As<LongInt>()->digits;
  return a.Is<None>() && b.Is<None>();
}

// Appends the repr of a value. `depth` limits the recursion, because namespaces may contain one another.
class Printer {
 public:
  Printer(MarkedText* out, Budget& budget) : out_(out), budget_(budget) {}

  void Repr(const Value& value, int depth) {
    budget_.Steps(1);
    budget_.StringSize(out_->size());
    if (depth == 0) Raise("maximum recursion depth exceeded while printing a value");
    std::visit(Overloaded{
                   [&](const None&) { *out_ += "None"; },
                   [&](const Undefined&) { *out_ += "Undefined"; },
                   [&](bool b) { *out_ += b ? "True" : "False"; },
                   [&](Int i) { *out_ += ReprInt(i); },
                   [&](double d) { *out_ += ReprFloat(d); },
                   [&](const LongInt& i) { *out_ += *i.digits; },
                   [&](const String& s) {
                     if (s.markup) *out_ += "Markup(";
                     *out_ += s.text->MapWhole(ReprStr);
                     if (s.markup) *out_ += ")";
                   },
                   [&](const std::shared_ptr<const Sequence>& s) { Items(*s, depth); },
                   [&](const std::shared_ptr<const Dict>& d) { Pairs(d->items, depth); },
                   [&](const std::shared_ptr<const Iterator>&) { *out_ += "<generator object>"; },
                   [&](const std::shared_ptr<Loop>& l) {
                     const size_t length = l->Length();  // requests the remaining items
                     *out_ += "<LoopContext " + std::to_string(l->index0() + 1) + "/" +
                              std::to_string(length) + ">";
                   },
                   [&](const std::shared_ptr<const Callable>& c) { *out_ += c->Describe(); },
                   [&](Namespace* n) {
                     *out_ += "<Namespace ";
                     Pairs(n->members, depth);
                     *out_ += ">";
                   },
               },
               value.data());
  }

 private:
  void Items(const Sequence& sequence, int depth) {
    using Type = Sequence::Type;
    if (sequence.type == Type::kRange) {
      *out_ += sequence.label;
      return;
    }
    const bool tuple = sequence.type == Type::kTuple;
    *out_ += sequence.label + (sequence.type == Type::kView ? "([" : tuple ? "(" : "[");
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) *out_ += ", ";
      Repr(sequence.items[i], depth - 1);
    }
    if (tuple && sequence.items.size() == 1) *out_ += ",";
    *out_ += sequence.type == Type::kView ? "])" : tuple ? ")" : "]";
  }

  template <typename Pair>
  void Pairs(const std::vector<Pair>& pairs, int depth) {
    *out_ += "{";
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (i > 0) *out_ += ", ";
      if constexpr (std::is_same_v<Pair, std::pair<std::string, Value>>) {
        out_->AppendInput(ReprStr(pairs[i].first));  // the name may be a key of a **mapping
      } else {
        Repr(pairs[i].first, depth - 1);
      }
      *out_ += ": ";
      Repr(pairs[i].second, depth - 1);
    }
    *out_ += "}";
  }

  MarkedText* out_;
  Budget& budget_;
};

bool SequenceEqual(const Sequence& a, const Sequence& b, Budget& budget) {
  if (&a == &b) return true;
  using Type = Sequence::Type;
  if (a.type != b.type || a.type == Type::kView) return false;
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                    [&](const Value& x, const Value& y) { return Equal(x, y, budget); });
}

bool DictEqual(const Dict& a, const Dict& b, Budget& budget) {
  if (&a == &b) return true;
  if (a.items.size() != b.items.size()) return false;
  return std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
    const Value* other = b.Find(item.first);
    return other != nullptr && Equal(item.second, *other, budget);
  });
}

// Returns the address of a value that is equal only to itself; null for other values.
const void* Identity(const Value& value) {
  return std::visit(
      Overloaded{[](const auto&) -> const void* { return nullptr; },
                 [](Namespace* n) -> const void* { return n; },
                 []<typename T>(const std::shared_ptr<T>& p) -> const void* { return p.get(); }},
      value.data());
}

}  // namespace

int CheckedDepth(int depth) {
  if (depth > kMaxValueDepth) Budget::Exhausted("levels of nested values", kMaxValueDepth);
  return depth;
}

const Sequence* Value::sequence() const {
  const auto* pointer = As<std::shared_ptr<const Sequence>>();
  return pointer ? pointer->get() : nullptr;
}

const Dict* Value::dict() const {
  const auto* pointer = As<std::shared_ptr<const Dict>>();
  return pointer ? pointer->get() : nullptr;
}

int Value::depth() const {
  if (const Sequence* s = sequence()) return s->depth;
  if (const Dict* d = dict()) return d->depth;
  if (const auto* iterator = As<std::shared_ptr<const Iterator>>()) return (*iterator)->depth;
  if (const auto* callable = As<std::shared_ptr<const Callable>>()) return (*callable)->depth();
  return 0;
}

Value Sequence::Make(Type type, std::vector<Value> items, Budget& budget, std::string label) {
  budget.Bytes(sizeof(Sequence) + items.size() * sizeof(Value));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return Value(std::shared_ptr<const Sequence>(
      new Sequence{type, std::move(items), std::move(label), CheckedDepth(depth + 1)}));
}

Value Iterator::Make(int depth, Next next, Budget& budget) {
  budget.Bytes(4 * sizeof(Iterator));  // includes what `next` holds
  return Value(std::shared_ptr<const Iterator>(new Iterator{std::move(next), CheckedDepth(depth + 1)}));
}

size_t KeyHash::operator()(const Value& key) const {
  if (key.text()) return std::hash<std::string_view>()(*key.text());
  if (const auto number = NumberOf(key))
    return std::hash<double>()(number->real);  // equal numbers are equal as doubles
  return 0;
}

bool KeyEqual::operator()(const Value& a, const Value& b) const { return ScalarEqual(a, b); }

size_t Dict::Position(const Value& key) const {
  if (!index.empty()) {
    const auto found = index.find(key);
    return found == index.end() ? items.size() : found->second;
  }
  const auto same = [&](const auto& item) { return ScalarEqual(item.first, key); };
  return static_cast<size_t>(std::find_if(items.begin(), items.end(), same) - items.begin());
}

void Dict::Set(Value key, Value value) {
  if (!key.Is<None>() && key.text() == nullptr && !NumberOf(key)) {
    Raise("a key of a dict must be a string, a number or none, not '" + std::string(TypeName(key)) + "'");
  }
  depth = CheckedDepth(std::max(depth, value.depth() + 1));
  const size_t at = Position(key);
  if (at < items.size()) {
    items[at].second = std::move(value);
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
  if (items.size() < kIndexFrom) return;
  for (size_t i = index.size(); i < items.size(); ++i) index.emplace(items[i].first, i);
}

const Value* Dict::Find(const Value& key) const {
  const size_t at = Position(key);
  return at < items.size() ? &items[at].second : nullptr;
}

Value Dict::Make(Dict dict, Budget& budget) {
  budget.Bytes(sizeof(Dict) + dict.items.size() * 4 * sizeof(Value));
  return Value(std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict))));
}

const Value* Namespace::Find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Namespace::Set(std::string_view name, Value value) {
  for (auto& member : members) {
    if (member.first == name) {
      member.second = std::move(value);
      return;
    }
  }
  members.emplace_back(name, std::move(value));
}

std::string_view TypeName(const Value& value) {
  if (const Sequence* s = value.sequence()) {
    static constexpr std::string_view kNames[] = {"list", "tuple", "range", "dict view"};
    return kNames[static_cast<size_t>(s->type)];
  }
  static constexpr std::string_view kNames[] = {"NoneType", "Undefined", "bool", "int",       "float",
                                                "str",      "list",      "dict", "generator", "LoopContext",
                                                "function", "Namespace", "int"};
  static_assert(std::size(kNames) == std::variant_size_v<Value::Data>);
  return kNames[value.data().index()];
}

bool IsTrue(const Value& value) {
  if (const auto number = NumberOf(value)) return number->is_float ? number->real != 0 : number->integer != 0;
  if (value.text()) return !value.text()->empty();
  if (const Dict* d = value.dict()) return !d->items.empty();
  if (const Sequence* s = value.sequence()) return !s->items.empty();
  if (const auto* loop = value.As<std::shared_ptr<Loop>>()) return (*loop)->Length() > 0;
  return !value.Is<None>() && !value.Is<Undefined>();
}

bool Equal(const Value& a, const Value& b, Budget& budget) {
  budget.Steps(1);
  if (a.sequence() && b.sequence()) return SequenceEqual(*a.sequence(), *b.sequence(), budget);
  if (a.dict() && b.dict()) return DictEqual(*a.dict(), *b.dict(), budget);
  if (a.Is<Undefined>() && b.Is<Undefined>()) return true;
  if (const void* identity = Identity(a)) return identity == Identity(b);
  if (a.text() && b.text()) budget.Scan(std::min(a.text()->size(), b.text()->size()));
  return ScalarEqual(a, b);
}

bool Less(const Value& a, const Value& b, Budget& budget) {
  budget.Steps(1);
  if (const auto x = NumberOf(a), y = NumberOf(b); x && y) {
    return x->is_float || y->is_float ? x->real < y->real : x->integer < y->integer;
  }
  if (a.text() && b.text()) {
    budget.Scan(std::min(a.text()->size(), b.text()->size()));
    return *a.text() < *b.text();  // UTF-8 sorts like code points
  }
  using Type = Sequence::Type;
  const Sequence *x = a.sequence(), *y = b.sequence();
  if (x && y && x->type == y->type && (x->type == Type::kList || x->type == Type::kTuple)) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
      if (!Equal(x->items[i], y->items[i], budget)) return Less(x->items[i], y->items[i], budget);
    }
    return x->items.size() < y->items.size();
  }
  for (const Value* side : {&a, &b}) {
    if (const auto* undefined = side->As<Undefined>()) Raise(*undefined->message);
  }
  Raise("'<' not supported between instances of '" + std::string(TypeName(a)) + "' and '" +
        std::string(TypeName(b)) + "'");
}

MarkedText Str(const Value& value, Budget& budget) {
  if (value.text()) {
    budget.Scan(value.text()->size());
    return *value.marked();
  }
  if (value.Is<Undefined>()) return {};
  return Repr(value, budget);
}

MarkedText Repr(const Value& value, Budget& budget) {
  MarkedText out;
  Printer(&out, budget).Repr(value, kMaxValueDepth + 1);
  budget.StringSize(out.size());
  budget.Bytes(out.size());
  return out;
}

std::shared_ptr<const Sequence> ItemsOf(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const auto* sequence = value.As<std::shared_ptr<const Sequence>>()) {
    return *sequence;
  } else if (const auto* iterator = value.As<std::shared_ptr<const Iterator>>()) {
    while (auto item = (*iterator)->next()) {
      budget.Bytes(sizeof(Value));
      items.push_back(*std::move(item));
    }
  } else if (const Dict* d = value.dict()) {
    for (const auto& item : d->items) items.push_back(item.first);
  } else if (const std::string* text = value.text()) {
    for (size_t at = 0; at < text->size();) {
      const size_t size = CharacterSize(*text, at);
      budget.Bytes(sizeof(Value) + sizeof(std::string));
      items.push_back(Value::Marked(value.marked()->Part(at, at + size)));  // not markup, even if the text is
      at += size;
    }
  } else if (!value.Is<Undefined>()) {
    Raise("'" + std::string(TypeName(value)) + "' object is not iterable");
  }
  return *Sequence::Make(Sequence::Type::kList, std::move(items), budget)
              .As<std::shared_ptr<const Sequence>>();
}

std::shared_ptr<const Iterator> IteratorOf(const Value& value, Budget& budget) {
  using IteratorPtr = std::shared_ptr<const Iterator>;
  if (const auto* iterator = value.As<IteratorPtr>()) return *iterator;
  const auto items = ItemsOf(value, budget);
  auto next = [items, at = size_t{0}]() mutable {
    return at < items->items.size() ? std::optional(items->items[at++]) : std::nullopt;
  };
  return *Iterator::Make(items->depth, std::move(next), budget).As<IteratorPtr>();
}

std::optional<size_t> Length(const Value& value) {
  if (const std::string* text = value.text()) return CountCharacters(*text);
  if (const Dict* d = value.dict()) return d->items.size();
  if (const Sequence* s = value.sequence()) return s->items.size();
  if (const auto* loop = value.As<std::shared_ptr<Loop>>()) return (*loop)->Length();
  if (value.Is<Undefined>()) return 0;
  return std::nullopt;
}

}  // namespace prefixd::jinja
