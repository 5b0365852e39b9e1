#include "storage/redis_slots.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace prefixd {
namespace {

constexpr size_t kLongestHost = 253;

constexpr std::array<uint16_t, 256> kCrcOfByte = [] {
  std::array<uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned crc = byte << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x1021 : 0);
    table[byte] = static_cast<uint16_t>(crc);
  }
  return table;
}();

std::optional<uint16_t> ParseUpTo(std::string_view text, unsigned least, unsigned most) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most)
    return std::nullopt;
  return static_cast<uint16_t>(number);
}

// A host that a server names: letters, digits and ".-_:". Nothing with a zone or a path, nor "?", which
// stands for a server that is not known.
bool IsHost(std::string_view host) {
  const auto may_be = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':';
  };
  return !host.empty() && host.size() <= kLongestHost && host.front() != '-' &&
         std::ranges::all_of(host, may_be);
}

std::optional<uint16_t> SlotOf(const RedisReply& reply) {
  if (reply.kind != RedisReply::Kind::kInteger || reply.integer < 0 || reply.integer >= kRedisSlots)
    return std::nullopt;
  return static_cast<uint16_t>(reply.integer);
}

// [host, port, ...]. A host that is nil or empty is that of the sender.
std::optional<RedisEndpoint> EndpointOf(const RedisReply& reply, const RedisEndpoint& sender) {
  if (reply.elements.size() < 2) return std::nullopt;
  const RedisReply& host = reply.elements[0];
  const RedisReply& port = reply.elements[1];
  const bool has_host = host.kind == RedisReply::Kind::kText && !host.text.empty();
  if (!has_host && host.kind != RedisReply::Kind::kNil && host.kind != RedisReply::Kind::kText)
    return std::nullopt;
  if (port.kind != RedisReply::Kind::kInteger || port.integer < 1 || port.integer > 65535)
    return std::nullopt;
  if (has_host && !IsHost(host.text)) return std::nullopt;
  return RedisEndpoint{has_host ? host.text : sender.host, static_cast<uint16_t>(port.integer)};
}

}  // namespace

uint16_t RedisSlotOf(std::string_view key) {
  if (const size_t open = key.find('{'); open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
  }
  unsigned crc = 0;
  for (const char c : key) {
    crc = ((crc << 8) & 0xffff) ^ kCrcOfByte[(crc >> 8) ^ static_cast<unsigned char>(c)];
  }
  return static_cast<uint16_t>(crc % kRedisSlots);
}

std::string RedisEndpoint::Name() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::optional<RedisRedirection> ParseRedirection(std::string_view error, const RedisEndpoint& sender) {
  RedisRedirection redirection;
  if (error.starts_with("ASK ")) {
    redirection.asks = true;
    error.remove_prefix(4);
  } else if (error.starts_with("MOVED ")) {
    error.remove_prefix(6);
  } else {
    return std::nullopt;
  }
  const size_t space = error.find(' ');
  const size_t colon = error.rfind(':');
  if (space == std::string_view::npos || colon == std::string_view::npos || colon < space)
    return std::nullopt;
  const auto slot = ParseUpTo(error.substr(0, space), 0, kRedisSlots - 1);
  const auto port = ParseUpTo(error.substr(colon + 1), 1, 65535);
  const std::string_view host = error.substr(space + 1, colon - space - 1);
  if (!slot || !port || (!host.empty() && !IsHost(host))) return std::nullopt;
  redirection.slot = *slot;
  redirection.target = {std::string(host.empty() ? std::string_view(sender.host) : host), *port};
  return redirection;
}

std::optional<std::vector<RedisSlotRange>> ParseSlotRanges(const RedisReply& reply,
                                                           const RedisEndpoint& sender) {
  if (reply.kind != RedisReply::Kind::kArray) return std::nullopt;
  std::vector<RedisSlotRange> ranges;
  std::vector<bool> has_owner(kRedisSlots);
  for (const RedisReply& entry : reply.elements) {
    if (entry.elements.size() < 3) return std::nullopt;
    const auto first = SlotOf(entry.elements[0]);
    const auto last = SlotOf(entry.elements[1]);
    if (!first || !last || *first > *last) return std::nullopt;
    for (size_t slot = *first; slot <= *last; ++slot) {
      if (has_owner[slot]) return std::nullopt;  // it would have two
      has_owner[slot] = true;
    }
    // A server that is not known takes nothing from the others.
    if (const auto server = EndpointOf(entry.elements[2], sender)) ranges.push_back({*first, *last, *server});
  }
  return ranges;
}

}  // namespace prefixd
