// Reads any bytes as replies of a Redis server, as redirections and maps of slots in them, and as the URL of
// one. Replies are the same however the bytes are cut. What names a server has a host and a port that can be
// written down and read again, and no name has the password.
//
// The first byte says how long the pieces are that the reader is fed.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "storage/redis_address.h"
#include "storage/redis_protocol.h"
#include "storage/redis_slots.h"

namespace {

using prefixd::RedisAddress;
using prefixd::RedisEndpoint;
using prefixd::RedisReply;

const RedisEndpoint kSender{"sender", 1};

// The replies as text; the end says whether what follows is none.
std::string Text(const RedisReply& reply, int depth) {
  PREFIXD_CHECK(depth <= 4 && reply.kind != RedisReply::Kind::kNone);
  PREFIXD_CHECK(reply.elements.size() <= RedisReply::kMostElements);
  PREFIXD_CHECK(reply.elements.empty() || reply.kind == RedisReply::Kind::kArray);
  std::string text = std::to_string(static_cast<int>(reply.kind)) + "," + std::to_string(reply.integer) +
                     "," + std::to_string(reply.text.size()) + "," + reply.text + "(";
  for (const RedisReply& element : reply.elements) text += Text(element, depth + 1);
  return text + ")";
}

std::vector<RedisReply> ReadAll(std::string_view bytes, size_t piece, std::string* text) {
  std::vector<RedisReply> replies;
  prefixd::RedisReplyReader reader;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    PREFIXD_CHECK(reader.Feed(part).ok() || text->ends_with("!"));
    while (true) {
      auto reply = reader.Next();
      if (!reply.ok()) {
        PREFIXD_CHECK(!reader.Next().ok());
        *text += "!";
        return replies;
      }
      if (*reply == nullptr) break;
      *text += Text(**reply, 0);
      replies.push_back(std::move(**reply));
    }
  }
  return replies;
}

// A host that a server named leads nowhere but to a name or an address.
void CheckEndpoint(const RedisEndpoint& endpoint) {
  PREFIXD_CHECK(endpoint.port != 0 && !endpoint.host.empty() && endpoint.host.size() <= 253);
  PREFIXD_CHECK(endpoint.host.find_first_of("/@?#%[] \r\n\t\\") == std::string::npos &&
                endpoint.host.find('\0') == std::string::npos);
  const auto again = prefixd::ParseRedisUrl("redis://" + endpoint.Name());
  PREFIXD_CHECK(again.ok() && again->host == endpoint.host && again->port == endpoint.port);
}

void CheckReply(const RedisReply& reply) {
  if (const auto redirection = prefixd::ParseRedirection(reply.text, kSender)) {
    PREFIXD_CHECK(redirection->slot < prefixd::kRedisSlots);
    CheckEndpoint(redirection->target);
  }
  const auto ranges = prefixd::ParseSlotRanges(reply, kSender);
  if (!ranges) return;
  for (const prefixd::RedisSlotRange& range : *ranges) {
    PREFIXD_CHECK(range.first <= range.last && range.last < prefixd::kRedisSlots);
    CheckEndpoint(range.server);
  }
}

void CheckUrl(std::string_view url) {
  const auto address = prefixd::ParseRedisUrl(url);
  if (!address.ok()) {
    PREFIXD_CHECK(address.status().code() == prefixd::Code::kInvalidArgument);
    return;
  }
  PREFIXD_CHECK(!address->host.empty() && address->port != 0);
  RedisAddress plain = *address;
  plain.user = plain.password = "";
  PREFIXD_CHECK(plain.Name() == address->Name());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string whole;
  std::string cut;
  const std::vector<RedisReply> replies = ReadAll(bytes, bytes.size(), &whole);
  ReadAll(bytes, size_t{data[0]} + 1, &cut);
  PREFIXD_CHECK(whole == cut);
  for (const RedisReply& reply : replies) CheckReply(reply);
  CheckUrl(bytes);
  CheckUrl("redis://" + std::string(bytes));
  PREFIXD_CHECK(prefixd::RedisSlotOf(bytes) < prefixd::kRedisSlots);
  return 0;
}
