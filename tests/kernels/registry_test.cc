// Tests the table of backends: listing, creation by name, and error messages.
#include "kernels/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/numerics.h"

namespace prefixd {
namespace {

using testing::HasSubstr;

TEST(Registry, ListsEveryBackendAndTheReasonWhyOneDoesNotRun) {
  const auto list = ListBackends();
  ASSERT_GE(list.size(), 3u);
  EXPECT_EQ(list[0].name, "ref");
  EXPECT_TRUE(list[0].runs_here);
  for (const BackendInfo& info : list) EXPECT_EQ(info.runs_here, info.reason.empty()) << info.name;
}

// libprefixd_cuda.so is not in the folder of this program.
TEST(Registry, CudaIsListedAndSaysThatItsModuleIsAbsent) {
  const auto list = ListBackends();
  EXPECT_EQ(list.back().name, "cuda");
  EXPECT_FALSE(list.back().runs_here);
  EXPECT_FALSE(list.back().installed);
  EXPECT_EQ(list.back().reason, "libprefixd_cuda.so is not beside the program");
  EXPECT_EQ(CreateBackend("cuda", 1).status().message(),
            "backend 'cuda' does not run here: libprefixd_cuda.so is not beside the program");
  EXPECT_NE(CreateBackend("auto", 1, {.device = 5}).value()->name(), "cuda");
  EXPECT_EQ(CreateOperations("cuda", 1).status().code(), Code::kUnsupported);
}

TEST(Registry, CreatesBackendsThatRunAndRejectsTheOthersByName) {
  for (const BackendInfo& info : ListBackends()) {
    auto backend = CreateBackend(info.name, 2);
    ASSERT_EQ(backend.ok(), info.runs_here) << info.name;
    if (!backend.ok()) {
      EXPECT_EQ(backend.status().code(), Code::kUnsupported);
      EXPECT_THAT(backend.status().message(), HasSubstr(std::string(info.name)));
      continue;
    }
    EXPECT_EQ((*backend)->name(), info.name);
    if (info.name != "cuda") {
      EXPECT_EQ((*backend)->numerics_version(), "cpu-4");
      EXPECT_EQ((*CreateBackend(info.name, 2, {}, numerics::Version::kCpu1))->numerics_version(), "cpu-1");
    }
    EXPECT_EQ((*backend)->kv_layout_name(), kCpuKvLayoutName);
  }
}

TEST(Registry, AutoIsTheFastestThatRuns) {
  std::string_view best;
  for (const BackendInfo& info : ListBackends()) best = info.ForAuto() ? info.name : best;
  auto backend = CreateBackend("auto", 0);
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->name(), best);
  EXPECT_GE((*backend)->threads(), 1);
}

TEST(Registry, AnUnknownNameIsRejectedWithTheList) {
  auto backend = CreateBackend("sse9", 1);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.status().code(), Code::kNotFound);
  EXPECT_THAT(backend.status().message(), HasSubstr("sse9"));
  EXPECT_THAT(backend.status().message(), HasSubstr("avx512"));
}

}  // namespace
}  // namespace prefixd
