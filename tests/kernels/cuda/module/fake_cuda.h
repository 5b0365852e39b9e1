// A CUDA runtime of the test: the functions of cuda_runtime_api.h that kernels/cuda/module calls, over
// memory of the host. It shows what the module asks CUDA for, and fails when a test wants it to.
//
// Work of a stream runs at the call, or, while it is held, when the test says so. The functions follow the
// documentation of CUDA where the module depends on it: an event stands for the work that was recorded last,
// and waiting for it means the record that was the last one when the wait began.
//
// Any thread may call CUDA; the functions here are for the thread of the test.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace prefixd::fake_cuda {

struct Launched {
  const void* function;
  unsigned blocks_x, blocks_y, threads;
  size_t shared_bytes;
  const void* params;
  bool overlaps;  // may begin before the launch before it has ended
};

// Forgets everything: one device of compute capability 9.0 and `bytes` of memory, a driver for CUDA 13.0,
// nothing held, no failure, no launches.
void Reset(size_t bytes = size_t{1} << 20);
void SetDriver(int version);  // 0: none
void SetDevices(int devices);
void SetCapability(int major, int minor);
void SetPtxVersion(int version);  // of the kernels; 90

// The call with number `call`, from 0, returns `error` instead of what it does. If it is sticky, so do all
// later ones.
void Fail(uint64_t call, cudaError_t error, bool sticky);
uint64_t Calls();

void Hold();
// Runs what can run, and holds nothing any more.
void Release();
// Runs the next `count` pieces of work of the stream that was created as number `stream`.
void RunNext(size_t stream, int count = 1);

struct Living {
  size_t memory = 0, pinned = 0, streams = 0, events = 0, graphs = 0;
  size_t total() const { return memory + pinned + streams + events + graphs; }
};
Living Alive();
// What CUDA leaves undefined and a test must not see: an event recorded while a thread waits for it, a free
// of what is not there, a call for another device. Empty: none.
std::string Faults();
const std::vector<Launched>& Launches();
// For each graph that was launched, how many launches it has.
const std::vector<size_t>& GraphLaunches();
// How many threads are in cudaEventSynchronize.
int Waiting();

}  // namespace prefixd::fake_cuda
