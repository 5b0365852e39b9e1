// AdminServer: the second listener of a daemon, for its operators. It has the session code of the first one,
// one io thread and few connections of its own, so that it answers when all of the others are taken, and
// takes nothing from them.
//
// Threads: the main thread. The functions of the context run on the io thread.
//
// Requires that `listen` is a loopback address or a Unix socket, or that there are keys: MakeServePlan checks
// it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "daemon/admin/admin_routes.h"
#include "daemon/admin/rate_history.h"
#include "daemon/http/server.h"

namespace prefixd {

class AdminServer {
 public:
  // `context` has api, listen, facts, view, drain and counters, which outlive the server. Returns the errors
  // of ListenOn.
  static Result<std::unique_ptr<AdminServer>> Start(AdminContext context);

  const std::string& url() const { return server_->url(); }
  // Call it every RateHistory::kSampleSeconds, while the model is loaded.
  void Sample();

 private:
  AdminServer() = default;

  AdminContext context_;
  RateHistory rates_;
  std::unique_ptr<StatusStreams> streams_;
  Router router_;
  std::unique_ptr<HttpServer> server_;  // destroyed first: its handlers use the others
};

}  // namespace prefixd
