// A Jinja template, for the chat templates of Hugging Face. It behaves as Jinja2 3.1 in the immutable sandbox
// with trim_blocks, lstrip_blocks, loop controls, the `generation` tag, `tojson` without HTML escaping,
// `raise_exception` and `strftime_now`, which is the environment that transformers provides.
//
// Immutable after Parse. Any number of threads may call Render at once. No exception leaves this class.
//
// Supported is what chat templates use. Parse rejects everything else by its name and place:
//   1. tags: autoescape, block, do, extends, from, import, include, print, trans;
//   2. filters: attr, batch, center, filesizeformat, forceescape, groupby, pprint, random, slice, striptags,
//      truncate, urlencode, urlize, wordcount, wordwrap, xmlattr;
//   3. tests: escaped, filter, test; functions: cycler, joiner, lipsum;
//   4. methods of str: casefold, center, encode, expandtabs, format_map, isascii, isidentifier, isprintable,
//      istitle, ljust, maketrans, rjust, swapcase, translate, zfill.
//
// The filter `safe` marks text as markup, as Jinja does without autoescape: "+" escapes what it joins to
// markup, "~" does not.
//
// Known differences from Jinja2:
//   1. Integers have 127 bits. A larger result raises.
//   2. Keys of dicts are scalars. `unique` compares scalars and tuples of scalars.
//   3. Formats are limited to what format.h lists, with at most 1000 digits after the point. `round` takes no
//      negative precision.
//   4. An operation on constants that fails does so when it runs. Jinja may fold it to undefined.
//   5. The printed form of a generator or method has no address.
//   6. Equal strings are the same object (`is sameas`).
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/marked_text.h"
#include "base/status.h"
#include "text/jinja/budget.h"

namespace prefixd::jinja {

struct Program;

class Template {
 public:
  // Fails with kUnsupported when the template uses a name that is not supported, with kInvalidArgument on a
  // syntax error. Both messages contain the line and column.
  static Result<std::unique_ptr<const Template>> Parse(std::string_view source);
  ~Template();

  // A variable of the template. The value must outlive the call.
  struct Variable {
    std::string_view name;
    const boost::json::value* value = nullptr;
    bool input = true;  // it comes from the request: its text is marked
  };
  using Variables = std::vector<Variable>;

  // Returns the output. Of two variables with the same name the last counts. `unix_seconds` is the time that
  // strftime_now prints, in local time. Fails with kInvalidArgument on a run-time error, where the message of
  // raise_exception is the whole message, and with kResourceExhausted when a limit is reached.
  // The text of variables that are input is marked in the output, wherever the template has put it.
  Result<MarkedText> RenderMarked(const Variables& variables, int64_t unix_seconds,
                                  const Limits& limits = {}) const;
  // The same without the marks.
  Result<std::string> Render(const Variables& variables, int64_t unix_seconds,
                             const Limits& limits = {}) const;

  // Returns whether an expression of the template contains the string constant `text`.
  bool MentionsString(std::string_view text) const;

 private:
  explicit Template(std::unique_ptr<const Program> program);
  const std::unique_ptr<const Program> program_;
};

// Parses JSON with the numbers that Python reads: integers of any length, and the nearest doubles. They are
// strings in the result, which Render and JsonText take for the numbers that they are. Returns nothing when
// the text is not JSON.
std::optional<boost::json::value> ParseJsonText(std::string_view json);
// The JSON text of a value, as Python's json.dumps(ensure_ascii=False, allow_nan=False) spells it. Beside its
// text, of at most 16 MiB, it takes no memory. Fails with kInvalidArgument on a number that is not finite.
Result<std::string> JsonText(const boost::json::value& value);

}  // namespace prefixd::jinja
