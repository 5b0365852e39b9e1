#include "kernels/cuda/module/device_runtime.h"

#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/cuda/module/module_kernels.h"

namespace prefixd::cuda {
namespace {

constexpr int kLeastCapability = 80;
constexpr int kOverlappingPtx = 90;  // code for such devices awaits the launch before it (device.h)

// "13.0" for 13000.
std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string ErrorText(cudaError_t error, const char* call) {
  return std::string(call) + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")";
}

// The versions of the driver and of the runtime; 0: no driver.
std::pair<int, int> Versions() {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = CUDART_VERSION;
  return {driver, runtime};
}

}  // namespace

Status CountDevices(int* count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaSuccess && *count > 0) return Status::Ok();
  *count = 0;
  const auto [driver, runtime] = Versions();
  if (driver == 0) return Unavailable("there is no NVIDIA driver");
  if (error == cudaErrorInsufficientDriver) {
    return Unavailable("the NVIDIA driver is for CUDA " + VersionText(driver) + "; it must be for CUDA " +
                       VersionText(runtime) + " or later");
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice)
    return Unavailable("the NVIDIA driver finds no device");
  return Unavailable(std::string("the NVIDIA driver fails: ") + cudaGetErrorString(error));
}

Status CreateDeviceRuntime(int device, std::unique_ptr<CudaRuntime>* runtime) {
  auto opened = std::make_unique<DeviceRuntime>(device);
  PREFIXD_RETURN_IF_ERROR(opened->Open());
  *runtime = std::move(opened);
  return Status::Ok();
}

Status DeviceRuntime::Open() {
  PREFIXD_RETURN_IF_ERROR(TakeMemory(cudaSetDevice(device_), "cudaSetDevice"));
  PREFIXD_RETURN_IF_ERROR(FillFacts());
  for (cudaStream_t& stream : streams_) {
    PREFIXD_RETURN_IF_ERROR(
        TakeMemory(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate"));
  }
  return LoadKernels();
}

DeviceRuntime::~DeviceRuntime() {
  if (cudaSetDevice(device_) != cudaSuccess) lost_ = true;
  for (const cudaStream_t stream : streams_) {
    if (stream != nullptr && !lost_) (void)cudaStreamSynchronize(stream);
  }
  products_.reset();
  for (const cudaStream_t stream : streams_) {
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
  }
}

Status DeviceRuntime::FillFacts() {
  cudaDeviceProp properties = {};
  PREFIXD_RETURN_IF_ERROR(
      TakeMemory(cudaGetDeviceProperties(&properties, device_), "cudaGetDeviceProperties"));
  facts_.name = properties.name;
  facts_.compute_capability = properties.major * 10 + properties.minor;
  facts_.multiprocessors = properties.multiProcessorCount;
  facts_.bytes = properties.totalGlobalMem;
  facts_.shared_bytes = properties.sharedMemPerBlockOptin;
  const auto [driver, runtime] = Versions();
  facts_.versions = "driver for CUDA " + VersionText(driver) + ", runtime " + VersionText(runtime);
  if (facts_.compute_capability < kLeastCapability) {
    return Unsupported("device " + std::to_string(device_) + ", " + facts_.name +
                       ", has the compute capability " + std::to_string(properties.major) + "." +
                       std::to_string(properties.minor) + "; the kernels need 8.0");
  }
  return Status::Ok();
}

// A block may have more than 48 KiB of shared memory only after its kernel was told so. Telling it loads it.
Status DeviceRuntime::LoadKernels() {
  for (int i = 0; i < kKernels; ++i) {
    const ModuleKernel& kernel = KernelOf(static_cast<KernelId>(i));
    if (kernel.function == nullptr) continue;
    if (kernel.capability > 0 && kernel.capability != facts_.compute_capability) continue;
    cudaFuncAttributes attributes = {};
    PREFIXD_RETURN_IF_ERROR(TakeMemory(cudaFuncGetAttributes(&attributes, kernel.function), kernel.name));
    overlaps_[static_cast<size_t>(i)] = attributes.ptxVersion >= kOverlappingPtx;
    const int dynamic = static_cast<int>(facts_.shared_bytes - attributes.sharedSizeBytes);
    PREFIXD_RETURN_IF_ERROR(TakeMemory(
        cudaFuncSetAttribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize, dynamic),
        kernel.name));
  }
  return Status::Ok();
}

// --- Errors ---

Status DeviceRuntime::Enter() {
  if (lost_) {
    MutexLock lock(mutex_);
    return Unavailable(why_lost_);
  }
  return Take(cudaSetDevice(device_), "cudaSetDevice");
}

Status DeviceRuntime::TakeMemory(cudaError_t error, const char* call) {
  if (error != cudaErrorMemoryAllocation) return Take(error, call);
  // Errors that do not lose the device are kept for the next cudaGetLastError, which other users of the
  // runtime in this process may call.
  (void)cudaGetLastError();
  return ResourceExhausted("no memory for " + ErrorText(error, call));
}

Status DeviceRuntime::Take(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return Status::Ok();
  MutexLock lock(mutex_);
  if (!lost_) why_lost_ = "device " + std::to_string(device_) + " is lost: " + ErrorText(error, call);
  lost_ = true;
  return Unavailable(why_lost_);
}

// --- Memory ---

Result<size_t> DeviceRuntime::FreeBytes() {
  PREFIXD_RETURN_IF_ERROR(Enter());
  size_t free = 0, total = 0;
  PREFIXD_RETURN_IF_ERROR(TakeMemory(cudaMemGetInfo(&free, &total), "cudaMemGetInfo"));
  return free;
}

Result<std::byte*> DeviceRuntime::Allocate(size_t bytes) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  void* memory = nullptr;
  const Status status = TakeMemory(cudaMalloc(&memory, bytes), "cudaMalloc");
  if (status.ok()) return static_cast<std::byte*>(memory);
  if (status.code() != Code::kResourceExhausted) return status;
  const Result<size_t> free = FreeBytes();
  return ResourceExhausted(
      "no device memory for " + FormatSize(bytes) +
      (free.ok() ? "; " + FormatSize(*free) + " of " + FormatSize(facts_.bytes) + " are free" : ""));
}

