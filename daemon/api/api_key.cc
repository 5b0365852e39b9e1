#include "daemon/api/api_key.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "base/bytes.h"

namespace prefixd {
namespace {

constexpr std::string_view kHashed = "sha256:";
constexpr size_t kLongestTenant = 64;
constexpr std::string_view kBlanks = " \t\r";

// The fields of an entry that are limits of its tenant.
struct LimitField {
  std::string_view name;
  int64_t TenantLimits::*member;
  int64_t highest;
  std::string_view absence;  // what its absence means
  bool is_size = false;
};
constexpr int64_t kMaxBytes = int64_t{1} << 50;
constexpr LimitField kLimitFields[] = {
    {"requests-per-minute", &TenantLimits::requests_per_minute, 1'000'000'000, "there is no limit"},
    {"tokens-per-minute", &TenantLimits::tokens_per_minute, 1'000'000'000, "there is no limit"},
    {"weight", &TenantLimits::weight, 1000, "it is 1"},
    {"guaranteed-device-cache", &TenantLimits::guaranteed_device_cache, kMaxBytes, "none is", true},
    {"guaranteed-host-cache", &TenantLimits::guaranteed_host_cache, kMaxBytes, "none is", true},
    {"guaranteed-disk-cache", &TenantLimits::guaranteed_disk_cache, kMaxBytes, "none is", true},
    {"max-device-cache", &TenantLimits::max_device_cache, kMaxBytes, "there is no limit", true},
    {"max-host-cache", &TenantLimits::max_host_cache, kMaxBytes, "there is no limit", true},
    {"max-disk-cache", &TenantLimits::max_disk_cache, kMaxBytes, "there is no limit", true}};

bool IsTenantName(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= kLongestTenant && std::ranges::all_of(name, fits);
}

// The next word of a text, which it is taken from. Empty: there is none.
std::string_view TakeWord(std::string_view* text, std::string_view separators) {
  text->remove_prefix(std::min(text->find_first_not_of(separators), text->size()));
  const std::string_view word = text->substr(0, text->find_first_of(separators));
  text->remove_prefix(word.size());
  return word;
}

Status SetRights(std::string_view list, ApiKey* key) {
  key->generate = key->admin = false;
  while (true) {
    const std::string_view right = TakeWord(&list, ",");
    if (right.empty()) break;
    if (right != "generate" && right != "admin")
      return InvalidArgument("rights are generate, admin, or both as generate,admin");
    (right == "admin" ? key->admin : key->generate) = true;
  }
  if (key->generate || key->admin) return Status::Ok();
  return InvalidArgument("a key without a right would be refused: rights=generate, admin, or both");
}

Status SetLimit(const LimitField& field, std::string_view text, ApiKey* key) {
  int64_t value = 0;
  bool is_number = false;
  if (field.is_size) {
    const Result<uint64_t> size = ParseSize(text);
    is_number = size.ok();
    if (is_number) value = static_cast<int64_t>(*size);
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    is_number = error == std::errc() && end == text.data() + text.size();
  }
  if (!is_number || value < 1 || value > field.highest) {
    const std::string range = field.is_size ? " is a size from 1 byte to 1 PiB, such as 512MiB"
                                            : " is a whole number from 1 to " + std::to_string(field.highest);
    return InvalidArgument(std::string(field.name) + range + "; without the field " +
                           std::string(field.absence));
  }
  key->limits.*field.member = value;
  return Status::Ok();
}

// Gives all entries of a tenant its limits, which may be in any of them. `lines` are those of the entries.
Status ShareLimits(const std::map<Digest, int>& lines, std::vector<ApiKey>* keys) {
  for (const LimitField& field : kLimitFields) {
    std::map<std::string_view, const ApiKey*> given;  // by tenant
    for (const ApiKey& key : *keys) {
      if (key.tenant.empty() || key.limits.*field.member == 0) continue;
      const auto [first, is_new] = given.emplace(key.tenant, &key);
      if (!is_new && first->second->limits.*field.member != key.limits.*field.member) {
        return InvalidArgument("line " + std::to_string(lines.at(key.hash)) + ": " + std::string(field.name) +
                               " of the tenant " + key.tenant + " differs from line " +
                               std::to_string(lines.at(first->second->hash)) +
                               "; give it once, or the same in both");
      }
    }
    for (ApiKey& key : *keys) {
      const auto found = given.find(key.tenant);
      if (found != given.end()) key.limits.*field.member = found->second->limits.*field.member;
    }
  }
  return Status::Ok();
}

Result<ApiKey> ParseLine(std::string_view line) {
  if (!IsHashedEntry(line)) {
    if (line.find_first_of(kBlanks) == std::string_view::npos) return PlainKey(line);
    return InvalidArgument(
        "a key has no blanks. An entry with fields begins with sha256: and the hash; prefixd keys hash "
        "makes one");
  }
  line.remove_prefix(kHashed.size());
  ApiKey key{.admin = false};
  const std::optional<Digest> hash = DigestFromHex(TakeWord(&line, kBlanks));
  if (!hash)
    return InvalidArgument("sha256: is followed by 64 hexadecimal digits; prefixd keys hash makes them");
  key.hash = *hash;
  std::vector<std::string_view> names;
  while (true) {
    const std::string_view field = TakeWord(&line, kBlanks);
    if (field.empty()) return key;
    const std::string_view name = field.substr(0, field.find('='));
    if (std::ranges::find(names, name) != names.end())
      return InvalidArgument("the field " + std::string(name) + " is given twice");
    PREFIXD_RETURN_IF_ERROR(SetKeyField(field, &key));
    names.push_back(name);
  }
}

}  // namespace

bool IsHashedEntry(std::string_view line) { return line.starts_with(kHashed); }

ApiKey PlainKey(std::string_view key) { return {.hash = Sha256(key)}; }

Status SetKeyField(std::string_view field, ApiKey* key) {
  const size_t equals = std::min(field.find('='), field.size());
  const std::string_view name = field.substr(0, equals);
  const std::string_view value = field.substr(std::min(equals + 1, field.size()));
  if (name == "rights") return SetRights(value, key);
  for (const LimitField& field : kLimitFields) {
    if (name == field.name) return SetLimit(field, value, key);
  }
  if (name != "tenant") {
    std::string names;
    for (const LimitField& limit : kLimitFields) {
      names += std::string(&limit == std::end(kLimitFields) - 1 ? " or " : ", ") + std::string(limit.name) +
               (limit.is_size ? "=SIZE" : "=N");
    }
    return InvalidArgument("a field of an entry is tenant=NAME, rights=LIST" + names);
  }
  if (!IsTenantName(value)) {
    return InvalidArgument("the name of a tenant has 1 to " + std::to_string(kLongestTenant) +
                           " letters, digits, '-', '_' or '.'");
  }
  key->tenant = std::string(value);
  return Status::Ok();
}

std::string KeyEntryText(const ApiKey& key) {
  std::string text = std::string(kHashed) + ToHex(key.hash);
  if (!key.tenant.empty()) text += " tenant=" + key.tenant;
  const char* const both = key.generate ? "generate,admin" : "admin";
  text += std::string(" rights=") + (key.admin ? both : "generate");
  for (const LimitField& field : kLimitFields) {
    const int64_t limit = key.limits.*field.member;
    if (limit > 0) text += " " + std::string(field.name) + "=" + std::to_string(limit);
  }
  return text;
}

Result<std::vector<ApiKey>> ParseApiKeys(std::string_view text) {
  std::vector<ApiKey> keys;
  std::map<Digest, int> lines;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // A header value never ends in a blank, so no client could send such a key.
    line = line.substr(0, line.find_last_not_of(kBlanks) + 1);
    if (line.empty() || line.front() == '#') continue;
    const std::string where = "line " + std::to_string(number);
    Result<ApiKey> key = ParseLine(line);
    if (!key.ok()) return key.status().WithContext(where);
    const auto [first, is_new] = lines.emplace(key->hash, number);
    if (!is_new)
      return InvalidArgument(where + ": the key of line " + std::to_string(first->second) + " again");
    if (keys.size() == kMostKeys)
      return InvalidArgument(where + ": more than " + std::to_string(kMostKeys) + " keys");
    keys.push_back(*std::move(key));
  }
  PREFIXD_RETURN_IF_ERROR(ShareLimits(lines, &keys));
  return keys;
}

}  // namespace prefixd
