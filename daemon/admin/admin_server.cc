#include "daemon/admin/admin_server.h"

#include <utility>

#include "daemon/limit_table.h"

namespace prefixd {

Result<std::unique_ptr<AdminServer>> AdminServer::Start(AdminContext context) {
  constexpr unsigned kOwnerAndGroup = 0660;
  std::unique_ptr<AdminServer> admin(new AdminServer);
  AdminServer* const raw = admin.get();
  raw->context_ = std::move(context);
  const Clock* const clock = raw->context_.api->clock;
  raw->context_.rates = [raw, clock](const EngineStats& stats) {
    return raw->rates_.Until(clock->NowSeconds(), stats);
  };
  raw->context_.past = [raw] { return raw->rates_.Past(); };
  raw->streams_ = std::make_unique<StatusStreams>(clock, raw->context_.counters,
                                                  [raw] { return StatusText(raw->context_); });
  raw->context_.streams = raw->streams_.get();
  AddAdminRoutes(&admin->router_, &admin->context_);
  HttpServerOptions http;
  http.listen = raw->context_.listen;
  http.listen_option = "--admin-listen";
  http.unix_mode = kOwnerAndGroup;
  http.io_threads = 1;
  http.worker_threads = 1;
  http.max_connections = Limit("admin-connections");
  http.max_body_bytes = kSmallBodyBytes;
  http.max_backlog_bytes = Limit<size_t>("admin-backlog");
  http.max_inflight_bytes = Limit<size_t>("admin-inflight");
  PREFIXD_ASSIGN_OR_RETURN(
      admin->server_, HttpServer::Start(
                          std::move(http),
                          [raw](std::shared_ptr<Exchange> exchange) {
                            HandleAdminRequest(raw->router_, raw->context_, std::move(exchange));
                          },
                          [raw](const HttpRequest& request) { return raw->router_.WantsBody(request); }));
  return admin;
}

void AdminServer::Sample() { rates_.Sample(context_.api->clock->NowSeconds(), context_.facts().engine); }

}  // namespace prefixd
