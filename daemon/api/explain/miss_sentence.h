// Why a token of a prompt was not found in the cache, in words. Pure functions; any thread.
#pragma once

#include <string>

#include "engine/request.h"

namespace prefixd {

// One sentence. `scheduled` is when the request began to run, on the engine's clock.
std::string MissSentence(const FirstMiss& miss, double scheduled);

}  // namespace prefixd
