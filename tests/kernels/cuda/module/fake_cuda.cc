#include "tests/kernels/cuda/module/fake_cuda.h"

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>

struct CUevent_st {
  uint64_t recorded = 0, ended = 0;  // ids
  int waiting = 0;
};

struct CUgraph_st {
  size_t launches = 0;
};
struct CUgraphExec_st {
  size_t launches = 0;
};

struct CUstream_st {
  CUgraph_st* captured = nullptr;  // what records its launches
  struct Work {
    std::function<void()> run;
    CUevent_st* event = nullptr;
    uint64_t id = 0;     // of the record
    bool waits = false;  // for the event; otherwise it records it, if there is one
  };
  std::deque<Work> work;
};

namespace prefixd::fake_cuda {
namespace {

struct Cuda {
  std::mutex mutex;
  std::condition_variable changed;
  int driver = 13000, devices = 1, major = 9, minor = 0, ptx = 90;
  size_t bytes = 0, used = 0;
  bool held = false, sticky = false;
  uint64_t calls = 0, fails_at = UINT64_MAX, next_record = 1;
  cudaError_t error = cudaSuccess;
  std::map<void*, size_t> memory, pinned;
  std::vector<CUstream_st*> streams;
  std::set<CUevent_st*> events;
  std::string faults;
  std::vector<Launched> launches;
  std::vector<size_t> graph_launches;
  std::set<CUgraph_st*> graphs;
  std::set<CUgraphExec_st*> execs;
  int waiting = 0;
};
Cuda& State() {
  static Cuda cuda;
  return cuda;
}
thread_local int current_device = -1;

// One piece of work of a stream, if it can run.
bool RunOne(CUstream_st& stream) {
  if (stream.work.empty()) return false;
  CUstream_st::Work& next = stream.work.front();
  if (next.waits && next.event->ended < next.id) return false;
  if (next.run) next.run();
  if (next.event != nullptr && !next.waits) next.event->ended = next.id;
  stream.work.pop_front();
  State().changed.notify_all();
  return true;
}

void RunAll() {
  for (bool any = true; any;) {
    any = false;
    for (CUstream_st* const stream : State().streams) {
      while (stream != nullptr && RunOne(*stream)) any = true;
    }
  }
}

cudaError_t Give(cudaStream_t stream, CUstream_st::Work work) {
  if (current_device != 0) State().faults += "work without a device; ";
  if (stream->captured != nullptr) State().faults += "a capture of what is no launch; ";
  stream->work.push_back(std::move(work));
  if (!State().held) RunAll();
  return cudaSuccess;
}

}  // namespace

void Reset(size_t bytes) {
  Cuda& cuda = State();
  const std::lock_guard lock(cuda.mutex);
  for (const auto& [at, size] : cuda.memory) std::free(at);
  for (const auto& [at, size] : cuda.pinned) std::free(at);
  for (CUstream_st* const stream : cuda.streams) delete stream;
  for (CUevent_st* const event : cuda.events) delete event;
  for (CUgraph_st* const graph : cuda.graphs) delete graph;
  for (CUgraphExec_st* const exec : cuda.execs) delete exec;
  cuda.graphs.clear();
  cuda.execs.clear();
  cuda.graph_launches.clear();
  cuda.memory.clear();
  cuda.pinned.clear();
  cuda.streams.clear();
  cuda.events.clear();
  cuda.launches.clear();
  cuda.faults.clear();
  cuda.driver = 13000;
  cuda.devices = 1;
  cuda.major = 9;
  cuda.ptx = 90;
  cuda.minor = 0;
  cuda.bytes = bytes;
  cuda.used = 0;
  cuda.held = cuda.sticky = false;
  cuda.calls = 0;
  cuda.fails_at = UINT64_MAX;
}

void SetDriver(int version) { State().driver = version; }
void SetDevices(int devices) { State().devices = devices; }
void SetCapability(int major, int minor) {
  State().major = major;
  State().minor = minor;
}

void SetPtxVersion(int version) { State().ptx = version; }

void Fail(uint64_t call, cudaError_t error, bool sticky) {
  State().fails_at = call;
  State().error = error;
  State().sticky = sticky;
}
uint64_t Calls() { return State().calls; }

void Hold() { State().held = true; }
void Release() {
  const std::lock_guard lock(State().mutex);
  State().held = false;
  RunAll();
}
void RunNext(size_t stream, int count) {
  const std::lock_guard lock(State().mutex);
  while (count-- > 0) RunOne(*State().streams.at(stream));
}

Living Alive() {
  const std::lock_guard lock(State().mutex);
  Living living{.memory = State().memory.size(),
                .pinned = State().pinned.size(),
                .events = State().events.size(),
                .graphs = State().graphs.size() + State().execs.size()};
  for (const CUstream_st* const stream : State().streams) living.streams += stream != nullptr ? 1 : 0;
  return living;
}
std::string Faults() {
  const std::lock_guard lock(State().mutex);
  return State().faults;
}
const std::vector<Launched>& Launches() { return State().launches; }
const std::vector<size_t>& GraphLaunches() { return State().graph_launches; }
int Waiting() {
  const std::lock_guard lock(State().mutex);
  return State().waiting;
}

namespace {

// Counts a call, under the lock. The error that it must return.
cudaError_t Count() {
  Cuda& cuda = State();
  const uint64_t call = cuda.calls++;
  return call == cuda.fails_at || (cuda.sticky && call > cuda.fails_at) ? cuda.error : cudaSuccess;
}

}  // namespace
}  // namespace prefixd::fake_cuda

using namespace prefixd::fake_cuda;

