// Tests DeviceRuntime, which is what prefixd asks of CUDA, over the CUDA of the test (fake_cuda.h).
#include "kernels/cuda/module/device_runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/module/module_kernels.h"
#include "tests/kernels/cuda/module/fake_cuda.h"

namespace prefixd::cuda {
namespace {

using testing::HasSubstr;

// What the functions of kernels are for the fake: the only major capability that has them; 0: all.
const char kernel_function = 0, function_of_9 = 9;
const KernelGroup group({{KernelId::kGather, {"kGather", &kernel_function, 128}},
                         {KernelId::kAttention64WarpgroupF16,
                          {"kAttention64WarpgroupF16", &function_of_9, 128, 90}}});

class DeviceRuntimeTest : public testing::Test {
 protected:
  DeviceRuntimeTest() { fake_cuda::Reset(); }
  ~DeviceRuntimeTest() override {
    EXPECT_EQ(fake_cuda::Faults(), "");
    fake_cuda::Reset();  // frees what a lost device keeps
  }

  std::unique_ptr<DeviceRuntime> Open() {
    auto runtime = std::make_unique<DeviceRuntime>(0);
    const Status opened = runtime->Open();
    EXPECT_TRUE(opened.ok()) << opened.ToString();
    return runtime;
  }
};

TEST(CountDevices, SaysWhyThereIsNone) {
  int count = -1;
  fake_cuda::Reset();
  fake_cuda::SetDevices(2);
  EXPECT_TRUE(CountDevices(&count).ok());
  EXPECT_EQ(count, 2);
  fake_cuda::SetDevices(0);
  EXPECT_THAT(CountDevices(&count).message(), HasSubstr("finds no device"));
  fake_cuda::SetDriver(12040);
  EXPECT_THAT(CountDevices(&count).message(), HasSubstr("is for CUDA 12.4; it must be for CUDA 13.0"));
  fake_cuda::SetDriver(0);
  EXPECT_EQ(CountDevices(&count).code(), Code::kUnavailable);
  EXPECT_THAT(CountDevices(&count).message(), HasSubstr("no NVIDIA driver"));
  EXPECT_EQ(count, 0);
  fake_cuda::Reset();
  fake_cuda::Fail(0, cudaErrorSystemNotReady, false);
  EXPECT_THAT(CountDevices(&count).message(), HasSubstr("an error of the test"));
}

TEST_F(DeviceRuntimeTest, HasTheFactsOfTheDevice) {
  const auto runtime = Open();
  EXPECT_EQ(runtime->facts().name, "device of the test");
  EXPECT_EQ(runtime->facts().compute_capability, 90);
  EXPECT_EQ(runtime->facts().multiprocessors, 7);
  EXPECT_EQ(runtime->facts().bytes, size_t{1} << 20);
  EXPECT_EQ(runtime->facts().versions, "driver for CUDA 13.0, runtime 13.0");
  EXPECT_EQ(fake_cuda::Alive().streams, size_t{kStreams});
}

// The fake has a fault where another device is asked for it.
TEST_F(DeviceRuntimeTest, KernelsOfOneKindOfDeviceAreLeftOutOnOthers) {
  for (const auto& [major, minor] : {std::pair{8, 0}, {8, 9}, {9, 0}, {10, 0}, {12, 0}}) {
    fake_cuda::SetCapability(major, minor);
    EXPECT_EQ(Open()->facts().compute_capability, 10 * major + minor);
  }
}

TEST_F(DeviceRuntimeTest, AnOldDeviceIsRefused) {
  fake_cuda::SetCapability(7, 5);
  std::unique_ptr<CudaRuntime> runtime;
  const Status status = CreateDeviceRuntime(0, &runtime);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("the compute capability 7.5; the kernels need 8.0"));
  EXPECT_EQ(runtime, nullptr);
  EXPECT_EQ(fake_cuda::Alive().total(), 0u);
}

TEST_F(DeviceRuntimeTest, OutOfMemorySaysHowMuchIsFreeAndChangesNothing) {
  const auto runtime = Open();
  const auto memory = runtime->Allocate(size_t{256} << 10);
  ASSERT_TRUE(memory.ok());
  const auto more = runtime->Allocate(size_t{1} << 20);
  EXPECT_EQ(more.status().code(), Code::kResourceExhausted);
  EXPECT_THAT(more.status().message(),
              HasSubstr("no device memory for 1.0 MiB; 768.0 KiB of 1.0 MiB are free"));
  EXPECT_FALSE(runtime->lost());
  EXPECT_EQ(runtime->FreeBytes().value(), size_t{768} << 10);
  runtime->Free(*memory);
  EXPECT_EQ(runtime->FreeBytes().value(), size_t{1} << 20);
}

TEST_F(DeviceRuntimeTest, PinnedMemoryThatTheSystemRefusesIsOutOfMemory) {
  const auto runtime = Open();
  fake_cuda::Fail(fake_cuda::Calls() + 1, cudaErrorOperatingSystem, false);
  EXPECT_EQ(runtime->AllocatePinned(4096).status().code(), Code::kResourceExhausted);
  EXPECT_FALSE(runtime->lost());
}

TEST_F(DeviceRuntimeTest, CopiesAndZeroesInTheOrderOfAStream) {
  const auto runtime = Open();
  std::byte* const device = runtime->Allocate(8).value();
  std::byte* const other = runtime->Allocate(8).value();
  std::byte* const host = runtime->AllocatePinned(8).value();
  std::memcpy(host, "12345678", 8);
  fake_cuda::Hold();
  EXPECT_TRUE(runtime->CopyToDevice(Stream::kLoad, device, host, 8).ok());
  EXPECT_TRUE(runtime->Zero(Stream::kLoad, device, 3).ok());
  EXPECT_TRUE(runtime->CopyOnDevice(Stream::kLoad, other, device, 8).ok());
  const Event loaded = runtime->Record(Stream::kLoad).value();
  EXPECT_TRUE(runtime->WaitFor(Stream::kSpill, loaded).ok());
  EXPECT_TRUE(runtime->CopyToHost(Stream::kSpill, host, other, 8).ok());
  const Event spilled = runtime->Record(Stream::kSpill).value();
  EXPECT_FALSE(runtime->HasEnded(loaded).value());
  fake_cuda::RunNext(static_cast<size_t>(Stream::kSpill), 3);
  EXPECT_EQ(std::memcmp(host, "12345678", 8), 0) << "the spill did not wait";
  fake_cuda::RunNext(static_cast<size_t>(Stream::kLoad), 4);
  EXPECT_TRUE(runtime->HasEnded(loaded).value());
  EXPECT_FALSE(runtime->HasEnded(spilled).value());
  fake_cuda::Release();
  EXPECT_TRUE(runtime->Synchronize(spilled).ok());
  EXPECT_EQ(std::memcmp(host,
                        "\0\0\0"
                        "45678",
                        8),
            0);
  EXPECT_TRUE(runtime->CopyToHost(Stream::kSpill, host, other, 0).ok());
  runtime->Free(device);
  runtime->Free(other);
  runtime->FreePinned(host);
}

TEST_F(DeviceRuntimeTest, LaunchesAKernelWithItsGrid) {
  const auto runtime = Open();
  const GatherParams params{.rows = 3};
  const KernelLaunch launch{.kernel = KernelId::kGather,
                            .blocks_x = 5,
                            .blocks_y = 2,
                            .threads = 64,
                            .shared_bytes = 4096,
                            .params = &params};
  ASSERT_TRUE(runtime->Launch(Stream::kCompute, launch).ok());
  ASSERT_EQ(fake_cuda::Launches().size(), 1u);
  const fake_cuda::Launched& seen = fake_cuda::Launches().front();
  EXPECT_EQ(seen.function, &kernel_function);
  EXPECT_EQ(seen.blocks_x, 5u);
  EXPECT_EQ(seen.blocks_y, 2u);
  EXPECT_EQ(seen.threads, 64u);
  EXPECT_EQ(seen.shared_bytes, 4096u);
  EXPECT_EQ(seen.params, &params);
}

// Code for older devices, which a later one compiles for itself, does not await the launch before it.
TEST_F(DeviceRuntimeTest, ALaunchMayBeginEarlyWhereItsCodeAwaitsTheOneBefore) {
  for (const auto& [version, overlaps] : {std::pair(90, true), {80, false}}) {
    fake_cuda::Reset();
    fake_cuda::SetPtxVersion(version);
    const auto runtime = Open();
    const GatherParams params{};
    ASSERT_TRUE(runtime->Launch(Stream::kCompute, {.kernel = KernelId::kGather, .params = &params}).ok());
    ASSERT_EQ(fake_cuda::Launches().size(), 1u);
    EXPECT_EQ(fake_cuda::Launches().front().overlaps, overlaps) << version;
  }
}

TEST_F(DeviceRuntimeTest, LaunchesThatTheKernelCannotHaveAreBugs) {
  const auto runtime = Open();
  const GatherParams params{};
  const auto launch = [&](KernelLaunch wrong) {
    wrong.params = &params;
    (void)runtime->Launch(Stream::kCompute, wrong);
  };
  EXPECT_DEATH(launch({.kernel = KernelId::kGather, .threads = 160}), "kGather with 160 threads");
  EXPECT_DEATH(launch({.kernel = KernelId::kGather, .threads = 48}), "kGather with 48 threads");
  EXPECT_DEATH(launch({.kernel = KernelId::kGather, .blocks_x = 0}), "kGather: 0, 1");
  EXPECT_DEATH(launch({.kernel = KernelId::kGather, .shared_bytes = size_t{1} << 20}), "kGather: 1048576");
  EXPECT_DEATH(launch({.kernel = KernelId::kDraw}), "is absent");
}

// Records graphs of three launches.
class GraphCalls {
 public:
  explicit GraphCalls(DeviceRuntime* runtime) : runtime_(runtime) {}
  Status Record() {
    PREFIXD_RETURN_IF_ERROR(runtime_->BeginCapture(Stream::kCompute));
    Status launched;
    for (int i = 0; i < 3 && launched.ok(); ++i) {
      const GatherParams params{};
      launched = runtime_->Launch(Stream::kCompute, {.kernel = KernelId::kGather, .params = &params});
    }
    const Result<Graph> graph = runtime_->EndCapture(Stream::kCompute);
    if (graph.ok()) graphs_.push_back(*graph);
    return launched.ok() ? graph.status() : launched;
  }
  Status LaunchLast() { return runtime_->LaunchGraph(Stream::kCompute, graphs_.back()); }
  void Free() {
    for (const Graph graph : graphs_) runtime_->FreeGraph(graph);
    graphs_.clear();
  }

