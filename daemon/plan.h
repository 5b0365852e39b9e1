// What `serve` would do with its options, worked out before any weight is read: files checked, model looked at, limits derived.
// `validate` prints it (plan_report.h). Main thread.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "daemon/memory_limit.h"
#include "daemon/options.h"
#include "daemon/sizing.h"
#include "engine/engine.h"
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
  MemoryState memory;         // as it was then
  size_t activation_bytes = 0;
  Limits limits;
};

// What a step of the forward pass is made for: logits for every sequence that generates, and for prompts that are scored.
TransformerLimits StepLimits(const Options& options, int context);

// On an error *code says which of the exit codes it is.
Result<Plan> MakePlan(const Options& options, const MemoryState& memory, ExitCode* code);

}  // namespace prefixd
