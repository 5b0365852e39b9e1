// Whether a request may have its Host header: a page of another origin whose name was made to resolve to the
// admin listener (DNS rebinding) still sends its own name. Pure functions; any thread.
#pragma once

#include <string_view>

namespace prefixd {

// True for an IP address, for "localhost", and for the name in `listen`, each with or without a port.
// `listen` is ADDR:PORT, or unix:PATH, where there may be no Host as well. A page does not reach a Unix
// socket, but a port that somebody forwards to it.
bool MayHaveHost(std::string_view host, std::string_view listen);

}  // namespace prefixd
