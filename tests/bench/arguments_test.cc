// bench/arguments: what the command line accepts, and what its errors name.
#include "bench/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd::bench {
namespace {

using ::testing::HasSubstr;

Arguments Example() {
  return Arguments("name_bench", "Measures.",
                   {{"URL", "", "", "where"},
                    {"--runs", "N", "7", "how often"},
                    {"--rate", "R", "", "how fast"},
                    {"--kind", "NAME", "a", "a or b"},
                    {"--quick", "", "", "less of it"}});
}

Status Parse(Arguments* arguments, std::vector<const char*> words) {
  words.insert(words.begin(), "name_bench");
  return arguments->Parse(static_cast<int>(words.size()), words.data());
}

TEST(Arguments, OptionsAndPositionalArgumentsInAnyOrder) {
  Arguments arguments = Example();
  ASSERT_TRUE(Parse(&arguments, {"--quick", "--runs", "3", "x", "--rate=0.5"}).ok());
  EXPECT_EQ(arguments.Text("URL"), "x");
  EXPECT_EQ(arguments.Integer("--runs", 1, 10).value(), 3);
  EXPECT_EQ(arguments.Positive("--rate").value(), 0.5);
  EXPECT_TRUE(arguments.Given("--quick"));
  EXPECT_EQ(arguments.OneOf("--kind", {"a", "b"}).value(), "a");
  EXPECT_FALSE(arguments.Given("--kind"));
}

TEST(Arguments, ErrorsNameTheArgument) {
  const std::pair<std::vector<const char*>, const char*> cases[] = {
      {{"x", "--rusn", "3"}, "unknown option '--rusn'"},
      {{"x", "y"}, "unexpected argument 'y'"},
      {{}, "URL is missing"},
      {{"x", "--runs"}, "--runs needs a value"},
      {{"x", "--quick=1"}, "--quick takes no value"}};
  for (const auto& [words, message] : cases) {
    Arguments arguments = Example();
    EXPECT_THAT(Parse(&arguments, words).message(), HasSubstr(message));
  }
}

TEST(Arguments, ErrorsNameTheValue) {
  Arguments arguments = Example();
  ASSERT_TRUE(Parse(&arguments, {"x", "--runs", "11", "--rate", "-1", "--kind", "c"}).ok());
  EXPECT_THAT(arguments.Integer("--runs", 1, 10).status().message(), HasSubstr("--runs '11'"));
  EXPECT_THAT(arguments.Positive("--rate").status().message(), HasSubstr("--rate '-1'"));
  EXPECT_THAT(arguments.OneOf("--kind", {"a", "b"}).status().message(), HasSubstr("--kind 'c': one of a, b"));
  for (const char* wrong : {"", "1x", "x", "1e400", "nan", "inf"}) {
    ASSERT_TRUE(Parse(&arguments, {"x", "--runs", wrong, "--rate", wrong}).ok());
    EXPECT_FALSE(arguments.Integer("--runs", 1, 10).ok()) << wrong;
    EXPECT_FALSE(arguments.Positive("--rate").ok()) << wrong;
  }
}

TEST(Arguments, UsageListsEveryOptionWithItsDefault) {
  const std::string usage = Example().Usage();
  EXPECT_THAT(usage, HasSubstr("usage: name_bench URL [OPTION]..."));
  EXPECT_THAT(usage, HasSubstr("--runs N"));
  EXPECT_THAT(usage, HasSubstr("how often (default 7)"));
}

}  // namespace
}  // namespace prefixd::bench
