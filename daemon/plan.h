// What `serve` would do with its options, worked out before any weight is read: files checked, model looked at, limits derived.
// `validate` prints it. Main thread.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/options.h"
#include "daemon/sizing.h"
#include "engine/loaded_model.h"

namespace prefixd {

enum ExitCode { kExitWell = 0, kExitFailed = 1, kExitWrongUsage = 2, kExitModelRefused = 3 };

struct Plan {
  std::vector<std::string> api_keys;
  std::string chat_template;  // text; empty: the model's own
  ModelSummary model;
  std::string served_name;
  std::string backend;        // resolved: "auto" is the name of the best here
  DType kv_dtype = DType::kF32;
  Limits limits;
};

// On an error *code says which of the exit codes it is.
Result<Plan> MakePlan(const Options& options, uint64_t available_memory, ExitCode* code);

// For people: a line per fact. As JSON: {"schema":1,"ok":true,...}.
std::string PlanAsText(const Plan& plan);
std::string PlanAsJson(const Plan& plan);

}  // namespace prefixd
