// Tests the loader of libprefixd_cuda.so with modules that stand in for it, and with the real one where it is
// built. No device is needed.
#include "kernels/cuda/module_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace prefixd::cuda {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

std::string StandIn(const std::string& name) {
  return std::string(STAND_IN_FOLDER) + "/libcuda_stand_in_" + name + ".so";
}

TEST(ModuleLoader, LooksBesideTheProgram) {
  const std::string path = ModulePath();
  EXPECT_EQ(std::filesystem::path(path).parent_path(),
            std::filesystem::read_symlink("/proc/self/exe").parent_path());
  EXPECT_THAT(path, EndsWith("/libprefixd_cuda.so"));
}

TEST(ModuleLoader, NoModuleIsTheUsualCase) {
  EXPECT_EQ(LoadModule("/nowhere/libprefixd_cuda.so").status().code(), Code::kNotFound);
  const ModuleState state = StateOf("/nowhere/libprefixd_cuda.so");
  EXPECT_FALSE(state.present);
  EXPECT_EQ(state.devices, 0);
  EXPECT_EQ(state.reason, "libprefixd_cuda.so is not beside the program");
  const auto runtime = CreateRuntime(state, 0);
  EXPECT_EQ(runtime.status().code(), Code::kUnsupported);
  EXPECT_EQ(runtime.status().message(), state.reason);
}

TEST(ModuleLoader, AModuleWithoutADriverSaysSo) {
  const ModuleState state = StateOf(StandIn("driverless"));
  EXPECT_TRUE(state.present);
  EXPECT_NE(state.module, nullptr);
  EXPECT_EQ(state.devices, 0);
  EXPECT_EQ(state.reason, "there is no NVIDIA driver (stand-in)");
  EXPECT_EQ(CreateRuntime(state, 0).status().code(), Code::kUnsupported);
}

TEST(ModuleLoader, AModuleOfAnotherBuildIsRefused) {
  const struct {
    const char* name;
    std::string words;
  } cases[] = {
      {"abi", "has the module ABI " + std::to_string(kModuleAbi + 1) + ", and this program has " +
                  std::to_string(kModuleAbi)},
      {"version", "belongs to prefixd 0.0.0-other, and this is "},
      {"table", "has other kernels than this program needs"},
      {"kernels", "has other kernels than this program needs"},
      {"entry", "is not a module of prefixd: it lacks prefixd_cuda_module"},
  };
  for (const auto& [name, words] : cases) {
    const auto module = LoadModule(StandIn(name));
    EXPECT_EQ(module.status().code(), Code::kUnsupported) << name;
    EXPECT_THAT(module.status().message(), HasSubstr(words)) << name;
    EXPECT_THAT(module.status().message(), HasSubstr(StandIn(name))) << name;
    const ModuleState state = StateOf(StandIn(name));
    EXPECT_TRUE(state.present) << name;
    EXPECT_EQ(state.module, nullptr) << name;
    EXPECT_EQ(state.reason, module.status().message()) << name;
  }
}

TEST(ModuleLoader, AFileThatIsNoLibraryIsReported) {
  std::string path = testing::TempDir() + "module_XXXXXX";
  const int file = mkstemp(path.data());
  ASSERT_GE(file, 0);
  close(file);
  std::ofstream(path) << "not a library";
  const auto module = LoadModule(path);
  EXPECT_EQ(module.status().code(), Code::kIo);
  EXPECT_THAT(module.status().message(), HasSubstr("cannot load " + path));
  std::filesystem::remove(path);
}

TEST(ModuleLoader, GivesTheDeviceThatIsAskedFor) {
  const ModuleState state = StateOf(EMULATED_MODULE);
  EXPECT_EQ(state.devices, 2) << state.reason;
  EXPECT_EQ(state.reason, "");
  for (int device = 0; device < 2; ++device) {
    const auto runtime = CreateRuntime(state, device);
    ASSERT_TRUE(runtime.ok()) << runtime.status().ToString();
    EXPECT_EQ((*runtime)->facts().name, "emulated device");
  }
  const auto absent = CreateRuntime(state, 2);
  EXPECT_EQ(absent.status().code(), Code::kNotFound);
  EXPECT_EQ(absent.status().message(), "there is no CUDA device 2; the last one is 1");
}

// The module itself: it is of this build and complete, and loads without a driver.
TEST(ModuleLoader, TheRealModuleBelongsToThisProgram) {
  const std::string path = REAL_MODULE;
  if (access(path.c_str(), F_OK) != 0) GTEST_SKIP() << path << " is not built";
  const auto module = LoadModule(path);
  ASSERT_TRUE(module.ok()) << module.status().ToString();
  EXPECT_EQ((*module)->kernels, kKernels);
  int devices = 0;
  const Status counted = (*module)->count_devices(&devices);
  EXPECT_EQ(counted.ok(), devices > 0) << counted.ToString();
  if (access("/dev/nvidiactl", F_OK) == 0)
    GTEST_SKIP() << "a driver is here; the rest is for machines without";
  EXPECT_EQ(counted.message(), "there is no NVIDIA driver");
}

}  // namespace
}  // namespace prefixd::cuda
