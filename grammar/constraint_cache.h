// ConstraintCache: makes constraints of what clients ask for, and keeps those used last, so that a schema
// that comes with every request is compiled once.
//
// Threads: any. Two threads that ask for the same at once may both compile it.
//
// Invariants
//   1. It keeps at most most_cached constraints. Those and the ones of requests take at most most_bytes
//      together, as ByteAccount counts them.
//   2. A constraint is found by the whole text of its spec, which has at most kMostSpecBytes: hashes can be
//      made to collide.
#pragma once

#include <atomic>
#include <boost/json/value.hpp>
#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "grammar/byte_account.h"
#include "grammar/call_grammar.h"
#include "grammar/constraint.h"

namespace prefixd::grammar {

struct ConstraintSpec {
  enum class Kind : uint8_t { kJsonObject, kJsonSchema, kRegex, kChoice, kGrammar, kCalls };
  Kind kind = Kind::kJsonObject;
  boost::json::value schema;         // kJsonSchema
  bool strict = false;               // kJsonSchema: see SchemaOptions
  std::string text;                  // kRegex, kGrammar
  std::vector<std::string> choices;  // kChoice
  std::optional<CallSpec> calls;     // kCalls
};

struct CompiledSpec {
  std::shared_ptr<const Constraint> constraint;
  std::vector<std::string> ignored;  // keywords of the schema
};

struct FormatCounts {
  uint64_t compiled = 0;  // so far
  size_t bytes = 0;       // now
};

class ConstraintCache {
 public:
  struct Options {
    size_t most_cached = 16;
    size_t most_bytes = 64 << 20;      // of all, with the masks
    size_t most_mask_bytes = 4 << 20;  // of each; below most_bytes
  };
  ConstraintCache(std::shared_ptr<const Vocabulary> vocabulary, const Options& options);

  static constexpr size_t kMostSpecBytes = 1 << 20;

  // kInvalidArgument, kUnsupported and kResourceExhausted: the spec is wrong, or beyond the limits of a
  // grammar. kUnavailable: the constraints in use leave no room.
  Result<CompiledSpec> Get(const ConstraintSpec& spec);
  FormatCounts counts() const { return {.compiled = compiled_, .bytes = account_->taken()}; }

 private:
  using Entries = std::list<std::pair<std::string, CompiledSpec>>;  // the one used last first
  bool Reserve(size_t bytes, ByteShare* share);
  bool ForgetOldest();
  void Keep(std::string key, const CompiledSpec& made);

  const std::shared_ptr<const Vocabulary> vocabulary_;
  const Options options_;
  const std::shared_ptr<ByteAccount> account_;
  std::atomic<uint64_t> compiled_{0};
  Mutex mutex_;
  Entries entries_ GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, Entries::iterator> by_key_ GUARDED_BY(mutex_);
};

}  // namespace prefixd::grammar
