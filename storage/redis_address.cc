#include "storage/redis_address.h"

#include <charconv>
#include <limits>
#include <optional>

namespace prefixd {
namespace {

constexpr std::string_view kScheme = "redis://", kTlsScheme = "rediss://";
constexpr std::string_view kForm = "give redis[s]://[user:password@]host[:port][/database]";

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text, Number most) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > most) return std::nullopt;
  return number;
}

// Replaces %XX. Nothing when a % has no two hex digits behind it.
std::optional<std::string> Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
    plain += static_cast<char>(byte);
    i += 2;
  }
  return plain;
}

// Splits host[:port] or [IPv6][:port].
Status ReadHost(std::string_view text, RedisAddress* address) {
  std::string_view port;
  size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos) return InvalidArgument("an IPv6 address has no ']'");
    address->host = text.substr(1, end - 1);
    ++end;
  } else {
    end = std::min(text.find(':'), text.size());
    address->host = text.substr(0, end);
  }
  if (address->host.empty()) return InvalidArgument("it has no host; " + std::string(kForm));
  if (end == text.size()) return Status::Ok();
  port = text.substr(end);
  const auto number = port.starts_with(':') ? ParseNumber<uint32_t>(port.substr(1), 65535) : std::nullopt;
  if (!number || *number == 0)
    return InvalidArgument("'" + std::string(port) + "' is no port: give one from 1 to 65535");
  address->port = static_cast<uint16_t>(*number);
  return Status::Ok();
}

}  // namespace

std::string RedisAddress::Name() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return std::string(tls ? kTlsScheme : kScheme) + (is_ipv6 ? "[" + host + "]" : host) + ":" +
         std::to_string(port) + "/" + std::to_string(database);
}

Result<RedisAddress> ParseRedisUrl(std::string_view url) {
  RedisAddress address;
  address.tls = url.starts_with(kTlsScheme);
  if (!address.tls && !url.starts_with(kScheme))
    return InvalidArgument("it does not begin with redis:// or rediss://; " + std::string(kForm));
  url.remove_prefix(address.tls ? kTlsScheme.size() : kScheme.size());
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = url.substr(0, at);
    const size_t colon = login.find(':');
    const auto user = Unescape(login.substr(0, colon));
    const auto password =
        Unescape(colon == std::string_view::npos ? std::string_view() : login.substr(colon + 1));
    if (!user || !password)
      return InvalidArgument("a % in the user or the password has no two hex digits behind it: write it %25");
    if (!user->empty() && password->empty()) return InvalidArgument("it has a user without a password");
    address.user = *user;
    address.password = *password;
    url.remove_prefix(at + 1);
  }
  if (const size_t slash = url.find('/'); slash != std::string_view::npos) {
    const std::string_view database = url.substr(slash + 1);
    const auto number = ParseNumber<uint32_t>(database, std::numeric_limits<int32_t>::max());
    if (!database.empty() && !number)
      return InvalidArgument("'" + std::string(database) + "' is no number of a database");
    address.database = number.value_or(0);
    url = url.substr(0, slash);
  }
  PREFIXD_RETURN_IF_ERROR(ReadHost(url, &address));
  return address;
}

}  // namespace prefixd
