#include "daemon/http/router.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

constexpr std::string_view kVersion = "/v1";

std::string_view WithoutVersion(std::string_view path) {
  return path.starts_with("/v1/") ? path.substr(kVersion.size()) : path;
}

bool Matches(std::string_view pattern, std::string_view path) {
  const bool versioned = pattern.starts_with("/v1/");
  pattern = WithoutVersion(pattern);
  if (versioned) path = WithoutVersion(path);
  const size_t star = pattern.find("/*");
  const bool open = star != std::string_view::npos && star + 2 == pattern.size();
  if (!open && path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  if (star == std::string_view::npos) return path == pattern;
  const std::string_view before = pattern.substr(0, star + 1), after = pattern.substr(star + 2);
  return path.size() > before.size() + after.size() && path.starts_with(before) && path.ends_with(after);
}

ApiError UnknownPath(const HttpRequest& request) {
  ApiError error{.status = 404, .code = "unknown_url"};
  error.message = "Unknown request URL: " + request.method + " " + request.path + ".";
  if (request.path.starts_with("/v1/v1/")) {
    error.message +=
        " It begins with /v1 twice: the client's base URL probably ends in /v1, and the client adds /v1 "
        "itself.";
  }
  return error;
}

}  // namespace

void Router::Add(std::string method, std::string pattern, Handler handler, BodyFilter filter) {
  PREFIXD_CHECK(pattern.starts_with('/') && handler != nullptr) << pattern;
  routes_.push_back({std::move(method), std::move(pattern), std::move(handler), std::move(filter)});
}

void Router::AddErrorStyle(std::string prefix, const ErrorStyle* style) {
  PREFIXD_CHECK(prefix.starts_with('/') && style != nullptr) << prefix;
  styles_.emplace_back(std::move(prefix), style);
}

const ErrorStyle& Router::ErrorsOf(std::string_view path) const {
  const ErrorStyle* found = &kOpenAiErrors;
  size_t longest = 0;
  for (const auto& [prefix, style] : styles_) {
    if (prefix.size() <= longest || !(Matches(prefix, path) || Matches(prefix + "/*", path))) continue;
    found = style;
    longest = prefix.size();
  }
  return *found;
}

std::string_view Router::Tail(std::string_view pattern, std::string_view path) {
  pattern = WithoutVersion(pattern);
  path = WithoutVersion(path);
  const size_t star = pattern.find("/*");
  PREFIXD_CHECK(star != std::string_view::npos) << pattern;
  const std::string_view after = pattern.substr(star + 2);
  if (!after.empty() && path.ends_with('/')) path.remove_suffix(1);
  path.remove_suffix(after.size());
  return path.substr(star + 1);
}

// Appends to `allowed` the methods of the routes that match the path only.
const Router::Route* Router::Find(const HttpRequest& request, std::vector<std::string>* allowed) const {
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  std::string_view pattern;
  for (const Route& route : routes_) {
    if (route.pattern.size() > pattern.size() && Matches(route.pattern, request.path))
      pattern = route.pattern;
  }
  for (const Route& route : routes_) {
    if (route.pattern != pattern) continue;
    if (route.method == method) return &route;
    if (std::find(allowed->begin(), allowed->end(), route.method) == allowed->end())
      allowed->push_back(route.method);
    if (route.method == "GET") allowed->push_back("HEAD");
  }
  return nullptr;
}

bool Router::WantsBody(const HttpRequest& request) const {
  std::vector<std::string> allowed;
  const Route* const route = Find(request, &allowed);
  return route != nullptr && (!route->filter || route->filter(request));
}

void Router::Handle(std::shared_ptr<Exchange> exchange) const {
  const HttpRequest& request = exchange->request();
  std::vector<std::string> allowed;
  if (const Route* const route = Find(request, &allowed)) return route->handler(std::move(exchange));
  if (allowed.empty()) return RespondError(*exchange, UnknownPath(request));
  std::string list;
  for (const std::string& name : allowed) list += (list.empty() ? "" : ", ") + name;
  ApiError error{.status = 405, .code = "method_not_allowed", .headers = {{"Allow", list}}};
  error.message =
      "Method " + request.method + " is not allowed for " + request.path + "; allowed: " + list + ".";
  RespondError(*exchange, error);
}

}  // namespace prefixd
