// One connection: reads requests, gives them to the handler one after the other, sends the answers. Included
// by the two source files of the server that know Asio, and by no others.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>

#include "daemon/http/session_host.h"

namespace prefixd {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

// Takes the connection over. The socket's executor is its strand. Any thread.
void StartSession(StreamSocket socket, std::shared_ptr<SessionHost> host);

}  // namespace prefixd
