// A ServePlan as text and as JSON: the model, its memory, the limits and the probed rates. Pure; any thread.
//
// Invariant: both forms are made from one list of facts, so they contain the same facts.
#pragma once

#include <string>

#include "daemon/serve_plan.h"
#include "daemon/serve_plan_probe.h"

namespace prefixd {

// One line per fact: "name: text"; the parts of the memory plan follow on lines of their own.
std::string ServePlanAsText(const ServePlan& plan, const ProbedRates& rates);
// {"schema":1,"ok":true,...}: one member per fact, named with underscores, and further members with bare
// numbers.
std::string ServePlanAsJson(const ServePlan& plan, const ProbedRates& rates);

}  // namespace prefixd
