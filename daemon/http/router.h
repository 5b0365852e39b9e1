// Router: which handler answers which method and path. Filled before the server starts; afterwards any
// thread.
//
// Invariants
//   1. A path that begins with /v1/ is found without that prefix too, and with one slash more at its end.
//   2. HEAD is answered by the handler of GET; the server leaves the body out.
//   3. Every request gets an answer: what no route takes is a 404 or a 405 with Allow, as JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/exchange.h"

namespace prefixd {

class Router {
 public:
  // `pattern` is a path; one that ends in "/*" takes any tail, slashes included, that is not empty.
  void Add(std::string method, std::string pattern, Handler handler);

  // Finds the handler and runs it, or answers the error.
  void Handle(std::shared_ptr<Exchange> exchange) const;

  // What "*" stood for when `path` matches `pattern`, whose end is "/*"; with the leniency of invariant 1.
  static std::string_view Tail(std::string_view pattern, std::string_view path);

 private:
  struct Route {
    std::string method;
    std::string pattern;
    Handler handler;
  };
  std::vector<Route> routes_;
};

}  // namespace prefixd
