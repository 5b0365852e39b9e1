#include "daemon/admin/host_check.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(HostCheck, AddressesAndTheNameThatIsListenedOnMayCome) {
  for (const char* host : {"127.0.0.1:9", "127.0.0.1", "10.1.2.3:80", "localhost", "LocalHost:7", "[::1]:9",
                           "[::1]", "[fe80::1]:80"})
    EXPECT_TRUE(MayHaveHost(host, "127.0.0.1:9")) << host;
  EXPECT_TRUE(MayHaveHost("Node-7:9", "node-7:9"));
  for (const char* host : {"", "localhost", "localhost:8081", "127.0.0.1:8081"})
    EXPECT_TRUE(MayHaveHost(host, "unix:/run/admin")) << host;
}

TEST(HostCheck, NamesOfOthersAreRefused) {
  for (const char* host :
       {"", ":9", "attacker.example", "attacker.example:9", "localhost.attacker.example",
        "127.0.0.1.attacker.example", "[::1", "[::1]x", "[attacker.example]", "127.0.0.1x", "localhost\t"})
    EXPECT_FALSE(MayHaveHost(host, "127.0.0.1:9")) << host;
  EXPECT_FALSE(MayHaveHost("node-8:9", "node-7:9"));
  for (const char* host : {"attacker.example:8081", "unix", "unix:8081"})
    EXPECT_FALSE(MayHaveHost(host, "unix:/run/admin")) << "a port may be forwarded to it: " << host;
}

}  // namespace
}  // namespace prefixd
