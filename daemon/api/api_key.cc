#include "daemon/api/api_key.h"

#include <algorithm>
#include <map>
#include <utility>

namespace prefixd {
namespace {

constexpr std::string_view kHashed = "sha256:";
constexpr size_t kLongestTenant = 64;
constexpr std::string_view kBlanks = " \t\r";

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
  if (name != "tenant") return InvalidArgument("a field of an entry is tenant=NAME or rights=LIST");
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
  return text + " rights=" + (key.admin ? both : "generate");
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
  return keys;
}

}  // namespace prefixd