void DeviceRuntime::Free(std::byte* memory) {
  if (Enter().ok()) (void)Take(cudaFree(memory), "cudaFree");
}

Result<std::byte*> DeviceRuntime::AllocatePinned(size_t bytes) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  void* memory = nullptr;
  cudaError_t error = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
  // The system refuses to lock so much memory.
  if (error == cudaErrorOperatingSystem) error = cudaErrorMemoryAllocation;
  const Status status = TakeMemory(error, "cudaHostAlloc");
  if (status.ok()) return static_cast<std::byte*>(memory);
  if (status.code() != Code::kResourceExhausted) return status;
  return ResourceExhausted("no pinned memory for " + FormatSize(bytes));
}

void DeviceRuntime::FreePinned(std::byte* memory) {
  if (Enter().ok()) (void)Take(cudaFreeHost(memory), "cudaFreeHost");
}

// --- Work ---

Status DeviceRuntime::Copy(Stream stream, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (bytes == 0) return Status::Ok();
  return Take(cudaMemcpyAsync(to, from, bytes, kind, StreamOf(stream)), "cudaMemcpyAsync");
}

Status DeviceRuntime::CopyToDevice(Stream stream, std::byte* device, const std::byte* host, size_t bytes) {
  return Copy(stream, device, host, bytes, cudaMemcpyHostToDevice);
}

Status DeviceRuntime::CopyToHost(Stream stream, std::byte* host, const std::byte* device, size_t bytes) {
  return Copy(stream, host, device, bytes, cudaMemcpyDeviceToHost);
}

Status DeviceRuntime::CopyOnDevice(Stream stream, std::byte* to, const std::byte* from, size_t bytes) {
  return Copy(stream, to, from, bytes, cudaMemcpyDeviceToDevice);
}

Status DeviceRuntime::Zero(Stream stream, std::byte* device, size_t bytes) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (bytes == 0) return Status::Ok();
  return Take(cudaMemsetAsync(device, 0, bytes, StreamOf(stream)), "cudaMemsetAsync");
}

