#include "daemon/tenant_caches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "daemon/api/tenant.h"

namespace prefixd {
namespace {

using testing::HasSubstr;

std::string Entry(const std::string& key, const std::string& fields) {
  return "sha256:" + ToHex(Sha256(key)) + fields + "\n";
}

TEST(TenantCaches, AreOneForEachTenantThoseWithLimitsFirst) {
  const auto keys = ParseApiKeys(Entry("a", " tenant=t guaranteed-device-cache=3MiB") +
                                 Entry("b", " tenant=t max-host-cache=5") + Entry("c", " tenant=u weight=3") +
                                 Entry("d", " max-device-cache=7") + "e");
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  const TenantCaches::List tenants = TenantCachesOf(*keys);
  ASSERT_EQ(tenants.size(), 4u);
  EXPECT_EQ(tenants[0].tenant, TenantOf((*keys)[0]));
  EXPECT_EQ(tenants[0].tenant, TenantOf((*keys)[1]));
  EXPECT_EQ(tenants[0].guaranteed[0], 3u << 20);
  EXPECT_EQ(tenants[0].most[1], 5u);
  EXPECT_EQ(tenants[1].tenant, TenantOf((*keys)[3]));
  EXPECT_EQ(tenants[1].most[0], 7u);
  EXPECT_EQ(tenants[2].weight, 3);
  EXPECT_FALSE(tenants[2].has_limits() || tenants[3].has_limits());
  EXPECT_TRUE(TenantCachesOf(*ParseApiKeys("a")).empty()) << "it is alone";
}

TEST(TenantCaches, OfTheDiskHaveAnOwnerForEachTenantWithLimits) {
  const auto keys = ParseApiKeys(Entry("a", " tenant=t guaranteed-disk-cache=3MiB") +
                                 Entry("b", " tenant=t max-disk-cache=4MiB") + Entry("c", " weight=3") +
                                 Entry("d", " max-device-cache=7") + "e");
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  const BlockKey fingerprint{1, 2};
  const std::vector<OwnerShare> expected{
      {.owner = TenantHalf(fingerprint, TenantOf((*keys)[0])), .guaranteed = 3 << 20, .most = 4 << 20},
      {.owner = TenantHalf(fingerprint, TenantOf((*keys)[2])), .weight = 3},
      {.owner = TenantHalf(fingerprint, TenantOf((*keys)[3]))}};
  EXPECT_EQ(DiskSharesOf(*keys, fingerprint), expected);
}

TEST(TenantCaches, TheTiersCanGiveWhatIsGuaranteed) {
  const auto check = [](const std::string& text) {
    return std::string(CheckTenantCaches(*ParseApiKeys(text), {4 << 20, 1 << 20, 8 << 20}).message());
  };
  const std::string three = " guaranteed-device-cache=3MiB", one = " guaranteed-device-cache=1MiB";
  EXPECT_EQ(check(Entry("a", three) + Entry("b", one)), "");
  EXPECT_EQ(check(Entry("a", " tenant=t" + three) + Entry("b", " tenant=t" + three)), "")
      << "it is one tenant";
  EXPECT_THAT(check(Entry("a", three) + Entry("b", three)),
              HasSubstr("guaranteed-device-cache of all tenants is 6.0 MiB, and at most 4.0 MiB can be"));
  EXPECT_THAT(check(Entry("a", " guaranteed-host-cache=2MiB")), HasSubstr("enlarge host-cache"));
  EXPECT_EQ(check(Entry("a", " guaranteed-disk-cache=8MiB")), "");
  EXPECT_THAT(check(Entry("a", " guaranteed-disk-cache=9MiB")),
              HasSubstr("at most 8.0 MiB can be guaranteed; lower it, or enlarge disk-cache"));
  EXPECT_THAT(check(Entry("a", one + " max-device-cache=100KiB")),
              HasSubstr("more than its max-device-cache"));
}

}  // namespace
}  // namespace prefixd
