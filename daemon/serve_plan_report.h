// A ServePlan as text and as JSON: the model, its memory and the limits. Pure; any thread.
//
// Invariant: both forms are made from one list of facts, so they contain the same facts.
#pragma once

#include <string>

#include "daemon/serve_plan.h"

namespace prefixd {

// One line per fact: "name: text".
std::string ServePlanAsText(const ServePlan& plan);
// {"schema":1,"ok":true,...}: one member per fact, named with underscores, and further members with bare
// numbers.
std::string ServePlanAsJson(const ServePlan& plan);

}  // namespace prefixd
