// What every program of bench/gpu shares: checked CUDA calls, a stream, device buffers, timing by events,
// rows of results, and a `main` that runs one part. nvcc includes the CUDA runtime's header by itself. One
// host thread, except where a function says otherwise.
//
//   1. A CUDA call that fails ends the process with exit code 1. It prints the call and the error, and adds
//      a row with the key "error". The other parts run in processes of their own.
//   2. Every row is printed as text, and appended to the file of --json as one JSON object per line.
//   3. Without a device the process prints why and exits with code 3.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace prefixd::gpu {

inline std::string g_part;           // name of the running part
inline std::FILE* g_json = nullptr;  // null without --json
inline cudaStream_t g_stream = nullptr;
inline int g_device_major = 0;  // compute capability
inline int g_sm_count = 0;

// A row of results; printed when it goes out of scope.
class Row {
 public:
  explicit Row(std::string name) : text_(name) {
    text_.resize(std::max<size_t>(text_.size() + 1, 34), ' ');
    json_ = "{\"part\": " + Quoted(g_part) + ", \"name\": " + Quoted(name);
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  ~Row() {
    std::printf("  %s\n", text_.c_str());
    std::fflush(stdout);
    if (g_json == nullptr) return;
    std::fprintf(g_json, "%s}\n", json_.c_str());
    std::fflush(g_json);
  }

  Row& Add(const std::string& key, const std::string& value) { return Append(key, value, Quoted(value)); }
  Row& Add(const std::string& key, const char* value) { return Add(key, std::string(value)); }
  Row& Add(const std::string& key, double value) {
    char number[40];
    std::snprintf(number, sizeof(number), "%.6g", value);
    return Append(key, number, std::isfinite(value) ? number : "null");
  }
  Row& Add(const std::string& key, int64_t value) {
    return Append(key, std::to_string(value), std::to_string(value));
  }
  Row& Add(const std::string& key, int value) { return Add(key, static_cast<int64_t>(value)); }

 private:
  static std::string Quoted(const std::string& value) {
    std::string quoted = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return quoted + '"';
  }
  Row& Append(const std::string& key, const std::string& text, const std::string& json) {
    text_ += " " + key + "=" + text;
    json_ += ", " + Quoted(key) + ": " + json;
    return *this;
  }

  std::string text_, json_;
};

// Reports that the part cannot go on, and ends the process.
[[noreturn]] inline void Fail(const std::string& what) {
  Row("FAILED").Add("error", what);
  std::exit(1);
}

inline void Check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  Fail(std::string(call) + ": " + cudaGetErrorString(status) + " (" + file + ":" + std::to_string(line) +
       ")");
}
#define CHECK_CUDA(call) ::prefixd::gpu::Check((call), #call, __FILE__, __LINE__)

// Device memory, freed with the object.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) { CHECK_CUDA(cudaMalloc(&data_, count * sizeof(T))); }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    CHECK_CUDA(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(other.count_) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) (void)cudaFree(data_);  // an error would repeat one that a checked call reports
  }
  T* get() const { return data_; }
  size_t bytes() const { return count_ * sizeof(T); }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    CHECK_CUDA(cudaStreamSynchronize(g_stream));
    CHECK_CUDA(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Runs `body(i)`, which enqueues work in g_stream, `calls` times between two events, and does that `runs`
// times after a warm-up. Returns the median of the microseconds per call. i ascends through all calls.
inline double MicrosecondsPerCall(int runs, int calls, const std::function<void(int)>& body) {
  cudaEvent_t begin, end;
  CHECK_CUDA(cudaEventCreate(&begin));
  CHECK_CUDA(cudaEventCreate(&end));
  std::vector<double> times;
  int number = 0;
  for (int run = -1; run < runs; ++run) {
    CHECK_CUDA(cudaEventRecord(begin, g_stream));
    for (int call = 0; call < calls; ++call) body(number++);
    CHECK_CUDA(cudaGetLastError());
    CHECK_CUDA(cudaEventRecord(end, g_stream));
    CHECK_CUDA(cudaEventSynchronize(end));
    float milliseconds = 0;
    CHECK_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
    if (run >= 0) times.push_back(milliseconds * 1e3 / calls);
  }
  CHECK_CUDA(cudaEventDestroy(begin));
  CHECK_CUDA(cudaEventDestroy(end));
  return Median(times);
}

// SplitMix64: a hash of `x`, on the host and on the device.
__host__ __device__ inline uint64_t Hash(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Rounds to bf16, nearest even. Requires a finite value.
__host__ __device__ inline uint16_t BF16Bits(float value) {
  union {
    float f;
    uint32_t u;
  } bits = {value};
  return static_cast<uint16_t>((bits.u + 0x7FFFu + ((bits.u >> 16) & 1u)) >> 16);
}

// Calls `body(i)` for 0 <= i < count, on all processors.
inline void ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      constexpr int64_t kChunk = 256;
      for (int64_t begin; (begin = next.fetch_add(kChunk)) < count;) {
        for (int64_t i = begin; i < std::min(count, begin + kChunk); ++i) body(i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Part {
  const char* name;
  void (*run)();
};

// `PROGRAM PART [--json FILE]` runs a part on device 0; `PROGRAM --list` lists the parts. Returns the exit
// code.
inline int RunPart(int argc, char** argv, const std::vector<Part>& parts) {
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const Part& part : parts) std::printf("%s\n", part.name);
    return 0;
  }
  const Part* chosen = nullptr;
  for (const Part& part : parts) chosen = argc >= 2 && part.name == std::string(argv[1]) ? &part : chosen;
  if (chosen == nullptr || (argc != 2 && (argc != 4 || std::strcmp(argv[2], "--json") != 0))) {
    std::fprintf(stderr, "usage: %s PART [--json FILE], or %s --list\n", argv[0], argv[0]);
    return 2;
  }
  g_part = chosen->name;
  if (argc == 4 && (g_json = std::fopen(argv[3], "a")) == nullptr) {
    std::fprintf(stderr, "%s: cannot be opened: %s\n", argv[3], std::strerror(errno));
    return 2;
  }
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    const char* why = status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status);
    std::fprintf(stderr, "no CUDA device: %s\n", why);
    return 3;
  }
  CHECK_CUDA(cudaSetDevice(0));
  CHECK_CUDA(cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking));
  CHECK_CUDA(cudaDeviceGetAttribute(&g_device_major, cudaDevAttrComputeCapabilityMajor, 0));
  CHECK_CUDA(cudaDeviceGetAttribute(&g_sm_count, cudaDevAttrMultiProcessorCount, 0));
  chosen->run();
  CHECK_CUDA(cudaDeviceSynchronize());
  return 0;
}

}  // namespace prefixd::gpu
