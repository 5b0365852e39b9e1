// How the choices of a request are decoded. Pure function; any thread.
#pragma once

#include <cstddef>

#include "daemon/api/choice_decoder.h"
#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"

namespace prefixd {

// `choice` is a number among those of all prompts.
ChoiceDecoderOptions DecoderOptions(const GenerationRequest& asked, const ApiContext& context, size_t choice);

}  // namespace prefixd
