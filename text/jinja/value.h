// Values of the template language, with Python's semantics. A value belongs to one rendering, hence to one
// thread; only the constants of a parsed template, which are scalars, are shared between threads and never
// changed.
//
// Invariants
//   1. Containers are immutable once made, as in the immutable sandbox that templates are written for; only
//   namespaces change,
//      and those belong to the evaluator (as do scopes), so that values own one another without cycles.
//   2. A container is at most kMaxValueDepth deep: recursion over values, destructors included, is bounded.
//   3. Dict keys are scalars. Keys that are equal in Python (1, 1.0, true) are the same key. Insertion order
//   is kept.
#pragma once

#include <boost/json/fwd.hpp>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/text.h"

namespace prefixd::jinja {

inline constexpr int kMaxValueDepth = 150;

class Evaluator;
class Value;
struct Arguments;
struct Sequence;
struct Dict;
struct Namespace;
struct Iterator;
class Loop;
class Callable;

struct None {};
// What Jinja calls Undefined: prints as nothing, is false, iterates over nothing; everything else raises
// `why`.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
// A str. `markup` says that a template marked it safe: joining it with other text escapes that text for HTML.
struct String {
  std::shared_ptr<const std::string> bytes;
  bool markup = false;
};

class Value {
 public:
  using Data = std::variant<None, Undefined, bool, Int, double, String, std::shared_ptr<const Sequence>,
                            std::shared_ptr<const Dict>, std::shared_ptr<const Iterator>,
                            std::shared_ptr<Loop>, std::shared_ptr<const Callable>, Namespace*>;

  Value() = default;  // none
  // From any of the alternatives.
  template <typename T>
  requires(!std::same_as<std::remove_cvref_t<T>, Value>) explicit Value(T&& alternative)
      : data_(std::forward<T>(alternative)) {}
  static Value Text(std::string text, bool markup = false) {
    return Value(String{std::make_shared<const std::string>(std::move(text)), markup});
  }
  static Value Bool(bool value) { return Value(value); }
  static Value Integer(Int value) { return Value(value); }
  static Value Float(double value) { return Value(value); }
  static Value Missing(std::string why) {
    return Value(Undefined{std::make_shared<const std::string>(std::move(why))});
  }

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }
  // The text of a str, else null.
  const std::string* text() const { return Is<String>() ? std::get<String>(data_).bytes.get() : nullptr; }
  bool markup() const { return Is<String>() && std::get<String>(data_).markup; }
  const Sequence* sequence() const;
  const Dict* dict() const;
  const Data& data() const { return data_; }
  // 0 for scalars, 1 + the deepest member for containers.
  int depth() const;

 private:
  Data data_;
};

// list, tuple, range, and what Python's dict views are to a template.
struct Sequence {
  enum class Flavor { kList, kTuple, kRange, kView };
  // Raises where the limits do not allow it. `label` is how a range or view prints.
  static Value Make(Flavor flavor, std::vector<Value> items, Budget& budget, std::string label = {});

  Flavor flavor;
  std::vector<Value> items;
  std::string label;
  int depth;
};

// What Python's generators are to a template: gives its items one at a time, once. It holds nothing but
// values that were there before it, and makes an item when asked, so that what would fail fails then.
struct Iterator {
  using Next = std::function<std::optional<Value>()>;  // nothing at the end
  // `depth` is that of the deepest value that `next` holds.
  static Value Make(int depth, Next next, Budget& budget);

  Next next;
  int depth;
};

// Equal scalars are one key (invariant 3); for these two, what is no scalar equals nothing.
struct KeyHash {
  size_t operator()(const Value& key) const;
};
struct KeyEqual {
  bool operator()(const Value& a, const Value& b) const;
};

struct Dict {
  // Sets or replaces; raises when `key` is no scalar.
  void Set(Value key, Value value);
  const Value* Find(const Value& key) const;  // null when absent
  const Value* Find(std::string_view key) const { return Find(Value::Text(std::string(key))); }
  static Value Make(Dict dict, Budget& budget);

  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<Value, size_t, KeyHash, KeyEqual> index;  // of all items, once there are more than a few
  int depth = 1;

 private:
  size_t Position(const Value& key) const;  // items.size() when absent
};

// Made by namespace(); owned by the evaluator.
struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);
};

// A macro, a function, or a method bound to its value.
class Callable {
 public:
  virtual ~Callable() = default;
  virtual Value Call(Evaluator& evaluator, const Arguments& arguments) const = 0;
  virtual std::string Describe() const = 0;  // how it prints
  virtual int depth() const { return 0; }
  virtual std::optional<Value> Attribute(std::string_view) const { return std::nullopt; }
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Raises where a value would be deeper than kMaxValueDepth; returns `depth`.
int CheckedDepth(int depth);

// "str", "int", "NoneType", ... as Python's messages name types.
std::string_view TypeName(const Value& value);
bool Truth(const Value& value);
// Python's == and the order of <. Less raises where Python has no order.
bool Equal(const Value& a, const Value& b, Budget& budget);
bool Less(const Value& a, const Value& b, Budget& budget);
// str(value) and repr(value).
std::string Str(const Value& value, Budget& budget);
std::string Repr(const Value& value, Budget& budget);
// What a for statement walks over; consumes an iterator; raises where Python says "not iterable". IteratorOf
// asks for no item of an iterator yet.
std::shared_ptr<const Sequence> ItemsOf(const Value& value, Budget& budget);
std::shared_ptr<const Iterator> IteratorOf(const Value& value, Budget& budget);
// The same for a C++ loop: for (const Value& item : Each(value, budget)).
class Each {
 public:
  Each(const Value& value, Budget& budget) : items_(ItemsOf(value, budget)) {}
  auto begin() const { return items_->items.begin(); }
  auto end() const { return items_->items.end(); }

 private:
  const std::shared_ptr<const Sequence> items_;
};
// The length where Python's len() has one.
std::optional<size_t> Length(const Value& value);

// JSON to values; raises when it is nested too deeply.
Value FromJson(const boost::json::value& json, Budget& budget);

struct JsonStyle {
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  std::optional<std::string> indent;  // one level of it
  bool ensure_ascii = false;
  bool sort_keys = false;
};
// json.dumps.
std::string ToJson(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace prefixd::jinja