Status DeviceRuntime::Launch(Stream stream, const KernelLaunch& launch) {
  const ModuleKernel& kernel = KernelOf(launch.kernel);
  PREFIXD_CHECK(kernel.function != nullptr) << "kernel " << static_cast<int>(launch.kernel) << " is absent";
  PREFIXD_CHECK(launch.threads > 0 && launch.threads <= kernel.threads && launch.threads % 32 == 0)
      << kernel.name << " with " << launch.threads << " threads";
  PREFIXD_CHECK(launch.blocks_x > 0 && launch.blocks_y > 0)
      << kernel.name << ": " << launch.blocks_x << ", " << launch.blocks_y;
  PREFIXD_CHECK(launch.shared_bytes <= facts_.shared_bytes) << kernel.name << ": " << launch.shared_bytes;
  PREFIXD_RETURN_IF_ERROR(Enter());
  void* arguments[] = {const_cast<void*>(launch.params)};
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  const cudaLaunchConfig_t config = {
      dim3(static_cast<unsigned>(launch.blocks_x), static_cast<unsigned>(launch.blocks_y)),
      dim3(static_cast<unsigned>(launch.threads)),
      launch.shared_bytes,
      StreamOf(stream),
      &overlap,
      overlaps_[static_cast<size_t>(launch.kernel)] ? 1u : 0u};
  const cudaError_t error = cudaLaunchKernelExC(&config, kernel.function, arguments);
  return captures_ ? TakeCapture(error, kernel.name) : Take(error, kernel.name);
}

// --- Graphs ---

// Errors that do not lose the device are kept for the next cudaGetLastError.
Status DeviceRuntime::TakeCapture(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return Status::Ok();
  (void)cudaGetLastError();
  return Unsupported(ErrorText(error, call));
}

// Only calls of this thread are refused while it captures.
Status DeviceRuntime::BeginCapture(Stream stream) {
  PREFIXD_CHECK(!captures_) << "a capture within a capture";
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_RETURN_IF_ERROR(TakeCapture(
      cudaStreamBeginCapture(StreamOf(stream), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture"));
  captures_ = true;
  return Status::Ok();
}

Result<Graph> DeviceRuntime::EndCapture(Stream stream) {
  PREFIXD_CHECK(captures_) << "no capture";
  captures_ = false;
  PREFIXD_RETURN_IF_ERROR(Enter());
  cudaGraph_t recorded = nullptr;
  PREFIXD_RETURN_IF_ERROR(
      TakeCapture(cudaStreamEndCapture(StreamOf(stream), &recorded), "cudaStreamEndCapture"));
  cudaGraphExec_t graph = nullptr;
  const Status made = TakeCapture(cudaGraphInstantiate(&graph, recorded, 0), "cudaGraphInstantiate");
  const Status destroyed = TakeCapture(cudaGraphDestroy(recorded), "cudaGraphDestroy");
  PREFIXD_RETURN_IF_ERROR(made);
  if (!destroyed.ok()) {
    (void)cudaGraphExecDestroy(graph);
    return destroyed;
  }
  graphs_[next_graph_] = graph;
  return Graph{next_graph_++};
}

Status DeviceRuntime::LaunchGraph(Stream stream, Graph graph) {
  PREFIXD_CHECK(graphs_.contains(graph.number)) << graph.number;
  PREFIXD_RETURN_IF_ERROR(Enter());
  return Take(cudaGraphLaunch(graphs_[graph.number], StreamOf(stream)), "cudaGraphLaunch");
}

void DeviceRuntime::FreeGraph(Graph graph) {
  const auto found = graphs_.find(graph.number);
  PREFIXD_CHECK(found != graphs_.end()) << graph.number;
  if (Enter().ok()) (void)Take(cudaGraphExecDestroy(found->second), "cudaGraphExecDestroy");
  graphs_.erase(found);
}

Result<ProductLibrary*> DeviceRuntime::LoadProducts() {
  if (products_ == nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(products_, BlasLt::Load(this, product_files_));
  }
  return products_.get();
}

// --- Events ---

Result<Event> DeviceRuntime::Record(Stream stream) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  Event event;
  PREFIXD_RETURN_IF_ERROR(Take(events_.Record(streams_, stream, &event), "cudaEventRecord"));
  return event;
}

Status DeviceRuntime::WaitFor(Stream stream, Event event) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  return Take(events_.WaitFor(StreamOf(stream), event), "cudaStreamWaitEvent");
}

Status DeviceRuntime::Synchronize(Event event) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  return Take(events_.Synchronize(event), "cudaEventSynchronize");
}

Result<bool> DeviceRuntime::HasEnded(Event event) {
  PREFIXD_RETURN_IF_ERROR(Enter());
  const cudaError_t error = events_.Query(event);
  if (error == cudaErrorNotReady) return false;
  PREFIXD_RETURN_IF_ERROR(Take(error, "cudaEventQuery"));
  return true;
}

}  // namespace prefixd::cuda
