// A Jinja template as Hugging Face's chat templates need it: Jinja2 3.1 in the immutable sandbox,
// trim_blocks, lstrip_blocks, loop controls, the `generation` tag, `tojson` without HTML escaping,
// `raise_exception`, `strftime_now`. No includes, no inheritance (so no blocks), no autoescape; of the
// filters no random, pprint, urlize and striptags; of the functions no lipsum. What is not there is refused
// by Parse.
//
// Immutable after Parse; Render may be called by any number of threads at once. No exception leaves this
// class.
//
// `safe` marks text as markup, as Jinja does without autoescape: "+" escapes what it joins to markup, "~"
// does not.
//
// Known differences from the reference: integers have 127 bits and raise beyond them; keys of dicts are
// scalars, and so is what `unique` compares, or tuples of them; a number is formatted with at most 1000
// digits behind the point; an operation on constants that fails does so when it runs (Jinja may fold it to
// undefined); the address in the print of a generator or method is left out; texts are the same object where
// they are equal (`is sameas`).
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/budget.h"

namespace prefixd::jinja {

struct Program;

class Template {
 public:
  // kUnsupported: the template uses something that we lack, named with its line and column. kInvalidArgument:
  // a syntax error.
  static Result<std::unique_ptr<const Template>> Parse(std::string_view source);
  ~Template();

  // Variables of the template: a JSON value by name. The values must outlive the call.
  using Variables = std::vector<std::pair<std::string_view, const boost::json::value*>>;

  // kInvalidArgument: what raise_exception was given, or the run-time error. kResourceExhausted: a limit was
  // reached. Of two variables of one name the last counts. `unix_seconds` is what strftime_now prints, in
  // local time.
  Result<std::string> Render(const Variables& variables, int64_t unix_seconds,
                             const Limits& limits = {}) const;

  // Whether an expression of the template contains this string constant.
  bool MentionsString(std::string_view text) const;

 private:
  explicit Template(std::unique_ptr<const Program> program);
  const std::unique_ptr<const Program> program_;
};

}  // namespace prefixd::jinja
