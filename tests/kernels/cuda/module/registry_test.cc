// Tests the table of backends where libprefixd_cuda.so lies beside the program: here, the emulated module.
#include "kernels/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace prefixd {
namespace {

using testing::HasSubstr;

TEST(CudaRegistry, TheBackendRunsAndIsTheFastest) {
  const auto list = ListBackends();
  EXPECT_EQ(list.back().name, "cuda");
  EXPECT_TRUE(list.back().runs_here) << list.back().reason;
  EXPECT_TRUE(list.back().installed);
  EXPECT_EQ(list.back().reason, "");
  for (const char* name : {"cuda", "auto"}) {
    const auto backend = CreateBackend(name, 0, {.device = 1});
    ASSERT_TRUE(backend.ok()) << backend.status().ToString();
    EXPECT_EQ((*backend)->name(), "cuda");
    EXPECT_THAT(std::string((*backend)->numerics_version()), HasSubstr("-sm90"));
  }
}

TEST(CudaRegistry, ADeterministicBackendHasNoLibrary) {
  ASSERT_EQ(setenv("EMULATED_CUDA_BLASLT", "1", 1), 0);
  EXPECT_EQ(CreateBackend("cuda", 0, {.deterministic = true}).value()->numerics_version(), "gpu-1-sm90");
  EXPECT_EQ(CreateBackend("cuda", 0).value()->numerics_version(), "gpu-1-sm90-blaslt");
  ASSERT_EQ(unsetenv("EMULATED_CUDA_BLASLT"), 0);
}

TEST(CudaRegistry, ADeviceThatIsNotThereIsAnErrorAlsoWithAuto) {
  for (const char* name : {"cuda", "auto"}) {
    const auto backend = CreateBackend(name, 0, {.device = 7});
    EXPECT_EQ(backend.status().code(), Code::kNotFound) << name;
    EXPECT_THAT(backend.status().message(), HasSubstr("no CUDA device 7; the last one is 1")) << name;
  }
  EXPECT_TRUE(CreateBackend("ref", 1, {.device = 7}).ok());
}

TEST(CudaRegistry, OperationsAreThoseOfTheCpu) {
  EXPECT_TRUE(CreateOperations("auto", 1).ok());
  EXPECT_EQ(CreateOperations("cuda", 1).status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace prefixd
