#include "daemon/http_memory.h"

#include <gtest/gtest.h>

#include "daemon/http/server.h"

namespace prefixd {
namespace {

TEST(HttpMemory, TheLimitIsTheOptionButHoldsEightOfTheLargestBodies) {
  Options options{};
  options.max_inflight = 1000;
  options.max_body = 100;
  EXPECT_EQ(InflightLimitBytes(options), 1000u);
  options.max_body = 200;
  EXPECT_EQ(InflightLimitBytes(options), 1600u);
}

TEST(HttpMemory, ConnectionsTakeWhatOneTakes) {
  const HttpServerOptions http;
  Options options{};
  options.max_connections = 3;
  EXPECT_EQ(ConnectionsBytes(options), 3 * ConnectionBytes(http));
  EXPECT_GT(ConnectionBytes(http), http.max_header_bytes + kSmallBodyBytes);
  options.admin_listen = "unix:admin";
  EXPECT_EQ(ConnectionsBytes(options), 19 * ConnectionBytes(http) + (8u << 20)) << "and its answers";
}

}  // namespace
}  // namespace prefixd
