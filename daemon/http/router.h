// Router: maps a method and a path to a handler.
//
// Threads: one thread adds the routes before the server starts. Afterwards any thread may call Handle.
//
// Invariants
//   1. A path that begins with /v1/ also matches without that prefix, and with one more slash at its end.
//   2. The handler of GET answers HEAD; the server leaves out the body.
//   3. Every request gets a response. A request that matches no route gets 404, or 405 with Allow, as JSON.
//   4. A path has the error style of the longest prefix that was added for it, whether or not a route
//      matches.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/http/exchange.h"

namespace prefixd {

class Router {
 public:
  // `pattern` is a path. "/*" at the end of a pattern, or before its last part, matches any text
  // that is not empty, slashes included. Of the patterns that match a path, the longest counts for all
  // methods.
  // Without a filter every body is read.
  void Add(std::string method, std::string pattern, Handler handler, BodyFilter filter = nullptr);

  // Errors of the path `prefix` and of those below it have this style.
  void AddErrorStyle(std::string prefix, const ErrorStyle* style);
  const ErrorStyle& ErrorsOf(std::string_view path) const;

  // Runs the handler of the route that matches, or answers with the error.
  void Handle(std::shared_ptr<Exchange> exchange) const;

  // The filter of the route that matches; false when none does.
  bool WantsBody(const HttpRequest& request) const;

  // The part of `path` that matches "*". Requires that `pattern` has "/*" and matches `path` (invariant 1).
  static std::string_view Tail(std::string_view pattern, std::string_view path);

 private:
  struct Route {
    std::string method;
    std::string pattern;
    Handler handler;
    BodyFilter filter;
  };
  const Route* Find(const HttpRequest& request, std::vector<std::string>* allowed) const;
  std::vector<Route> routes_;
  std::vector<std::pair<std::string, const ErrorStyle*>> styles_;
};

}  // namespace prefixd
