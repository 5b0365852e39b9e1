// ApiKey: an entry of the file --api-keys. docs/OPERATIONS.md, "Keys", describes the file.
//
// Threads: plain values and pure functions; any thread.
//
// Invariants
//   1. An entry has the hash of its key, and never the key.
//   2. No message has a key, a part of one or a hash: it names the number of the line.
//   3. A hash is in one entry only.
//   4. All entries of a tenant that ParseApiKeys returns have the same limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/api/digest.h"
#include "daemon/limit_table.h"

namespace prefixd {

// A key of which the file has the hash alone must be too long to be guessed.
inline constexpr size_t kShortestHashedKey = 16;
inline constexpr size_t kMostKeys = Limit<size_t>("api-key-entries");

// What a tenant may take. 0: not given.
struct TenantLimits {
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;  // of prompts and answers
  int64_t weight = 0;             // of its part of steps and caches; not given: 1
  // Bytes of the cache that other tenants do not evict, and those that it has at most.
  int64_t guaranteed_device_cache = 0, guaranteed_host_cache = 0, guaranteed_disk_cache = 0;
  int64_t max_device_cache = 0, max_host_cache = 0, max_disk_cache = 0;

  friend bool operator==(const TenantLimits&, const TenantLimits&) = default;
};

struct ApiKey {
  Digest hash{};         // SHA-256 of the key
  std::string tenant;    // its name; empty: the key is a tenant of its own
  bool generate = true;  // it may use the API
  bool admin = true;     // it may ask the admin listener
  TenantLimits limits;   // of its tenant

  friend bool operator==(const ApiKey&, const ApiKey&) = default;
};

// The entry of a key that stands in the file as it is.
ApiKey PlainKey(std::string_view key);

// Reads the text of a file. kInvalidArgument: a line is wrong, or there is no key, or there are too many.
Result<std::vector<ApiKey>> ParseApiKeys(std::string_view text);

// Sets a field of an entry, as in "tenant=alice". kInvalidArgument says what is wrong with it.
Status SetKeyField(std::string_view field, ApiKey* key);

// Whether a line has the hash of a key, and not the key.
bool IsHashedEntry(std::string_view line);

// The line of the file for an entry.
std::string KeyEntryText(const ApiKey& key);

}  // namespace prefixd
