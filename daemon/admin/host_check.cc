#include "daemon/admin/host_check.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>

#include "daemon/http/request_head.h"

namespace prefixd {
namespace {

bool IsAddress(const std::string& text) {
  in6_addr room;
  return inet_pton(AF_INET, text.c_str(), &room) == 1 || inet_pton(AF_INET6, text.c_str(), &room) == 1;
}

// Without port and brackets. Empty: it is not of that form.
std::string_view NameOf(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    const std::string_view rest = end == std::string_view::npos ? "x" : host.substr(end + 1);
    return rest.empty() || rest.starts_with(':') ? host.substr(1, end - 1) : "";
  }
  return host.substr(0, host.find(':'));
}

}  // namespace

bool MayHaveHost(std::string_view host, std::string_view listen) {
  const bool local = listen.starts_with("unix:");
  if (local && host.empty()) return true;
  const std::string_view name = NameOf(host);
  return !name.empty() &&
         (EqualsIgnoringCase(name, "localhost") || (!local && EqualsIgnoringCase(name, NameOf(listen))) ||
          IsAddress(std::string(name)));
}

}  // namespace prefixd
