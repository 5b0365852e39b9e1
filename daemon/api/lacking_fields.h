// What clients may ask for and prefixd does not have: refused by name, never accepted and ignored. Plain
// values; any thread.
#pragma once

#include <span>
#include <string_view>

#include "daemon/api/request_fields.h"

namespace prefixd {

// The value of a field that means "not asked for".
enum class Neutral { kAbsent, kFalse, kEmpty, kText };

struct LackingField {
  std::string_view name;
  Neutral neutral;
  std::string_view what;
};

// An error for those that are neither absent nor neutral: of every endpoint, and of `more`.
void RefuseWhatIsLacking(Fields& fields, std::span<const LackingField> more);

}  // namespace prefixd
