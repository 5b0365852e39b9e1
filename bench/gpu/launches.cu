// `launches`: what a launch costs the host and the device: empty kernels in a stream and in a graph, with and
// without programmatic dependent launch (PDL), events, host functions, and the time from a launch to its
// effect on the host.
#include <chrono>

#include "bench/gpu/probe_base.cuh"

namespace prefixd::gpu {
namespace {

double Microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

__global__ void EmptyKernel() {}

// Lets the next kernel start at once, and waits for the one before.
__global__ void DependentKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Adds 1 to each element and stores it. A kernel that starts before its predecessor's stores are visible
// loses a step, so the sum of a chain shows whether PDL keeps the order.
__global__ void StepKernel(uint32_t* values) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  values[blockIdx.x * blockDim.x + threadIdx.x] += 1;
}

__global__ void FlagKernel(volatile uint32_t* flag, uint32_t value) { *flag = value; }

template <typename... Arguments>
void LaunchDependent(void (*kernel)(Arguments...), dim3 grid, dim3 block, Arguments... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = g_stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  CHECK_CUDA(cudaLaunchKernelEx(&config, kernel, arguments...));
}

constexpr int kNodes = 200;

struct Sizes {
  int blocks, threads;
};
Sizes Shape(int index) { return index == 0 ? Sizes{1, 32} : Sizes{g_sm_count * 2, 128}; }

void Enqueue(bool dependent, Sizes size) {
  if (dependent) {
    LaunchDependent(DependentKernel, dim3(size.blocks), dim3(size.threads));
  } else {
    EmptyKernel<<<size.blocks, size.threads, 0, g_stream>>>();
  }
}

void StreamRow(bool dependent, Sizes size) {
  double issue = 1e30;  // the best of 5: while the queue has room
  for (int run = 0; run < 5; ++run) {
    CHECK_CUDA(cudaStreamSynchronize(g_stream));
    const double begin = Microseconds();
    for (int i = 0; i < kNodes; ++i) Enqueue(dependent, size);
    issue = std::min(issue, (Microseconds() - begin) / kNodes);
  }
  const double device = MicrosecondsPerCall(9, 1000, [&](int) { Enqueue(dependent, size); });
  Row(dependent ? "stream, PDL" : "stream")
      .Add("blocks", size.blocks)
      .Add("threads", size.threads)
      .Add("host_us_per_launch", issue)
      .Add("us_per_kernel", device);
}

cudaGraphExec_t Capture(const std::function<void()>& body) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CHECK_CUDA(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal));
  body();
  CHECK_CUDA(cudaStreamEndCapture(g_stream, &graph));
  CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  CHECK_CUDA(cudaGraphDestroy(graph));
  CHECK_CUDA(cudaGraphUpload(executable, g_stream));
  return executable;
}

void GraphRow(bool dependent, Sizes size) {
  const cudaGraphExec_t graph = Capture([&] {
    for (int i = 0; i < kNodes; ++i) Enqueue(dependent, size);
  });
  std::vector<double> issue;
  for (int run = 0; run < 20; ++run) {
    CHECK_CUDA(cudaStreamSynchronize(g_stream));
    const double begin = Microseconds();
    CHECK_CUDA(cudaGraphLaunch(graph, g_stream));
    issue.push_back(Microseconds() - begin);
  }
  const double replay =
      MicrosecondsPerCall(9, 20, [&](int) { CHECK_CUDA(cudaGraphLaunch(graph, g_stream)); });
  Row(dependent ? "graph of 200, PDL" : "graph of 200")
      .Add("blocks", size.blocks)
      .Add("threads", size.threads)
      .Add("host_us_per_graph", Median(issue))
      .Add("us_per_graph", replay)
      .Add("us_per_kernel", replay / kNodes);
  CHECK_CUDA(cudaGraphExecDestroy(graph));
}

// Runs chains of dependent steps by PDL, in the stream and in a graph, and checks the sums.
void DependencyRow() {
  constexpr int kReplays = 50, kBlocks = 512, kThreads = 256;
  Buffer<uint32_t> values(kBlocks * kThreads);
  CHECK_CUDA(cudaMemsetAsync(values.get(), 0, values.bytes(), g_stream));
  const auto enqueue = [&] {
    for (int i = 0; i < kNodes; ++i) LaunchDependent(StepKernel, dim3(kBlocks), dim3(kThreads), values.get());
  };
  const cudaGraphExec_t graph = Capture(enqueue);
  enqueue();
  for (int i = 0; i < kReplays; ++i) CHECK_CUDA(cudaGraphLaunch(graph, g_stream));
  const uint32_t steps = kNodes * (kReplays + 1);
  int64_t wrong = 0;
  for (const uint32_t value : values.Read()) wrong += value != steps;
  CHECK_CUDA(cudaGraphExecDestroy(graph));
  Row("PDL keeps the order of memory").Add("steps", static_cast<int64_t>(steps)).Add("wrong_sums", wrong);
  if (wrong != 0) Fail("a dependent launch lost steps");
}

template <typename Body>
double HostTime(int calls, Body body) {
  const double begin = Microseconds();
  for (int i = 0; i < calls; ++i) body();
  return (Microseconds() - begin) / calls;
}

