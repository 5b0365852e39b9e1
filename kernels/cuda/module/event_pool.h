// EventPool: events of CUDA by number, for one device. Callers keep numbers and give nothing back. The
// events of a stream end in the order in which they were recorded, so a number stands for "ended" once a
// later one has ended, and its event serves another record.
//
// The functions return what CUDA returns. The device of the calling thread is that of the streams.
//
// Invariants
//   1. At most as many events exist as had been recorded and were not seen to have ended at one time. Record
//      looks for those that have ended.
//   2. An event is not recorded again while a thread waits for it.
//
// Any thread; records of one stream come from one thread at a time.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/mutex.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

class EventPool {
 public:
  using Streams = std::array<cudaStream_t, kStreams>;

  // Requires that no thread waits for an event.
  ~EventPool();

  // Records an event of the stream, whose index is that of Stream.
  cudaError_t Record(const Streams& streams, Stream stream, Event* event);
  // Makes the stream wait. Returns at once.
  cudaError_t WaitFor(cudaStream_t stream, Event event);
  cudaError_t Synchronize(Event event);
  // cudaSuccess or cudaErrorNotReady, or an error.
  cudaError_t Query(Event event);
  size_t events() const;  // that exist

 private:
  struct Recorded {
    uint64_t sequence;
    cudaEvent_t event;
    int waiting = 0;  // threads
  };
  struct Line {
    mutable Mutex mutex;
    std::deque<Recorded> recorded GUARDED_BY(mutex);  // sequences without gaps
    uint64_t next GUARDED_BY(mutex) = 1;              // sequence
    uint64_t ended GUARDED_BY(mutex) = 0;             // this one and all before it
    std::vector<cudaEvent_t> free GUARDED_BY(mutex);
    size_t events GUARDED_BY(mutex) = 0;
  };

  // A number has the sequence of its event above the index of its stream.
  static uint64_t SequenceOf(Event event) { return event.number / kStreams; }
  Line& LineOf(Event event) { return lines_[event.number % kStreams]; }
  // Null when it has ended.
  static Recorded* Find(Line& line, uint64_t sequence) REQUIRES(line.mutex);
  // All up to `sequence` have ended.
  static void Retire(Line& line, uint64_t sequence) REQUIRES(line.mutex);

  std::array<Line, kStreams> lines_;
};

}  // namespace prefixd::cuda
