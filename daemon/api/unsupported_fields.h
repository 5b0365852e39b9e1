// Request fields that prefixd does not support. They are rejected by name, never accepted and ignored. Plain
// values; any thread.
#pragma once

#include <span>
#include <string_view>

#include "daemon/api/request_fields.h"

namespace prefixd {

// The value of an unsupported field that is accepted, because it means the same as leaving the field out.
enum class AllowedValue { kNone, kFalse, kEmpty, kTextFormat };

struct UnsupportedField {
  std::string_view name;
  AllowedValue allowed;
  std::string_view feature;  // for the error message
};

// Fails for each unsupported field with a value that is neither absent nor null nor allowed. It checks the
// fields that no endpoint supports, and those in `more`.
void RejectUnsupportedFields(Fields& fields, std::span<const UnsupportedField> more);

}  // namespace prefixd
