#include "daemon/admin/admin_server.h"

#include <utility>

#include "daemon/limit_table.h"

namespace prefixd {

Result<std::unique_ptr<AdminServer>> AdminServer::Start(const ApiContext* api, std::string listen,
                                                        std::function<AdminFacts()> facts,
                                                        std::function<EngineView*()> view) {
  constexpr unsigned kOwnerAndGroup = 0660;
  std::unique_ptr<AdminServer> admin(new AdminServer);
  admin->context_ = {
      .api = api,
      .listen = listen,
      .facts = std::move(facts),
      .rates = [raw = admin.get(),
                api](const EngineStats& stats) { return raw->rates_.Until(api->clock->NowSeconds(), stats); },
      .past = [raw = admin.get()] { return raw->rates_.Past(); },
      .view = std::move(view)};
  AddAdminRoutes(&admin->router_, &admin->context_);
  HttpServerOptions http;
  http.listen = std::move(listen);
  http.listen_option = "--admin-listen";
  http.unix_mode = kOwnerAndGroup;
  http.io_threads = 1;
  http.worker_threads = 1;
  http.max_connections = Limit("admin-connections");
  http.max_body_bytes = kSmallBodyBytes;
  http.max_inflight_bytes = Limit<size_t>("admin-inflight");
  PREFIXD_ASSIGN_OR_RETURN(admin->server_, HttpServer::Start(
                                               std::move(http),
                                               [raw = admin.get()](std::shared_ptr<Exchange> exchange) {
                                                 HandleAdminRequest(raw->router_, raw->context_,
                                                                    std::move(exchange));
                                               },
                                               [](const HttpRequest&) { return false; }));
  return admin;
}

void AdminServer::Sample() { rates_.Sample(context_.api->clock->NowSeconds(), context_.facts().engine); }

}  // namespace prefixd