void EventRow() {
  cudaEvent_t event;
  CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaStream_t other;
  CHECK_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  CHECK_CUDA(cudaEventRecord(event, g_stream));
  CHECK_CUDA(cudaStreamSynchronize(g_stream));
  const double record = HostTime(500, [&] { CHECK_CUDA(cudaEventRecord(event, g_stream)); });
  CHECK_CUDA(cudaStreamSynchronize(g_stream));
  const double done = HostTime(5000, [&] { CHECK_CUDA(cudaEventQuery(event)); });
  const double wait = HostTime(500, [&] { CHECK_CUDA(cudaStreamWaitEvent(other, event)); });
  CHECK_CUDA(cudaStreamSynchronize(other));
  const double stream = HostTime(5000, [&] { CHECK_CUDA(cudaStreamQuery(other)); });
  const double get_error = HostTime(5000, [&] { CHECK_CUDA(cudaGetLastError()); });
  Row("events, host cost")
      .Add("record_us", record)
      .Add("query_us", done)
      .Add("stream_wait_us", wait)
      .Add("stream_query_us", stream)
      .Add("get_last_error_us", get_error);
  CHECK_CUDA(cudaEventDestroy(event));
  CHECK_CUDA(cudaStreamDestroy(other));
}

void CUDART_CB StoreTime(void* time) { static_cast<std::atomic<double>*>(time)->store(Microseconds()); }

// Medians of 200 from before a call until the host sees its effect, and of the call itself.
void LatencyRows() {
  uint32_t* flag = nullptr;
  CHECK_CUDA(cudaHostAlloc(&flag, 8192, cudaHostAllocMapped));
  Buffer<uint32_t> page(2048);
  cudaEvent_t event;
  CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  const auto row = [&](const char* name, auto enqueue, auto seen) {
    std::vector<double> calls, latencies;
    for (uint32_t i = 1; i <= 200; ++i) {
      CHECK_CUDA(cudaStreamSynchronize(g_stream));
      const double begin = Microseconds();
      enqueue(i);
      calls.push_back(Microseconds() - begin);
      while (!seen(i)) {
        if (Microseconds() - begin > 2e6) Fail(std::string(name) + ": nothing seen in 2 s");
      }
      latencies.push_back(Microseconds() - begin);
    }
    std::sort(latencies.begin(), latencies.end());
    Row(name)
        .Add("call_us", Median(calls))
        .Add("until_seen_us", Median(latencies))
        .Add("p95_us", latencies[190]);
  };
  volatile uint32_t* const seen_flag = flag;
  row(
      "kernel that stores to host memory", [&](uint32_t i) { FlagKernel<<<1, 1, 0, g_stream>>>(flag, i); },
      [&](uint32_t i) { return *seen_flag == i; });
  const auto event_seen = [&](uint32_t) {
    const cudaError_t status = cudaEventQuery(event);
    if (status != cudaErrorNotReady) CHECK_CUDA(status);
    return status == cudaSuccess;
  };
  row(
      "kernel, event polled",
      [&](uint32_t) {
        EmptyKernel<<<1, 32, 0, g_stream>>>();
        CHECK_CUDA(cudaEventRecord(event, g_stream));
      },
      event_seen);
  row(
      "upload 4 KiB, kernel, download 4 KiB",
      [&](uint32_t) {
        CHECK_CUDA(cudaMemcpyAsync(page.get(), flag, 4096, cudaMemcpyHostToDevice, g_stream));
        EmptyKernel<<<1, 32, 0, g_stream>>>();
        CHECK_CUDA(cudaMemcpyAsync(flag + 1024, page.get(), 4096, cudaMemcpyDeviceToHost, g_stream));
        CHECK_CUDA(cudaEventRecord(event, g_stream));
      },
      event_seen);
  std::atomic<double> time{0};
  row(
      "cudaLaunchHostFunc",
      [&](uint32_t) {
        time = 0;
        CHECK_CUDA(cudaLaunchHostFunc(g_stream, StoreTime, &time));
      },
      [&](uint32_t) { return time.load() != 0; });
  const double gap = MicrosecondsPerCall(9, 50, [&](int i) {
    if (i % 2 == 0) return EmptyKernel<<<1, 32, 0, g_stream>>>();
    CHECK_CUDA(cudaLaunchHostFunc(g_stream, StoreTime, &time));
  });
  Row("kernel, host function, in turns").Add("us_per_pair", gap * 2);
  CHECK_CUDA(cudaStreamSynchronize(g_stream));
  CHECK_CUDA(cudaEventDestroy(event));
  CHECK_CUDA(cudaFreeHost(flag));
}

void Launches() {
  for (int size = 0; size < 2; ++size) {
    StreamRow(false, Shape(size));
    GraphRow(false, Shape(size));
    if (g_device_major < 9) continue;
    StreamRow(true, Shape(size));
    GraphRow(true, Shape(size));
  }
  if (g_device_major >= 9) DependencyRow();
  EventRow();
  LatencyRows();
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  return prefixd::gpu::RunPart(argc, argv, {{"launches", prefixd::gpu::Launches}});
}
