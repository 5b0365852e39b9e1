// The API of Anthropic: POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include "daemon/api/api.h"

namespace prefixd {

extern const Api kAnthropicApi;

}  // namespace prefixd
