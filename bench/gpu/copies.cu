// `copies`: rates of copies between pinned host memory and the device, in one piece, in blocks of 2 MiB and
// in smaller pieces, alone, both ways at once, and beside a kernel that reads device memory; what a call
// costs the host. `pinning`: time of cudaHostRegister and cudaHostAlloc.
#include <sys/mman.h>

#include <chrono>

#include "bench/gpu/probe_base.cuh"

namespace prefixd::gpu {
namespace {

constexpr int64_t kBytes = int64_t{1} << 30;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

__global__ void ReadKernel(const uint4* from, int64_t count, int rounds, uint32_t* sink) {
  uint32_t fold = 0;
  for (int round = 0; round < rounds; ++round) {
#pragma unroll 8
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
      const uint4 value = __ldg(from + i);
      fold += value.x ^ value.y ^ value.z ^ value.w ^ round;
    }
  }
  if (fold == 0x9E3779B9u) *sink = fold;
}

__global__ void CountDifferingKernel(const uint32_t* values, int64_t count, unsigned long long* differing) {
  unsigned long long here = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    here += values[i] != static_cast<uint32_t>(Hash(i));
  }
  if (here != 0) atomicAdd(differing, here);
}

struct Host {
  Host() {
    CHECK_CUDA(cudaHostAlloc(&up, kBytes, cudaHostAllocDefault));
    CHECK_CUDA(cudaHostAlloc(&down, kBytes, cudaHostAllocDefault));
    ParallelFor(kBytes / 4096, [&](int64_t page) {
      for (int64_t i = page * 1024; i < (page + 1) * 1024; ++i) {
        reinterpret_cast<uint32_t*>(up)[i] = static_cast<uint32_t>(Hash(i));
      }
    });
    std::memset(down, 1, kBytes);
    CHECK_CUDA(cudaStreamCreateWithFlags(&up_stream, cudaStreamNonBlocking));
    CHECK_CUDA(cudaStreamCreateWithFlags(&down_stream, cudaStreamNonBlocking));
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() {
    (void)cudaStreamDestroy(up_stream);
    (void)cudaStreamDestroy(down_stream);
    (void)cudaFreeHost(up);
    (void)cudaFreeHost(down);
  }
  char *up = nullptr, *down = nullptr;
  cudaStream_t up_stream = nullptr, down_stream = nullptr;
};

// Timed with events in each direction's stream, and with the host's clock around the calls.
struct Times {
  double up_gb = 0, down_gb = 0;        // GB/s of each direction, while it ran
  double up_issue = 0, down_issue = 0;  // microseconds of the host per call
};

class Copies {
 public:
  Copies() : device_up_(kBytes), device_down_(kBytes) {
    for (cudaEvent_t& event : events_) CHECK_CUDA(cudaEventCreate(&event));
    CHECK_CUDA(cudaMemset(device_down_.get(), 2, kBytes));
  }
  ~Copies() {
    for (cudaEvent_t event : events_) (void)cudaEventDestroy(event);
  }

  Times Run(bool up, bool down, int64_t piece, int64_t total) {
    const int64_t pieces = total / piece;
    const auto order = [&](int64_t i) { return i * 7919 % pieces * piece; };  // scattered, as blocks are
    double up_issue = 0, down_issue = 0;
    if (up) CHECK_CUDA(cudaEventRecord(events_[0], host_.up_stream));
    if (down) CHECK_CUDA(cudaEventRecord(events_[2], host_.down_stream));
    for (int64_t i = 0; i < pieces; ++i) {
      const double begin = Seconds();
      if (up) {
        CHECK_CUDA(cudaMemcpyAsync(device_up_.get() + order(i), host_.up + order(i), piece,
                                   cudaMemcpyHostToDevice, host_.up_stream));
      }
      const double middle = Seconds();
      if (down) {
        CHECK_CUDA(cudaMemcpyAsync(host_.down + order(i), device_down_.get() + order(i), piece,
                                   cudaMemcpyDeviceToHost, host_.down_stream));
      }
      up_issue += middle - begin;
      down_issue += Seconds() - middle;
    }
    if (up) CHECK_CUDA(cudaEventRecord(events_[1], host_.up_stream));
    if (down) CHECK_CUDA(cudaEventRecord(events_[3], host_.down_stream));
    CHECK_CUDA(cudaStreamSynchronize(host_.up_stream));
    CHECK_CUDA(cudaStreamSynchronize(host_.down_stream));
    Times times;
    if (up) times.up_gb = total * 1e-6 / Milliseconds(0);
    if (down) times.down_gb = total * 1e-6 / Milliseconds(2);
    if (up) times.up_issue = up_issue * 1e6 / pieces;
    if (down) times.down_issue = down_issue * 1e6 / pieces;
    return times;
  }

  void Report(const std::string& name, bool up, bool down, int64_t piece, int64_t total = kBytes) {
    std::vector<double> up_gb, down_gb, up_issue, down_issue;
    (void)Run(up, down, piece, total);
    for (int run = 0; run < 5; ++run) {
      const Times times = Run(up, down, piece, total);
      up_gb.push_back(times.up_gb);
      down_gb.push_back(times.down_gb);
      up_issue.push_back(times.up_issue);
      down_issue.push_back(times.down_issue);
    }
    Row row(name);
    row.Add("piece_bytes", piece).Add("pieces", total / piece);
    if (up) row.Add("h2d_GB_per_s", Median(up_gb)).Add("h2d_issue_us", Median(up_issue));
    if (down) row.Add("d2h_GB_per_s", Median(down_gb)).Add("d2h_issue_us", Median(down_issue));
  }

