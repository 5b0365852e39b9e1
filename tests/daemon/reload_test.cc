#include "daemon/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

class ReloadTest : public testing::Test {
 protected:
  static Options With(std::vector<Setting> settings) {
    const std::vector<Setting> layers[] = {std::move(settings)};
    return *BuildOptions(layers);
  }
  // Writes a file of keys and returns its path.
  std::string File(const std::string& name, const std::string& text) {
    const std::string path = (folder_.path() / name).string();
    std::ofstream(path) << text;
    return path;
  }
  using Keys = std::vector<std::string>;
  static std::vector<ApiKey> Entries(const Keys& keys) {
    std::vector<ApiKey> entries;
    for (const std::string& key : keys) entries.push_back(PlainKey(key));
    return entries;
  }
  static Result<Reload> Read(const Options& now, const Keys& keys, Options next) {
    return ReadReload(now, Entries(keys), [&]() -> Result<Options> { return next; });
  }

  testing_support::TempDir folder_;
};

TEST_F(ReloadTest, NothingHasChanged) {
  const Result<Reload> reload = Read(With({}), {}, With({}));
  ASSERT_TRUE(reload.ok());
  EXPECT_THAT(reload->changed, IsEmpty());
  EXPECT_THAT(reload->needs_restart, IsEmpty());
}

TEST_F(ReloadTest, TheLogLevelTakesEffectAndTheRestIsNamed) {
  const Options next =
      With({{"log-level", "debug", ""}, {"threads", "3", ""}, {"disk-write-through", "true", ""}});
  const Result<Reload> reload = Read(With({}), {}, next);
  ASSERT_TRUE(reload.ok());
  EXPECT_THAT(reload->changed, ElementsAre("log-level"));
  EXPECT_THAT(reload->needs_restart, ElementsAre("threads", "disk-write-through"));
  EXPECT_EQ(reload->options.log_level, "debug");
  EXPECT_EQ(reload->options.threads, kAuto) << "what does not take effect is not in effect";
}

TEST_F(ReloadTest, TheFileOfKeysIsReadAgain) {
  const std::string path = File("keys", "one\ntwo\n");
  const Options options = With({{"api-keys", path, ""}});
  const Result<Reload> reload = Read(options, {"one"}, options);
  ASSERT_TRUE(reload.ok());
  EXPECT_THAT(reload->keys, ElementsAreArray(Entries({"one", "two"})));
  EXPECT_THAT(reload->changed, ElementsAre("api-keys"));
  const Result<Reload> same = Read(options, {"one", "two"}, options);
  ASSERT_TRUE(same.ok());
  EXPECT_THAT(same->changed, IsEmpty());
  const Result<Reload> other = Read(options, {"one"}, With({{"api-keys", File("other", "three"), ""}}));
  ASSERT_TRUE(other.ok());
  EXPECT_THAT(other->keys, ElementsAreArray(Entries({"three"})));
}

TEST_F(ReloadTest, WhetherKeysAreRequiredNeedsARestart) {
  const Options none = With({}), some = With({{"api-keys", File("keys", "one\n"), ""}});
  const Result<Reload> added = Read(none, {}, some);
  ASSERT_TRUE(added.ok());
  EXPECT_THAT(added->needs_restart, ElementsAre("api-keys"));
  EXPECT_THAT(added->keys, IsEmpty());
  const Result<Reload> removed = Read(some, {"one"}, none);
  ASSERT_TRUE(removed.ok());
  EXPECT_THAT(removed->needs_restart, ElementsAre("api-keys"));
  EXPECT_THAT(removed->keys, ElementsAreArray(Entries({"one"})));
}

TEST_F(ReloadTest, WhatIsBrokenIsAnError) {
  const Options options = With({{"api-keys", File("keys", "# no key\n"), ""}});
  EXPECT_THAT(Read(options, {"one"}, options).status().message(), HasSubstr("contains no key"));
  const Result<Reload> faults = ReadReload(
      options, Entries({"one"}), []() -> Result<Options> { return InvalidArgument("file:1: wrong"); });
  EXPECT_EQ(faults.status().message(), "file:1: wrong");
}

TEST_F(ReloadTest, OptionsThatAreNotDefaultsAreShownWithTheirValues) {
  EXPECT_THAT(ChangedOptions(With({})), IsEmpty());
  EXPECT_THAT(
      ChangedOptions(With({{"model", "m", ""}, {"threads", "3", ""}, {"no-prefix-cache", "true", ""}})),
      ElementsAre(Pair("model", "m"), Pair("threads", "3"), Pair("no-prefix-cache", "true")));
}

}  // namespace
}  // namespace prefixd
