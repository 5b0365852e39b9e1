// Request fields that prefixd does not support. A request that sets one gets an error that names the field;
// prefixd never ignores the field silently. "Fields of requests" in docs/OPERATIONS.md lists them, and those
// that have no effect. Plain values; any thread.
#pragma once

#include <span>
#include <string_view>

#include "daemon/api/request_fields.h"

namespace prefixd {

// The one value that an unsupported field may have, because it means the same as leaving the field out.
// kEmpty is an empty array, object or string; kOff is a number of at most 0.
enum class AllowedValue { kNone, kFalse, kEmpty, kOff, kOne };

struct UnsupportedField {
  std::string_view name;
  AllowedValue allowed;
  std::string_view feature;  // for the error message
};

// The rows of the fields that RejectUnsupportedFields checks.
void AddUnsupportedFields(std::span<const UnsupportedField> more, FieldTable* table);

// Records an error in `fields` for each unsupported field that is present and is neither null nor its allowed
// value. Checks the fields that no endpoint supports, and those in `more`.
void RejectUnsupportedFields(RequestFields& fields, std::span<const UnsupportedField> more);

}  // namespace prefixd
