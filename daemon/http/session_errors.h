// The answers to requests that could not be read. Only the session includes this header. Pure; any thread.
#pragma once

#include <boost/system/error_code.hpp>
#include <optional>
#include <string>

#include "daemon/http/error_response.h"
#include "daemon/http/server.h"

namespace prefixd {

// The error that answers a request whose reading failed with `error`. Nothing when the connection failed, so
// that no answer would arrive. `place` is what was read: "the headers".
std::optional<ApiError> ReadErrorAnswer(boost::system::error_code error, bool timed_out,
                                        const std::string& place, const HttpServerOptions& options);

}  // namespace prefixd
