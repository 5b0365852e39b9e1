// One connection: reads requests, passes them to the handler one after the other, and sends the responses.
// Only the two source files of the server that use Asio include this header.
#pragma once

#include <memory>

#include "daemon/http/server_context.h"
#include "daemon/http/stream.h"

namespace prefixd {

// Takes ownership of the connection. The executor of its socket is its strand. Any thread.
void StartSession(std::unique_ptr<Stream> stream, std::shared_ptr<ServerContext> server);

}  // namespace prefixd