// Begins a function: takes the lock, and returns the error that the test wants.
#define FAKE_CALL                    \
  Cuda& cuda = State();              \
  std::unique_lock lock(cuda.mutex); \
  if (const cudaError_t failure = Count(); failure != cudaSuccess) return failure

extern "C" {

const char* cudaGetErrorName(cudaError_t) { return "cudaErrorOfTheTest"; }
const char* cudaGetErrorString(cudaError_t) { return "an error of the test"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = State().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  FAKE_CALL;
  if (cuda.driver < 13000) return cudaErrorInsufficientDriver;
  *count = cuda.devices;
  return cuda.devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  FAKE_CALL;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  FAKE_CALL;
  std::strcpy(properties->name, "device of the test");
  properties->major = cuda.major;
  properties->minor = cuda.minor;
  properties->multiProcessorCount = 7;
  properties->totalGlobalMem = cuda.bytes;
  properties->sharedMemPerBlockOptin = size_t{227} << 10;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  FAKE_CALL;
  const char major = *static_cast<const char*>(function);  // of the test: what has this kernel
  if (major != 0 && major != cuda.major) cuda.faults += "a kernel that the device lacks; ";
  attributes->sharedSizeBytes = 1024;
  attributes->ptxVersion = cuda.ptx;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  FAKE_CALL;
  const bool right = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value == 226 << 10;
  if (!right) cuda.faults += "an attribute of a kernel; ";
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  FAKE_CALL;
  *free = cuda.bytes - cuda.used;
  *total = cuda.bytes;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, size_t bytes) {
  FAKE_CALL;
  if (bytes > cuda.bytes - cuda.used) return cudaErrorMemoryAllocation;
  cuda.used += bytes;
  *memory = std::malloc(bytes);
  cuda.memory[*memory] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  FAKE_CALL;
  const auto found = cuda.memory.find(memory);
  if (found == cuda.memory.end()) {
    cuda.faults += "a free of what is not there; ";
    return cudaErrorInvalidValue;
  }
  cuda.used -= found->second;
  cuda.memory.erase(found);
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  FAKE_CALL;
  *memory = std::malloc(bytes);
  cuda.pinned[*memory] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  FAKE_CALL;
  if (cuda.pinned.erase(memory) == 0) cuda.faults += "a free of what is not pinned; ";
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  FAKE_CALL;
  if (flags != cudaStreamNonBlocking) cuda.faults += "a stream that waits for the default one; ";
  *stream = new CUstream_st;
  cuda.streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  FAKE_CALL;
  for (CUstream_st*& each : cuda.streams) {
    if (each == stream) each = nullptr;
  }
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  FAKE_CALL;
  RunAll();
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  FAKE_CALL;
  return Give(stream, {.run = [to, from, bytes] { std::memcpy(to, from, bytes); }});
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  FAKE_CALL;
  return Give(stream, {.run = [memory, value, bytes] { std::memset(memory, value, bytes); }});
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  FAKE_CALL;
  bool overlaps = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id != cudaLaunchAttributeProgrammaticStreamSerialization) cuda.faults += "an attribute; ";
    overlaps = attribute.val.programmaticStreamSerializationAllowed != 0;
  }
  cuda.launches.push_back({function, config->gridDim.x, config->gridDim.y, config->blockDim.x,
                           config->dynamicSmemBytes, arguments[0], overlaps});
  if (config->stream->captured != nullptr) {
    ++config->stream->captured->launches;
    return cudaSuccess;
  }
  return Give(config->stream, {});
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  FAKE_CALL;
  if (mode != cudaStreamCaptureModeThreadLocal) cuda.faults += "a capture that disturbs other threads; ";
  stream->captured = new CUgraph_st;
  cuda.graphs.insert(stream->captured);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Cuda& cuda = State();
  std::unique_lock lock(cuda.mutex);
  *graph = std::exchange(stream->captured, nullptr);
  if (*graph == nullptr) cuda.faults += "the end of no capture; ";
  const cudaError_t failure = Count();
  if (failure == cudaSuccess) return cudaSuccess;
  cuda.graphs.erase(*graph);
  delete std::exchange(*graph, nullptr);
  return failure;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  FAKE_CALL;
  if (flags != 0) cuda.faults += "flags of a graph; ";
  *exec = new CUgraphExec_st{graph->launches};
  cuda.execs.insert(*exec);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  FAKE_CALL;
  if (cuda.graphs.erase(graph) == 0) cuda.faults += "a free of no graph; ";
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  FAKE_CALL;
  if (!cuda.execs.contains(exec)) cuda.faults += "a launch of no graph; ";
  cuda.graph_launches.push_back(exec->launches);
  return Give(stream, {});
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  FAKE_CALL;
  if (cuda.execs.erase(exec) == 0) cuda.faults += "a free of no graph; ";
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  FAKE_CALL;
  if (flags != cudaEventDisableTiming) cuda.faults += "an event with timing; ";
  *event = new CUevent_st;
  cuda.events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  FAKE_CALL;
  cuda.events.erase(event);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  FAKE_CALL;
  if (event->waiting > 0) cuda.faults += "an event recorded while a thread waits; ";
  event->recorded = cuda.next_record++;
  return Give(stream, {.event = event, .id = event->recorded});
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  FAKE_CALL;
  return event->ended >= event->recorded ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  FAKE_CALL;
  const uint64_t wanted = event->recorded;
  ++event->waiting;
  ++cuda.waiting;
  cuda.changed.wait(lock, [&] { return event->ended >= wanted; });
  --event->waiting;
  --cuda.waiting;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  FAKE_CALL;
  return Give(stream, {.event = event, .id = event->recorded, .waits = true});
}

}  // extern "C"
