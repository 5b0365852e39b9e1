// The routes of the admin listener: documents by GET, and actions by POST (admin_actions.h).
//
//   /                       the page, and its files (page_files.h); they need no key, because a browser has
//                           none before it shows them. The page asks for the key that its data needs.
//   /admin/ready            the document of /ready; needs no key, because a health check has none
//   /admin/status           StatusDocument
//   /admin/events           StatusDocument without prefixes, as a stream of events (status_stream.h)
//   /admin/prefixes         PrefixesDocument
//   /admin/misses           MissesDocument
//   /admin/requests         RequestsDocument of the last requests: ?limit=N, at most 100
//   /admin/requests/ID      that of the requests with this id; 404 when none of the last ones has it
//   /admin/drain, purge, pin, unpin    actions
//
// Threads: handlers run on io threads and wait for nobody: the answers of /admin/status and /admin/prefixes
// come a little later when they need a look through the tree, which the engine thread takes in turns.
//
// Invariant: what the Host check (host_check.h) and the key allow is answered, everything else is refused.
#pragma once

#include <functional>
#include <string>

#include "daemon/admin/documents.h"
#include "daemon/admin/status_stream.h"
#include "daemon/api/context.h"
#include "daemon/cache_actions.h"
#include "daemon/http/exchange.h"
#include "daemon/http/router.h"

namespace prefixd {

struct AdminContext {
  const ApiContext* api = nullptr;  // its phases, checks, keys and clock; a Unix socket needs no key
  std::string listen;               // --admin-listen
  std::function<AdminFacts()> facts;
  std::function<Rates(const EngineStats&)> rates;
  std::function<std::vector<PastRates>()> past;
  std::function<EngineView*()> view;       // null while the model loads
  std::function<CacheActions*()> actions;  // null while the model loads
  std::function<void()> drain;             // does what SIGTERM does
  AdminCounters* counters = nullptr;
  StatusStreams* streams = nullptr;
};
// The status without a look at the prefixes, as text: that of the streams.
std::string StatusText(const AdminContext& context);

// Adds the routes. `context` outlives the router.
void AddAdminRoutes(Router* router, const AdminContext* context);
// Checks the Host, then lets the router answer.
void HandleAdminRequest(const Router& router, const AdminContext& context,
                        std::shared_ptr<Exchange> exchange);

}  // namespace prefixd
