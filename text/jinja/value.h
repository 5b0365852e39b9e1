// Values of the template language, with Python's semantics. A value belongs to one rendering and its thread.
// Only the constants of a parsed template are shared between threads; they are scalars and never change.
//
// Invariants
//   1. Containers are immutable once made, as in Jinja's immutable sandbox. Only namespaces change. The
//      evaluator owns namespaces and scopes, so values never own one another in a cycle.
//   2. A container is at most kMaxValueDepth deep, so that recursion over values, destructors included, is
//      bounded.
//   3. Dict keys are scalars. Keys that are equal in Python (1, 1.0, true) are the same key. Dicts keep the
//      order of insertion.
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

#include "base/marked_text.h"
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
// Jinja's Undefined. It prints as nothing, is false and is empty when iterated. Every other use raises
// `message`.
struct Undefined {
  std::shared_ptr<const std::string> message;
};
// A str, with marks on what came from the request. Marks do not count when values are compared. `markup`
// means that the template marked it safe: joining it with other text escapes that text for HTML.
struct String {
  std::shared_ptr<const MarkedText> text;
  bool markup = false;
};

// An integer of the request that does not fit Int. It can be printed and compared for equality. Its digits
// are as in the JSON text, with a sign.
struct LongInt {
  std::shared_ptr<const std::string> digits;
};

class Value {
 public:
  using Data = std::variant<None, Undefined, bool, Int, double, String, std::shared_ptr<const Sequence>,
                            std::shared_ptr<const Dict>, std::shared_ptr<const Iterator>,
                            std::shared_ptr<Loop>, std::shared_ptr<const Callable>, Namespace*, LongInt>;

  Value() = default;  // none
  // From any alternative of Data.
  template <typename T>
  requires(!std::same_as<std::remove_cvref_t<T>, Value>) explicit Value(T&& alternative)
      : data_(std::forward<T>(alternative)) {}
  // Text of the template.
  static Value Text(std::string text) { return Marked(MarkedText::Own(std::move(text))); }
  static Value Marked(MarkedText text, bool markup = false) {
    return Value(String{std::make_shared<const MarkedText>(std::move(text)), markup});
  }
  static Value Bool(bool value) { return Value(value); }
  static Value Integer(Int value) { return Value(value); }
  static Value Float(double value) { return Value(value); }
  static Value MakeUndefined(std::string message) {
    return Value(Undefined{std::make_shared<const std::string>(std::move(message))});
  }

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }
  // The text of a str; null for other types. Text that is made from it keeps the marks, which marked() has.
  const std::string* text() const { return Is<String>() ? &std::get<String>(data_).text->bytes() : nullptr; }
  const MarkedText* marked() const { return Is<String>() ? std::get<String>(data_).text.get() : nullptr; }
  bool markup() const { return Is<String>() && std::get<String>(data_).markup; }
  const Sequence* sequence() const;
  const Dict* dict() const;
  const Data& data() const { return data_; }
  // 0 for scalars, 1 + the depth of the deepest member for containers.
  int depth() const;

 private:
  Data data_;
};

// A list, tuple, range or dict view.
struct Sequence {
  enum class Type { kList, kTuple, kRange, kView };
  // Raises when a limit is exceeded. `label` is the printed form of a range, and the prefix of that of a
  // view.
  static Value Make(Type type, std::vector<Value> items, Budget& budget, std::string label = {});

  Type type;
  std::vector<Value> items;
  std::string label;
  int depth;
};

// A generator: returns its items one at a time, once. It holds only values that were made before it. It
// computes an item when the item is requested, so an error in an item is raised then.
struct Iterator {
  using Next = std::function<std::optional<Value>()>;  // nullopt at the end
  // `depth` is the depth of the deepest value that `next` holds.
  static Value Make(int depth, Next next, Budget& budget);

  Next next;
  int depth;
};

// Hash and equality of keys (invariant 3). A value that is no scalar equals nothing.
struct KeyHash {
  size_t operator()(const Value& key) const;
};
struct KeyEqual {
  bool operator()(const Value& a, const Value& b) const;
};

struct Dict {
  // Adds or replaces an item. Raises when `key` is no scalar.
  void Set(Value key, Value value);
  const Value* Find(const Value& key) const;  // null when absent
  const Value* Find(std::string_view key) const { return Find(Value::Text(std::string(key))); }
  static Value Make(Dict dict, Budget& budget);

  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<Value, size_t, KeyHash, KeyEqual> index;  // empty while there are few items
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
  bool input_names = false;  // a name came from the request, as a key of **mapping

  Value Name(const std::string& name) const {
    return Value::Marked(input_names ? MarkedText::Input(name) : MarkedText::Own(name));
  }
};

// Returns `depth`. Raises when it exceeds kMaxValueDepth.
int CheckedDepth(int depth);

// The name of the type in Python's messages: "str", "int", "NoneType" and so on.
std::string_view TypeName(const Value& value);
bool IsTrue(const Value& value);
// Python's == and <. Less raises for types that have no order.
bool Equal(const Value& a, const Value& b, Budget& budget);
bool Less(const Value& a, const Value& b, Budget& budget);
// str(value) and repr(value).
MarkedText Str(const Value& value, Budget& budget);
MarkedText Repr(const Value& value, Budget& budget);
// The items of a value as a for statement visits them. ItemsOf consumes an iterator; IteratorOf returns it
// without requesting an item. Both raise when the value is not iterable.
std::shared_ptr<const Sequence> ItemsOf(const Value& value, Budget& budget);
std::shared_ptr<const Iterator> IteratorOf(const Value& value, Budget& budget);
// ItemsOf as a range for C++: for (const Value& item : Each(value, budget)).
class Each {
 public:
  Each(const Value& value, Budget& budget) : items_(ItemsOf(value, budget)) {}
  auto begin() const { return items_->items.begin(); }
  auto end() const { return items_->items.end(); }

 private:
  const std::shared_ptr<const Sequence> items_;
};
// Python's len(), or nullopt when the value has no length.
std::optional<size_t> Length(const Value& value);

// Converts JSON to a value. Raises when it is nested too deeply. With `input` all text is marked, because it
// comes from the request, except the names of roles in a list of messages: templates write them into control
// tokens.
Value FromJson(const boost::json::value& json, bool input, Budget& budget);

// Returns a JSON text in which the numbers are strings that FromJson takes for numbers. boost::json rounds
// integers of more than 64 bits, and does not round fractions of more than 15 digits to the nearest double. A
// text that is no JSON stays none.
std::string KeepNumbers(std::string_view json);

struct JsonStyle {
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  std::optional<std::string> indent;  // the text of one level; one line when unset
  bool ensure_ascii = false;
  bool sort_keys = false;
};
// json.dumps.
MarkedText ToJson(const Value& value, const JsonStyle& style, Budget& budget);
// json.dumps(ensure_ascii=False, allow_nan=False) of what FromJson would read, without building its values.
std::string ToJson(const boost::json::value& json, Budget& budget);

}  // namespace prefixd::jinja
