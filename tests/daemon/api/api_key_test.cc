// The file of API keys: its entries, what it refuses, and what becomes of a key in the cache.
#include "daemon/api/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "daemon/api/tenant.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Parse;
using testing_support::Text;

const std::string kHash = "sha256:62afe2aafd81d9b98aee2d7065a7a3a7d9d39d1b5e8d24c8eb7ea0f8bd1a0e57";

std::string Fault(const std::string& text) {
  const auto keys = ParseApiKeys(text);
  EXPECT_FALSE(keys.ok()) << text;
  return keys.status().message();
}

TEST(Digests, AreThoseOfTheStandards) {
  EXPECT_EQ(ToHex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(ToHex(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(DigestFromHex(ToHex(Sha256("abc"))), Sha256("abc"));
  EXPECT_EQ(DigestFromHex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), Sha256("abc"));
  for (const char* wrong : {"", "ba78", "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"})
    EXPECT_EQ(DigestFromHex(wrong), std::nullopt) << wrong;
  Digest other = Sha256("abc");
  EXPECT_TRUE(EqualInConstantTime(other, Sha256("abc")));
  for (uint8_t& byte : other) {
    byte ^= 1;
    EXPECT_FALSE(EqualInConstantTime(other, Sha256("abc")));
    byte ^= 1;
  }
}

TEST(ApiKeys, ALineIsAKeyOrAnEntry) {
  const auto keys = ParseApiKeys("# one\nsk-one \r\n\n" + kHash + "\ttenant=a.B-1_  rights=admin,generate\n" +
                                 "sha256:" + ToHex(Sha256("x")));
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  ASSERT_EQ(keys->size(), 3u);
  EXPECT_EQ((*keys)[0], (ApiKey{.hash = Sha256("sk-one"), .tenant = "", .generate = true, .admin = true}));
  EXPECT_EQ(
      (*keys)[1],
      (ApiKey{.hash = *DigestFromHex(kHash.substr(7)), .tenant = "a.B-1_", .generate = true, .admin = true}));
  EXPECT_EQ((*keys)[2], (ApiKey{.hash = Sha256("x"), .tenant = "", .generate = true, .admin = false}));
  for (const ApiKey& key : *keys) EXPECT_EQ(ParseApiKeys(KeyEntryText(key))->front(), key);
}

TEST(ApiKeys, LimitsAreThoseOfTheTenant) {
  const auto entry = [](const std::string& key, const std::string& fields) {
    return "sha256:" + ToHex(Sha256(key)) + fields + "\n";
  };
  const auto keys =
      ParseApiKeys(entry("a", " tenant=t tokens-per-minute=60") +
                   entry("b", " tenant=t requests-per-minute=3 tokens-per-minute=60") +
                   entry("c", " tenant=u") + entry("d", " tokens-per-minute=1000000000 weight=7") + "e");
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  const TenantLimits both{.requests_per_minute = 3, .tokens_per_minute = 60};
  EXPECT_EQ((*keys)[0].limits, both);
  EXPECT_EQ((*keys)[1].limits, both);
  EXPECT_EQ((*keys)[2].limits, TenantLimits());
  EXPECT_EQ((*keys)[3].limits, (TenantLimits{.tokens_per_minute = 1000000000, .weight = 7}));
  for (const ApiKey& key : *keys) EXPECT_EQ(ParseApiKeys(KeyEntryText(key))->front(), key);
  EXPECT_THAT(Fault(entry("a", " tenant=t tokens-per-minute=60") + "\n" +
                    entry("b", " tenant=t tokens-per-minute=61")),
              HasSubstr("line 3: tokens-per-minute of the tenant t differs from line 1"));
  for (const char* value : {"", "0", "-1", "1.5", "1e3", "60x", " 60", "1000000001", "99999999999999999999"})
    EXPECT_THAT(Fault(entry("a", std::string(" requests-per-minute=") + value)),
                HasSubstr("requests-per-minute is a whole number from 1 to 1000000000"));
  EXPECT_THAT(Fault(entry("a", " weight=1001")), HasSubstr("from 1 to 1000; without the field it is 1"));
}

TEST(ApiKeys, LimitsOfTheCacheAreSizes) {
  const std::string hash = "sha256:" + ToHex(Sha256("a"));
  const auto keys = ParseApiKeys(hash +
                                 " guaranteed-device-cache=1.5GiB guaranteed-host-cache=7 "
                                 "max-device-cache=2GB max-host-cache=1PiB");
  EXPECT_FALSE(keys.ok()) << "PiB is no unit";
  const auto sizes = ParseApiKeys(hash +
                                  " guaranteed-device-cache=1.5GiB guaranteed-host-cache=7 "
                                  "max-device-cache=2GB max-host-cache=1024TiB "
                                  "guaranteed-disk-cache=1GiB max-disk-cache=2GiB");
  ASSERT_TRUE(sizes.ok()) << sizes.status().message();
  EXPECT_EQ((*sizes)[0].limits, (TenantLimits{.guaranteed_device_cache = int64_t{3} << 29,
                                              .guaranteed_host_cache = 7,
                                              .guaranteed_disk_cache = int64_t{1} << 30,
                                              .max_device_cache = 2'000'000'000,
                                              .max_host_cache = int64_t{1} << 50,
                                              .max_disk_cache = int64_t{2} << 30}));
  EXPECT_EQ(ParseApiKeys(KeyEntryText((*sizes)[0]))->front(), (*sizes)[0]);
  for (const char* value : {"", "0", "-1", "x", "1XiB", "1025TiB", "1e999"})
    EXPECT_THAT(Fault(hash + " max-host-cache=" + value), HasSubstr("max-host-cache is a size from 1 byte"));
}

TEST(ApiKeys, AFaultNamesTheLineAndNeverTheKey) {
  EXPECT_THAT(Fault("a\nsecret key\n"), HasSubstr("line 2: a key has no blanks"));
  EXPECT_THAT(Fault("sha256:abcd tenant=a"), HasSubstr("line 1: sha256: is followed by 64"));
  EXPECT_THAT(Fault(kHash + " tenant="), HasSubstr("the name of a tenant has 1 to 64"));
  EXPECT_THAT(Fault(kHash + " tenant=a/b"), HasSubstr("the name of a tenant has 1 to 64"));
  EXPECT_THAT(Fault(kHash + " tenant=" + std::string(65, 'a')),
              HasSubstr("the name of a tenant has 1 to 64"));
  EXPECT_THAT(Fault(kHash + " rights=secret"), HasSubstr("rights are generate, admin"));
  EXPECT_THAT(Fault(kHash + " rights="), HasSubstr("a key without a right would be refused"));
  EXPECT_THAT(Fault(kHash + " secret=1"), HasSubstr("a field of an entry is tenant=NAME, rights=LIST"));
  EXPECT_THAT(Fault(kHash + " tenant=a tenant=b"), HasSubstr("the field tenant is given twice"));
  EXPECT_THAT(Fault("secret\n\nsecret"), HasSubstr("line 3: the key of line 1 again"));
  EXPECT_THAT(Fault("secret\nsha256:" + ToHex(Sha256("secret"))),
              HasSubstr("line 2: the key of line 1 again"));
  std::string many;
  for (size_t i = 0; i <= kMostKeys; ++i) many += "secret" + std::to_string(i) + "\n";
  EXPECT_THAT(Fault(many), HasSubstr("line 10001: more than 10000 keys"));
  for (const std::string& text :
       std::vector<std::string>{"secret key", "secret\nsecret", kHash + " secret=1", many})
    EXPECT_THAT(Fault(text), Not(HasSubstr("secret")));
}

// Computed by hmac and hashlib of Python from docs/FORMAT.md. A change loses all records of all tenants.
TEST(Tenants, HaveTheNamespacesOfTheFormat) {
  const auto hex = [](const std::string& bytes) {
    Digest digest;
    std::copy_n(bytes.begin(), digest.size(), digest.begin());
    return ToHex(digest);
  };
  ApiKey alice = PlainKey("sk-one");
  EXPECT_EQ(hex(NamespaceOf(alice, "").tenant),
            "834878eef1c6948036e5638fa46fdc60d08eef2117d81858c678ede456c08701");
  EXPECT_EQ(hex(NamespaceOf(alice, "s").salt),
            "8cb70728d968585b39ca84312fa8c27e33b2eff879f96995aaf6bb95f1413def");
  alice.tenant = "alice";
  EXPECT_EQ(hex(NamespaceOf(alice, "").tenant),
            "79f01cda23faa26e084a01061db41c9a71d8ab6eba69f8c6dfed00b76ddf4d85");
  EXPECT_EQ(hex(NamespaceOf(alice, "s").salt),
            "557ee4cb043e8ed4fc03615c1f287150d8505e3297d4564ea33119cd64ea18a2");
  EXPECT_NE(NamespaceOf(alice, "").salt, NamespaceOf(alice, "s").salt);
}

class KeyedApiTest : public ApiTest {
 protected:
  int Status(const std::string& path, const std::string& key) {
    return api_.Request("GET", path, "", {{"x-api-key", key}})->response.status;
  }
  CacheNamespace SpaceOf(const std::string& key, const std::string& fields) {
    api_.Request("POST", "/v1/completions", "{\"prompt\":\"x\"" + fields + "}", {{"x-api-key", key}});
    return api_.engine.request(api_.engine.submitted() - 1).cache_namespace;
  }
};

TEST_F(KeyedApiTest, AKeyWithoutTheRightIsForbidden) {
  ApiKey operators = PlainKey("for-operators"), users = PlainKey("for-users");
  operators.generate = users.admin = false;
  api_.context.api_keys = {operators, users};
  EXPECT_EQ(Status("/v1/models", "for-users"), 200);
  EXPECT_EQ(Status("/v1/models", "for-operators"), 403);
  EXPECT_EQ(Status("/v1/models", "for-nobody"), 401);
  const auto refused =
      api_.Request("POST", "/v1/completions", R"({"prompt":"x"})", {{"x-api-key", "for-operators"}});
  EXPECT_EQ(Text(At(Parse(refused->body()), "/error/code")), "forbidden");
  EXPECT_EQ(Text(At(Parse(refused->body()), "/error/type")), "permission_error");
}

TEST_F(KeyedApiTest, KeysOfATenantShareItsNamespaceAndThePublicOneIsOfAll) {
  ApiKey one = PlainKey("one"), two = PlainKey("two");
  one.tenant = two.tenant = "alice";
  api_.context.api_keys = {one, two, PlainKey("other"), PlainKey("alice")};
  const CacheNamespace of_one = SpaceOf("one", "");
  EXPECT_EQ(SpaceOf("two", ""), of_one);
  EXPECT_EQ(SpaceOf("two", R"(,"cache_scope":"tenant")"), of_one);
  for (const char* key : {"other", "alice"}) EXPECT_NE(SpaceOf(key, "").tenant, of_one.tenant) << key;
  const CacheNamespace salted = SpaceOf("two", R"(,"cache_salt":"s")");
  EXPECT_EQ(salted.tenant, of_one.tenant);
  EXPECT_NE(salted.salt, of_one.salt);
  const CacheNamespace shared = SpaceOf("one", R"(,"cache_scope":"public")");
  EXPECT_EQ(shared, SpaceOf("other", R"(,"cache_scope":"public")"));
  EXPECT_EQ(shared.tenant, "");
  const auto wrong = api_.Request("POST", "/v1/completions", R"({"prompt":"x","cache_scope":"all"})",
                                  {{"x-api-key", "one"}});
  EXPECT_EQ(wrong->response.status, 400);
  EXPECT_EQ(Text(At(Parse(wrong->body()), "/error/param")), "cache_scope");
}

TEST_F(KeyedApiTest, ManyKeysAreFoundAndOthersAreNot) {
  KeyRing::Keys keys;
  for (size_t i = 0; i < kMostKeys; ++i) keys.push_back(PlainKey("key-" + std::to_string(i)));
  api_.context.api_keys = keys;
  for (const char* key : {"key-0", "key-5000", "key-9999"}) EXPECT_EQ(Status("/v1/models", key), 200) << key;
  for (const char* key : {"key-10000", "key-", "", "Key-0", "key-0 "})
    EXPECT_EQ(Status("/v1/models", key), 401) << key;
}

}  // namespace
}  // namespace prefixd
