// `machine`: what the CUDA runtime says of device 0, and of the versions in use.
#include "bench/gpu/probe_base.cuh"

namespace {

int Attribute(cudaDeviceAttr attribute) {
  int value = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&value, attribute, 0));
  return value;
}

void Machine() {
  using prefixd::gpu::Row;
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, 0));
  int driver = 0, runtime = 0;
  CHECK_CUDA(cudaDriverGetVersion(&driver));
  CHECK_CUDA(cudaRuntimeGetVersion(&runtime));
  size_t free_bytes = 0, total_bytes = 0;
  CHECK_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
  Row("device")
      .Add("gpu", properties.name)
      .Add("capability", properties.major * 10 + properties.minor)
      .Add("sm_count", properties.multiProcessorCount)
      .Add("sm_clock_khz", Attribute(cudaDevAttrClockRate))
      .Add("memory_clock_khz", Attribute(cudaDevAttrMemoryClockRate))
      .Add("memory_bus_bits", properties.memoryBusWidth)
      .Add("l2_bytes", properties.l2CacheSize)
      .Add("shared_bytes_per_sm", static_cast<int64_t>(properties.sharedMemPerMultiprocessor))
      .Add("shared_bytes_per_block", static_cast<int64_t>(properties.sharedMemPerBlockOptin))
      .Add("copy_engines", properties.asyncEngineCount)
      .Add("memory_bytes", static_cast<int64_t>(total_bytes))
      .Add("free_bytes", static_cast<int64_t>(free_bytes))
      .Add("ecc", properties.ECCEnabled)
      .Add("numa_node", Attribute(cudaDevAttrHostNumaId));
  Row("versions")
      .Add("driver_cuda", driver)
      .Add("runtime_cuda", runtime)
      .Add("host_processors", static_cast<int64_t>(std::thread::hardware_concurrency()));
}

}  // namespace

int main(int argc, char** argv) { return prefixd::gpu::RunPart(argc, argv, {{"machine", Machine}}); }
