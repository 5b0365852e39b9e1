#include "daemon/service_socket.h"

#include <sys/socket.h>

#include "daemon/http/listen.h"
#include "daemon/process_control.h"
#include "daemon/relaunch.h"

namespace prefixd {
namespace {

bool IsStream(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

}  // namespace

// An error counts, too: after a Relaunch, or when the server has closed the socket, the number is another
// file's, or nobody's.
bool HasServiceListener() { return PassedSockets() != 0; }

Result<int> ServiceListener(const std::string& address) {
  if (WasRelaunched()) return -1;
  const int count = PassedSockets();
  if (count < 0) return InvalidArgument("LISTEN_FDS and LISTEN_PID are not what a service manager sets");
  if (count == 0) return -1;
  if (count > 1) {
    return InvalidArgument("the service manager passes " + std::to_string(count) +
                           " sockets; keep one ListenStream= in prefixd.socket");
  }
  const int fd = kFirstPassedSocket;
  if (!IsStream(fd) || !IsListening(fd)) {
    return InvalidArgument(
        "the service manager passes a descriptor that is not a listening stream socket; set ListenStream= "
        "and Accept=no in prefixd.socket");
  }
  PREFIXD_ASSIGN_OR_RETURN(const bool same, ListensOn(fd, address));
  if (!same) {
    const Listener listener = AdoptListener(fd, "");
    return InvalidArgument("the service manager passes the socket " +
                           (listener.url.empty() ? "unix:" + listener.unix_path : listener.url) +
                           ", but --listen is " + address +
                           "; set both to one address: ListenStream= in prefixd.socket, and listen");
  }
  return fd;
}

}  // namespace prefixd