 private:
  DeviceRuntime* const runtime_;
  std::vector<Graph> graphs_;
};

TEST_F(DeviceRuntimeTest, AGraphHasTheLaunchesBetweenTheEndsOfACapture) {
  const auto runtime = Open();
  GraphCalls calls(runtime.get());
  ASSERT_TRUE(calls.Record().ok());
  ASSERT_TRUE(calls.Record().ok());
  EXPECT_EQ(fake_cuda::Launches().size(), 6u);
  EXPECT_TRUE(fake_cuda::Launches().back().overlaps) << "the edges of a graph are programmatic, too";
  EXPECT_EQ(fake_cuda::Alive().graphs, 2u);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(calls.LaunchLast().ok());
  EXPECT_EQ(fake_cuda::GraphLaunches(), std::vector<size_t>(4, 3));
  const GatherParams params{};
  ASSERT_TRUE(runtime->Launch(Stream::kCompute, {.kernel = KernelId::kGather, .params = &params}).ok());
  EXPECT_EQ(fake_cuda::Launches().size(), 7u);
  calls.Free();
  EXPECT_EQ(fake_cuda::Alive().graphs, 0u);
}

TEST_F(DeviceRuntimeTest, ACaptureThatFailsMakesNoGraphAndLosesNothing) {
  uint64_t failures = 0;
  for (uint64_t call = 0;; ++call) {
    SCOPED_TRACE(call);
    fake_cuda::Reset();
    const auto runtime = Open();
    GraphCalls calls(runtime.get());
    const uint64_t before = fake_cuda::Calls();
    fake_cuda::Fail(before + call, cudaErrorStreamCaptureUnsupported, false);
    const Status status = calls.Record();
    if (status.ok()) {
      calls.Free();
      break;
    }
    if (status.code() == Code::kUnavailable) continue;  // cudaSetDevice, with which each call begins
    ++failures;
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_THAT(status.message(), HasSubstr("an error of the test"));
    EXPECT_FALSE(runtime->lost());
    EXPECT_LE(fake_cuda::Alive().graphs, 1u) << "a graph that cannot be destroyed stays";
    EXPECT_TRUE(calls.Record().ok()) << "the stream is as before";
    EXPECT_TRUE(calls.LaunchLast().ok());
    calls.Free();
  }
  EXPECT_EQ(failures, 7u) << "begin, three launches, end, instantiate, destroy";
}

TEST_F(DeviceRuntimeTest, AGraphThatCannotBeLaunchedLosesTheDevice) {
  const auto runtime = Open();
  GraphCalls calls(runtime.get());
  ASSERT_TRUE(calls.Record().ok());
  fake_cuda::Fail(fake_cuda::Calls() + 1, cudaErrorLaunchFailure, true);
  EXPECT_EQ(calls.LaunchLast().code(), Code::kUnavailable);
  EXPECT_TRUE(runtime->lost());
  EXPECT_EQ(calls.Record().code(), Code::kUnavailable);
  calls.Free();
  EXPECT_EQ(fake_cuda::Alive().graphs, 1u) << "nothing of a lost device can be freed";
}

TEST_F(DeviceRuntimeTest, CapturesThatDoNotPairAreBugs) {
  const auto runtime = Open();
  EXPECT_DEATH((void)runtime->EndCapture(Stream::kCompute), "no capture");
  EXPECT_DEATH((void)runtime->LaunchGraph(Stream::kCompute, {5}), "5");
  EXPECT_DEATH(
      {
        (void)runtime->BeginCapture(Stream::kCompute);
        (void)runtime->BeginCapture(Stream::kCompute);
      },
      "a capture within a capture");
}

TEST_F(DeviceRuntimeTest, ALongRunOfEventsUsesFewOfThem) {
  const auto runtime = Open();
  std::vector<Event> events;
  for (int i = 0; i < 1000; ++i) events.push_back(runtime->Record(static_cast<Stream>(i % kStreams)).value());
  EXPECT_LE(runtime->events(), size_t{kStreams});
  for (const Event event : events) EXPECT_TRUE(runtime->HasEnded(event).value());
  EXPECT_TRUE(runtime->HasEnded(Event()).value());
  EXPECT_TRUE(runtime->Synchronize(Event()).ok());
  EXPECT_TRUE(runtime->WaitFor(Stream::kLoad, Event()).ok());
}

TEST_F(DeviceRuntimeTest, EventsInFlightHaveEachTheirOwn) {
  const auto runtime = Open();
  fake_cuda::Hold();
  std::vector<Event> events;
  for (int i = 0; i < 10; ++i) events.push_back(runtime->Record(Stream::kCompute).value());
  EXPECT_EQ(runtime->events(), 10u);
  fake_cuda::RunNext(0, 4);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(runtime->HasEnded(events[i]).value(), i < 4) << i;
  for (int i = 0; i < 4; ++i) events.push_back(runtime->Record(Stream::kCompute).value());
  EXPECT_EQ(runtime->events(), 10u);
  fake_cuda::RunNext(0, 6);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(runtime->HasEnded(events[i]).value(), i < 10) << i;
  fake_cuda::Release();
  EXPECT_TRUE(runtime->HasEnded(events.back()).value());
}

TEST_F(DeviceRuntimeTest, AnEventIsNotRecordedAgainWhileAThreadWaitsForIt) {
  const auto runtime = Open();
  fake_cuda::Hold();
  const Event first = runtime->Record(Stream::kCompute).value();
  std::atomic<bool> returned = false;
  std::thread waiter([&] {
    EXPECT_TRUE(runtime->Synchronize(first).ok());
    returned = true;
  });
  while (fake_cuda::Waiting() == 0) std::this_thread::yield();
  for (int i = 0; i < 5; ++i) (void)runtime->Record(Stream::kCompute).value();
  EXPECT_FALSE(returned);
  fake_cuda::RunNext(0, 1);
  // What follows must not need the rest of the stream.
  (void)runtime->Record(Stream::kCompute).value();
  waiter.join();
  EXPECT_TRUE(runtime->HasEnded(first).value());
  fake_cuda::Release();
}

// Runs everything that the runtime can do, and frees what it has. Returns the first error.
Status RunScript(CudaRuntime& runtime) {
  Status first;
  const auto note = [&](const Status& status) {
    if (first.ok()) first = status;
    return status.ok();
  };
  const auto device = runtime.Allocate(64);
  note(device.status());
  const auto host = runtime.AllocatePinned(64);
  note(host.status());
  note(runtime.FreeBytes().status());
  Event event;
  if (device.ok() && host.ok()) {
    note(runtime.CopyToDevice(Stream::kLoad, *device, *host, 64));
    note(runtime.Zero(Stream::kLoad, *device, 64));
    const auto recorded = runtime.Record(Stream::kLoad);
    if (note(recorded.status())) event = *recorded;
    note(runtime.WaitFor(Stream::kCompute, event));
    const GatherParams params{};
    note(runtime.Launch(Stream::kCompute, {.kernel = KernelId::kGather, .params = &params}));
    note(runtime.CopyOnDevice(Stream::kCompute, *device, *device + 32, 32));
    note(runtime.CopyToHost(Stream::kSpill, *host, *device, 64));
    note(runtime.HasEnded(event).status());
    note(runtime.Synchronize(event));
  }
  if (device.ok()) runtime.Free(*device);
  if (host.ok()) runtime.FreePinned(*host);
  return first;
}

// The N-th call of CUDA fails, for all N.
TEST_F(DeviceRuntimeTest, EveryFailureIsReportedAndALostDeviceStaysLost) {
  fake_cuda::Reset();
  uint64_t calls = 0;
  {
    const auto runtime = Open();
    ASSERT_TRUE(RunScript(*runtime).ok());
    calls = fake_cuda::Calls();
  }
  EXPECT_EQ(fake_cuda::Alive().total(), 0u);
  ASSERT_GT(calls, 30u);
  for (const cudaError_t error :
       {cudaErrorMemoryAllocation, cudaErrorInvalidValue, cudaErrorIllegalAddress}) {
    const bool sticky = error == cudaErrorIllegalAddress;
    uint64_t without_memory = 0;
    for (uint64_t call = 0; call < calls; ++call) {
      SCOPED_TRACE(testing::Message() << "call " << call << ", error " << error);
      fake_cuda::Reset();
      fake_cuda::Fail(call, error, sticky);
      auto runtime = std::make_unique<DeviceRuntime>(0);
      const Status opened = runtime->Open();
      Status status = opened.ok() ? RunScript(*runtime) : opened;
      // A failure of a free is found by the next call.
      if (status.ok()) status = runtime->FreeBytes().status();
      const bool memory = status.code() == Code::kResourceExhausted;
      without_memory += memory ? 1 : 0;
      EXPECT_EQ(runtime->lost(), !memory);
      if (memory) {
        EXPECT_EQ(error, cudaErrorMemoryAllocation) << status.ToString();
      } else {
        EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
        EXPECT_THAT(status.message(), HasSubstr("device 0 is lost: "));
        const uint64_t before = fake_cuda::Calls();
        EXPECT_EQ(runtime->FreeBytes().status().message(), status.message());
        EXPECT_EQ(runtime->Record(Stream::kCompute).status().message(), status.message());
        EXPECT_EQ(runtime->Synchronize({.number = 1}).message(), status.message());
        EXPECT_EQ(fake_cuda::Calls(), before) << "a lost device is asked";
      }
      runtime.reset();
      if (memory) {
        EXPECT_LE(fake_cuda::Alive().memory + fake_cuda::Alive().pinned, 1u) << "what a failed free has left";
      }
      if (!sticky) {
        EXPECT_EQ(fake_cuda::Alive().streams, 0u);
        EXPECT_EQ(fake_cuda::Alive().events, 0u);
      }
    }
    // Those of Open, but for the versions, and two calls for memory and one that asks how much is free.
    EXPECT_EQ(without_memory, error == cudaErrorMemoryAllocation ? 2u + kStreams + 4 + 3 : 0u);
  }
}

// What a stream was given before is still under way, so nobody may go on as if nothing had happened.
TEST_F(DeviceRuntimeTest, OutOfMemoryOfOtherCallsLosesTheDevice) {
  const GatherParams params{};
  const std::function<Status(CudaRuntime&, std::byte*)> calls[] = {
      [&](CudaRuntime& runtime, std::byte*) {
        return runtime.Launch(Stream::kCompute, {.kernel = KernelId::kGather, .params = &params});
      },
      [](CudaRuntime& runtime, std::byte* memory) { return runtime.Zero(Stream::kLoad, memory, 8); },
      [](CudaRuntime& runtime, std::byte*) { return runtime.Record(Stream::kCompute).status(); },
      [](CudaRuntime& runtime, std::byte* memory) {
        runtime.Free(memory);
        return runtime.FreeBytes().status();
      },
  };
  for (const auto& call : calls) {
    fake_cuda::Reset();
    const auto runtime = Open();
    std::byte* const memory = runtime->Allocate(8).value();
    fake_cuda::Fail(fake_cuda::Calls() + 1, cudaErrorMemoryAllocation, false);
    const Status status = call(*runtime, memory);
    EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
    EXPECT_TRUE(runtime->lost());
  }
}

}  // namespace
}  // namespace prefixd::cuda
