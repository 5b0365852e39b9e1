#include "kernels/cuda/module/event_pool.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd::cuda {

EventPool::~EventPool() {
  for (Line& line : lines_) {
    MutexLock lock(line.mutex);
    for (const Recorded& recorded : line.recorded) {
      PREFIXD_CHECK(recorded.waiting == 0) << recorded.waiting;
      (void)cudaEventDestroy(recorded.event);
    }
    for (const cudaEvent_t event : line.free) (void)cudaEventDestroy(event);
  }
}

cudaError_t EventPool::Record(const Streams& streams, Stream stream, Event* event) {
  const auto index = static_cast<size_t>(stream);
  Line& line = lines_[index];
  MutexLock lock(line.mutex);
  while (!line.recorded.empty() && line.recorded.front().waiting == 0) {
    const cudaError_t first = cudaEventQuery(line.recorded.front().event);
    if (first == cudaErrorNotReady) break;
    if (first != cudaSuccess) return first;
    Retire(line, line.recorded.front().sequence);
  }
  if (line.free.empty()) {
    cudaEvent_t created = nullptr;
    if (const cudaError_t error = cudaEventCreateWithFlags(&created, cudaEventDisableTiming);
        error != cudaSuccess) {
      return error;
    }
    line.free.push_back(created);
    ++line.events;
  }
  if (const cudaError_t error = cudaEventRecord(line.free.back(), streams[index]); error != cudaSuccess) {
    return error;
  }
  line.recorded.push_back({line.next, line.free.back()});
  line.free.pop_back();
  event->number = line.next++ * kStreams + index;
  return cudaSuccess;
}

cudaError_t EventPool::WaitFor(cudaStream_t stream, Event event) {
  if (event.number == 0) return cudaSuccess;
  Line& line = LineOf(event);
  MutexLock lock(line.mutex);
  const Recorded* const found = Find(line, SequenceOf(event));
  return found == nullptr ? cudaSuccess : cudaStreamWaitEvent(stream, found->event, 0);
}

cudaError_t EventPool::Synchronize(Event event) {
  if (event.number == 0) return cudaSuccess;
  Line& line = LineOf(event);
  const uint64_t sequence = SequenceOf(event);
  cudaEvent_t wanted = nullptr;
  {
    MutexLock lock(line.mutex);
    Recorded* const found = Find(line, sequence);
    if (found == nullptr) return cudaSuccess;
    ++found->waiting;
    wanted = found->event;
  }
  const cudaError_t error = cudaEventSynchronize(wanted);
  MutexLock lock(line.mutex);
  // It is still there: an event that a thread waits for does not retire.
  --line.recorded[sequence - line.recorded.front().sequence].waiting;
  if (error == cudaSuccess) Retire(line, sequence);
  return error;
}

cudaError_t EventPool::Query(Event event) {
  if (event.number == 0) return cudaSuccess;
  Line& line = LineOf(event);
  MutexLock lock(line.mutex);
  const Recorded* const found = Find(line, SequenceOf(event));
  if (found == nullptr) return cudaSuccess;
  const cudaError_t error = cudaEventQuery(found->event);
  if (error == cudaSuccess) Retire(line, SequenceOf(event));
  return error;
}

size_t EventPool::events() const {
  size_t events = 0;
  for (const Line& line : lines_) {
    MutexLock lock(line.mutex);
    events += line.events;
  }
  return events;
}

EventPool::Recorded* EventPool::Find(Line& line, uint64_t sequence) {
  PREFIXD_CHECK(sequence > 0 && sequence < line.next) << "no event has the sequence " << sequence;
  if (sequence <= line.ended) return nullptr;
  return &line.recorded[sequence - line.recorded.front().sequence];
}

void EventPool::Retire(Line& line, uint64_t sequence) {
  line.ended = std::max(line.ended, sequence);
  while (!line.recorded.empty() && line.recorded.front().sequence <= line.ended &&
         line.recorded.front().waiting == 0) {
    line.free.push_back(line.recorded.front().event);
    line.recorded.pop_front();
  }
}

}  // namespace prefixd::cuda
