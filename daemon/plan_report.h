// A plan explained, for people and for programs: the model, what it takes of memory, and the limits that follow. Pure; any
// thread.
//
// Invariant: both forms come from one list of facts, so that neither says what the other lacks.
#pragma once

#include <string>

#include "daemon/plan.h"

namespace prefixd {

// A line per fact, "name: text".
std::string PlanAsText(const Plan& plan);
// {"schema":1,"ok":true,...}: a member per fact, its name with underscores, and the bare numbers beside it.
std::string PlanAsJson(const Plan& plan);

}  // namespace prefixd