  // Words that did not arrive on the device as the host wrote them. Requires that all of `up` was copied.
  int64_t Differing() const {
    Buffer<unsigned long long> count(1);
    CHECK_CUDA(cudaMemset(count.get(), 0, count.bytes()));
    CountDifferingKernel<<<1024, 256, 0, g_stream>>>(reinterpret_cast<const uint32_t*>(device_up_.get()),
                                                     kBytes / 4, count.get());
    CHECK_CUDA(cudaGetLastError());
    return static_cast<int64_t>(count.Read()[0]);
  }

 private:
  double Milliseconds(int first) const {
    float milliseconds = 0;
    CHECK_CUDA(cudaEventElapsedTime(&milliseconds, events_[first], events_[first + 1]));
    return milliseconds;
  }
  Host host_;
  Buffer<char> device_up_, device_down_;
  cudaEvent_t events_[4] = {};
};

// How much a kernel that reads device memory slows down while copies run in both directions.
void Interference(Copies& copies) {
  constexpr int kRounds = 40;
  constexpr int64_t kRead = int64_t{4} << 30;
  Buffer<char> memory(kRead);
  Buffer<uint32_t> sink(1);
  CHECK_CUDA(cudaMemset(memory.get(), 3, kRead));
  const auto read = [&](int) {
    ReadKernel<<<g_sm_count * 4, 512, 0, g_stream>>>(reinterpret_cast<const uint4*>(memory.get()), kRead / 16,
                                                     kRounds, sink.get());
  };
  const double alone = MicrosecondsPerCall(3, 1, read);
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  CHECK_CUDA(cudaEventRecord(begin, g_stream));
  read(0);
  CHECK_CUDA(cudaEventRecord(end, g_stream));
  std::vector<double> up, down;
  while (cudaEventQuery(end) == cudaErrorNotReady) {
    const Times times = copies.Run(true, true, int64_t{2} << 20, int64_t{128} << 20);
    up.push_back(times.up_gb);
    down.push_back(times.down_gb);
  }
  CHECK_CUDA(cudaEventSynchronize(end));
  float milliseconds = 0;
  CHECK_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
  if (up.empty()) Fail("the reading kernel ended before a copy began");
  const double bytes = static_cast<double>(kRead) * kRounds;
  Row("read of device memory and copies")
      .Add("read_alone_GB_per_s", bytes * 1e-3 / alone)
      .Add("read_beside_copies_GB_per_s", bytes * 1e-6 / milliseconds)
      .Add("h2d_GB_per_s", Median(up))
      .Add("d2h_GB_per_s", Median(down))
      .Add("copy_rounds", static_cast<int64_t>(up.size()));
  CHECK_CUDA(cudaEventDestroy(begin));
  CHECK_CUDA(cudaEventDestroy(end));
}

void RunCopies() {
  constexpr int64_t kBlock = int64_t{2} << 20;
  Copies copies;
  copies.Report("one piece, H2D", true, false, kBytes);
  copies.Report("one piece, D2H", false, true, kBytes);
  copies.Report("one piece, both", true, true, kBytes);
  copies.Report("blocks, H2D", true, false, kBlock);
  copies.Report("blocks, D2H", false, true, kBlock);
  copies.Report("blocks, both", true, true, kBlock);
  for (const int64_t piece : {int64_t{4} << 10, int64_t{64} << 10, int64_t{256} << 10, int64_t{1} << 20}) {
    const int64_t total = std::min<int64_t>(kBytes, piece * 512);  // fits the queue of a stream
    copies.Report("pieces, H2D", true, false, piece, total);
    copies.Report("pieces, D2H", false, true, piece, total);
  }
  Interference(copies);
  const int64_t differing = copies.Differing();
  Row("words that differ after H2D").Add("differing", differing);
  if (differing != 0) Fail("copied words differ");
}

void* Map(int64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap fails");
  return memory;
}

void RegisterRow(const char* name, bool huge_pages, bool touch) {
  char* memory = static_cast<char*>(Map(kBytes));
  if (huge_pages && madvise(memory, kBytes, MADV_HUGEPAGE) != 0)
    Row("madvise").Add("why", std::strerror(errno));
  const double start = Seconds();
  if (touch) ParallelFor(kBytes / 4096, [&](int64_t page) { memory[page * 4096] = 1; });
  const double touched = Seconds();
  CHECK_CUDA(cudaHostRegister(memory, kBytes, cudaHostRegisterDefault));
  const double registered = Seconds();
  CHECK_CUDA(cudaHostUnregister(memory));
  Row(name)
      .Add("bytes", kBytes)
      .Add("touch_s", touched - start)
      .Add("register_s", registered - touched)
      .Add("unregister_s", Seconds() - registered);
  munmap(memory, kBytes);
}

void Pinning() {
  for (int run = 0; run < 2; ++run) {
    RegisterRow("register, touched by all cores", false, true);
    RegisterRow("register, huge pages, touched", true, true);
    RegisterRow("register, untouched", false, false);
    const double begin = Seconds();
    void* memory = nullptr;
    CHECK_CUDA(cudaHostAlloc(&memory, kBytes, cudaHostAllocDefault));
    const double allocated = Seconds();
    CHECK_CUDA(cudaFreeHost(memory));
    Row("cudaHostAlloc")
        .Add("bytes", kBytes)
        .Add("s", allocated - begin)
        .Add("free_s", Seconds() - allocated);
  }
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  using namespace prefixd::gpu;
  return RunPart(argc, argv, {{"copies", RunCopies}, {"pinning", Pinning}});
}
