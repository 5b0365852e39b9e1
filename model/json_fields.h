// Reads the JSON files of a model folder: strict parsing, and fields whose errors name the file, the key and
// the value. Included by .cc files only, so that Boost.JSON stays behind them. Plain values; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace prefixd {

// `text` as a JSON object, nested at most 32 deep. kCorrupt, naming `file`: not JSON, not an object, or a key
// given twice in one object (readers would disagree about which of them counts).
Result<boost::json::object> ParseJsonObject(std::string_view file, std::string_view text);

// A value as it stands in an error message: JSON, cut to a readable length.
std::string Quote(const boost::json::value& value);

// The fields of one object. An absent key and null are the same: not set. The object outlives the Fields.
class JsonFields {
 public:
  // `place` begins every message: "config.json" or "config.json: rope_scaling".
  JsonFields(std::string place, const boost::json::object& object)
      : place_(std::move(place)), object_(&object) {}

  const std::string& place() const { return place_; }
  const boost::json::object& object() const { return *object_; }
  // nullptr when not set.
  const boost::json::value* Find(std::string_view key) const;
  // Whether the key is there and null: for the few keys whose absence means something else.
  bool IsNull(std::string_view key) const;

  // kInvalidArgument when the key is not set, of another type, or outside [low, high].
  Result<int> Int(std::string_view key, int low, int high) const;
  Result<double> Number(std::string_view key, double low, double high) const;
  // The same, with a value for a key that is not set.
  Result<int> IntOr(std::string_view key, int low, int high, int fallback) const;
  Result<double> NumberOr(std::string_view key, double low, double high, double fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;
  // An int, a list of ints, or not set (empty). Every one in [0, bound).
  Result<std::vector<TokenId>> TokenIds(std::string_view key, int bound) const;

  // kInvalidArgument: a value that makes no sense. kUnsupported: one that means something prefixd does not
  // do.
  Status Bad(std::string_view key, std::string_view expected) const;
  Status Lacks(std::string_view key, std::string_view supported) const;

 private:
  std::string place_;
  const boost::json::object* object_;
};

}  // namespace prefixd
