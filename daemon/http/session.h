// One connection: reads requests, passes them to the handler one after the other, and sends the responses.
// Only the two source files of the server that use Asio include this header.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>

#include "daemon/http/server_context.h"

namespace prefixd {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

// Takes ownership of the connection. The socket's executor is its strand. Any thread.
void StartSession(StreamSocket socket, std::shared_ptr<ServerContext> server);

}  // namespace prefixd
