// The options of the cache of an engine: what the engine was asked for, and what follows from the model. Pure
// functions; any thread.
#pragma once

#include "cache/prefix_cache.h"
#include "cache/what_if.h"
#include "engine/engine.h"
#include "kernels/model_plan.h"

namespace prefixd {

PrefixCache::Options CacheOptions(const EngineOptions& options, const ModelShape& model);
WhatIf::Options WhatIfOptions(const EngineOptions& options);

}  // namespace prefixd
