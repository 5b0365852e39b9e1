// The options of the cache of an engine: what the engine was asked for, and what follows from the model. A
// pure function; any thread.
#pragma once

#include "cache/prefix_cache.h"
#include "engine/engine.h"
#include "kernels/model_plan.h"

namespace prefixd {

PrefixCache::Options CacheOptions(const EngineOptions& options, const ModelShape& model);

}  // namespace prefixd
