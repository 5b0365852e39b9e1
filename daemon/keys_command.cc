#include "daemon/keys_command.h"

#include <sys/random.h>

#include <array>
#include <cstdio>
#include <iostream>

#include "daemon/api/api_key.h"
#include "daemon/command_output.h"

namespace prefixd {
namespace {

// 256 random bits. Empty: the system has none.
std::string NewKey() {
  Digest random;
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) return "";
  return "sk-" + ToHex(random);
}

// The first line of stdin.
std::string ReadKey() {
  std::string key;
  std::getline(std::cin, key);
  key.erase(key.find_last_not_of(" \t\r") + 1);
  return key;
}

}  // namespace

ExitCode HashKey(const KeysOptions& options) {
  const std::string key = options.draw ? NewKey() : ReadKey();
  if (options.draw && key.empty())
    return PrintFailure(false, kExitFailed, "the system has no random numbers");
  if (key.size() < kShortestHashedKey) {
    return PrintFailure(false, kExitUsage,
                        "standard input has the key on its first line, of at least " +
                            std::to_string(kShortestHashedKey) +
                            " bytes, because a shorter one can be guessed from its hash; --new draws one");
  }
  if (key.find_first_of(" \t") != std::string::npos)
    return PrintFailure(false, kExitUsage,
                        "the key on standard input has blanks, so no client could send it");
  ApiKey entry = PlainKey(key);
  entry.admin = false;
  for (const std::string& field : options.fields) {
    if (const Status set = SetKeyField(field, &entry); !set.ok())
      return PrintFailure(false, kExitUsage, set.message());
  }
  if (options.draw) std::fprintf(stderr, "the key, which nothing but its client keeps: %s\n", key.c_str());
  Print(KeyEntryText(entry) + "\n");
  return kExitOk;
}

}  // namespace prefixd
