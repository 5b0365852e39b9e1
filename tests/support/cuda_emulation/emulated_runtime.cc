#include "tests/support/cuda_emulation/emulated_runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace prefixd::cuda_emulation {
namespace {

KernelEntry* Entries() {
  static KernelEntry entries[cuda::kKernels];
  return entries;
}

}  // namespace

const KernelEntry& EntryOf(cuda::KernelId kernel) {
  const KernelEntry& entry = Entries()[static_cast<size_t>(kernel)];
  PREFIXD_CHECK(entry.body != nullptr) << "kernel " << static_cast<int>(kernel) << " is not linked";
  return entry;
}

KernelGroup::KernelGroup(std::initializer_list<std::pair<cuda::KernelId, KernelEntry>> entries, bool early) {
  for (const auto& [kernel, entry] : entries) {
    Entries()[static_cast<size_t>(kernel)] = entry;
    Entries()[static_cast<size_t>(kernel)].early = early;
  }
}

using cuda::Event;
using cuda::Stream;

EmulatedRuntime::EmulatedRuntime(const EmulatedOptions& options)
    : options_(options), random_(static_cast<uint32_t>(options.seed)), runner_(options.seed) {
  facts_ = {.name = "emulated device",
            .compute_capability = 90,
            .multiprocessors = 4,
            .bytes = options.bytes,
            .shared_bytes = size_t{227} << 10,
            .versions = "emulation"};
  runner_.set_exact_products(options.exact_products);
  thread_ = std::thread([this] { RunDevice(); });
}

EmulatedRuntime::~EmulatedRuntime() {
  {
    MutexLock lock(mutex_);
    ends_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
  MutexLock lock(mutex_);
  PREFIXD_CHECK(graphs_.empty()) << graphs_.size() << " graphs leak";
  PREFIXD_CHECK(device_.empty() && pinned_.empty())
      << device_.size() << " pieces of device memory and " << pinned_.size() << " of pinned memory leak";
}

void EmulatedRuntime::FailFrom(uint64_t first, Code error) {
  PREFIXD_CHECK(error == Code::kResourceExhausted || error == Code::kUnavailable);
  (error == Code::kUnavailable ? lost_from_ : no_memory_at_) = first;
}

void EmulatedRuntime::LoseAfter(uint64_t work) {
  MutexLock lock(mutex_);
  lose_at_ = work_ + work;
}

void EmulatedRuntime::Hold(Stream stream, bool held) {
  {
    MutexLock lock(mutex_);
    held_[static_cast<size_t>(stream)] = held;
  }
  changed_.NotifyAll();
}

size_t EmulatedRuntime::waiting_copies(Stream stream) {
  MutexLock lock(mutex_);
  const std::deque<Work>& queue = streams_[static_cast<size_t>(stream)];
  return static_cast<size_t>(std::ranges::count(queue, true, &Work::is_copy));
}

Status EmulatedRuntime::Admit(bool wants_memory) {
  const uint64_t call = calls_++;
  const uint64_t memory_call = wants_memory ? memory_calls_++ : 0;
  if (options_.loses_device && options_.loses_device()) lost_from_ = std::min(lost_from_.load(), call);
  if (!lost_ && call < lost_from_) {
    if (wants_memory && memory_call == no_memory_at_) return ResourceExhausted("no memory (emulated)");
    return Status::Ok();
  }
  lost_ = true;
  changed_.NotifyAll();
  MutexLock lock(mutex_);
  while (running_) changed_.Wait(mutex_);
  return Unavailable("the device is lost (emulated)");
}

// --- Memory ---

Result<size_t> EmulatedRuntime::FreeBytes() {
  PREFIXD_RETURN_IF_ERROR(Admit(true));
  MutexLock lock(mutex_);
  return options_.bytes - options_.others - used_;
}

Result<std::byte*> EmulatedRuntime::Allocate(size_t bytes) {
  PREFIXD_RETURN_IF_ERROR(Admit(true));
  MutexLock lock(mutex_);
  const size_t free = options_.bytes - options_.others - used_;
  std::byte* const memory = bytes > free ? nullptr : DeviceSpace::Get().Allocate(bytes);
  if (memory == nullptr) return ResourceExhausted("no device memory for " + FormatSize(bytes));
  used_ += bytes;
  device_[memory] = bytes;
  return memory;
}

void EmulatedRuntime::Free(std::byte* memory) {
  MutexLock lock(mutex_);
  while (lost_ && running_) changed_.Wait(mutex_);  // what the device was in when it was lost
  const auto it = device_.find(memory);
  PREFIXD_CHECK(it != device_.end()) << "freed twice, or never allocated";
  used_ -= it->second;
  device_.erase(it);
  DeviceSpace::Get().Free(memory);
}

Result<std::byte*> EmulatedRuntime::AllocatePinned(size_t bytes) {
  PREFIXD_RETURN_IF_ERROR(Admit(true));
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (memory == nullptr) return ResourceExhausted("no memory for " + FormatSize(bytes));
  std::memset(memory, 0xFF, bytes);
  MutexLock lock(mutex_);
  pinned_[memory] = bytes;
  return memory;
}

void EmulatedRuntime::FreePinned(std::byte* memory) {
  {
    MutexLock lock(mutex_);
    while (lost_ && running_) changed_.Wait(mutex_);
    PREFIXD_CHECK(pinned_.erase(memory) == 1) << "freed twice, or never allocated";
  }
  std::free(memory);
}

std::byte* EmulatedRuntime::Reach(const void* memory, size_t bytes) {
  if (std::byte* const found = DeviceSpace::Get().Bytes(memory, bytes)) return found;
  auto* const at = static_cast<std::byte*>(const_cast<void*>(memory));
  MutexLock lock(mutex_);
  auto it = pinned_.upper_bound(at);
  PREFIXD_CHECK(it != pinned_.begin()) << "a copy of memory that is neither device nor pinned memory";
  --it;
  PREFIXD_CHECK(at + bytes <= it->first + it->second) << "a copy beyond the end of pinned memory";
  return at;
}

// --- Work ---

Status EmulatedRuntime::Give(Stream stream, Work work) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  {
    MutexLock lock(mutex_);
    if (captured_ == static_cast<int>(stream)) {
      PREFIXD_CHECK(work.run && !work.is_copy && work.writes == nullptr) << "a capture of what is no launch";
      recorded_.push_back(std::move(work));
      return Status::Ok();
    }
    streams_[static_cast<size_t>(stream)].push_back(std::move(work));
  }
  changed_.NotifyAll();
  return Status::Ok();
}

Status EmulatedRuntime::Copy(Stream stream, std::byte* to, const std::byte* from, size_t bytes) {
  return Give(stream,
              {.run = [this, to, from, bytes] { std::memmove(Reach(to, bytes), Reach(from, bytes), bytes); },
               .is_copy = true,
               .reads = from,
               .writes = to,
               .bytes = bytes});
}
Status EmulatedRuntime::CopyToDevice(Stream stream, std::byte* device, const std::byte* host, size_t bytes) {
  return Copy(stream, device, host, bytes);
}
Status EmulatedRuntime::CopyToHost(Stream stream, std::byte* host, const std::byte* device, size_t bytes) {
  return Copy(stream, host, device, bytes);
}
Status EmulatedRuntime::CopyOnDevice(Stream stream, std::byte* to, const std::byte* from, size_t bytes) {
  return Copy(stream, to, from, bytes);
}

Status EmulatedRuntime::Zero(Stream stream, std::byte* device, size_t bytes) {
  return Give(stream, {.run = [this, device, bytes] { std::memset(Reach(device, bytes), 0, bytes); },
                       .writes = device,
                       .bytes = bytes});
}

Status EmulatedRuntime::Launch(Stream stream, const cuda::KernelLaunch& launch) {
  PREFIXD_CHECK(launch.shared_bytes <= facts_.shared_bytes) << launch.shared_bytes;
  const auto* const begin = static_cast<const std::byte*>(launch.params);
  std::vector<std::byte> params(begin, begin + EntryOf(launch.kernel).param_bytes);
  const Grid grid{launch.blocks_x, launch.blocks_y, launch.threads, launch.shared_bytes};
  return Give(stream, {.run = [this, kernel = launch.kernel, grid, params = std::move(params)] {
                ++launches_;
                const KernelEntry& entry = EntryOf(kernel);
                runner_.Run(entry.name, grid, entry.body, params.data(), entry.early);
              }});
}

// --- Graphs ---

Status EmulatedRuntime::BeginCapture(Stream stream) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  if (options_.refuses_capture && options_.refuses_capture()) return Unsupported("no capture (emulated)");
  MutexLock lock(mutex_);
  PREFIXD_CHECK(captured_ < 0) << "a capture within a capture";
  captured_ = static_cast<int>(stream);
  recorded_.clear();
  return Status::Ok();
}

Result<cuda::Graph> EmulatedRuntime::EndCapture(Stream stream) {
  const Status admitted = Admit();
  MutexLock lock(mutex_);
  PREFIXD_CHECK(captured_ == static_cast<int>(stream)) << captured_;
  captured_ = -1;
  PREFIXD_RETURN_IF_ERROR(admitted);
  if (options_.refuses_capture && options_.refuses_capture()) return Unsupported("no graph (emulated)");
  const cuda::Graph graph{next_graph_++};
  graphs_[graph.number] = std::move(recorded_);
  return graph;
}

Status EmulatedRuntime::LaunchGraph(Stream stream, cuda::Graph graph) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(graphs_.contains(graph.number) && captured_ < 0) << graph.number;
    for (const Work& work : graphs_[graph.number]) streams_[static_cast<size_t>(stream)].push_back(work);
  }
  ++graph_launches_;
  changed_.NotifyAll();
  return Status::Ok();
}

void EmulatedRuntime::FreeGraph(cuda::Graph graph) {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(graphs_.erase(graph.number) == 1) << "freed twice, or never recorded";
}

size_t EmulatedRuntime::graphs() {
  MutexLock lock(mutex_);
  return graphs_.size();
}

// --- Events ---

Result<Event> EmulatedRuntime::Record(Stream stream) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  Event event;
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(captured_ != static_cast<int>(stream)) << "an event in a capture";
    event.number = next_event_++;
    events_[event.number] = false;
    streams_[static_cast<size_t>(stream)].push_back({.records = event.number});
  }
  changed_.NotifyAll();
  return event;
}

Status EmulatedRuntime::WaitFor(Stream stream, Event event) {
  if (event.number == 0) return Status::Ok();
  return Give(stream, {.waits = event.number});
}

Status EmulatedRuntime::Synchronize(Event event) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  if (event.number == 0) return Status::Ok();
  MutexLock lock(mutex_);
  PREFIXD_CHECK(events_.contains(event.number)) << event.number;
  ++waiting_;
  changed_.NotifyAll();
  while (!events_[event.number]) changed_.Wait(mutex_);
  --waiting_;
  has_waited_ = true;
  if (!lost_) return Status::Ok();
  while (running_) changed_.Wait(mutex_);
  return Unavailable("the device is lost (emulated)");
}

Result<bool> EmulatedRuntime::HasEnded(Event event) {
  PREFIXD_RETURN_IF_ERROR(Admit());
  if (event.number == 0) return true;
  MutexLock lock(mutex_);
  PREFIXD_CHECK(events_.contains(event.number)) << event.number;
  return events_[event.number];
}

// --- The device ---

int EmulatedRuntime::Choose() {
  int can[cuda::kStreams], copies[cuda::kStreams];
  int count = 0, copy_count = 0;
  for (int i = 0; i < cuda::kStreams; ++i) {
    if (streams_[i].empty()) continue;
    if (held_[i] && !lost_) continue;
    const Work& next = streams_[i].front();
    if (next.waits != 0 && !events_[next.waits]) continue;
    if (next.is_copy && options_.late_copies)
      copies[copy_count++] = i;
    else
      can[count++] = i;
  }
  if (count > 0) return can[random_() % static_cast<unsigned>(count)];
  const bool due = waiting_ > 0 || ends_;
  return copy_count > 0 && due ? copies[random_() % static_cast<unsigned>(copy_count)] : -1;
}

EmulatedRuntime::Work EmulatedRuntime::Take(int stream) {
  Work work = std::move(streams_[stream].front());
  streams_[stream].pop_front();
  std::vector<BlockRunner::Busy> busy;
  for (int i = 0; i < cuda::kStreams; ++i) {
    for (const Work& other : streams_[i]) {
      if (i == stream || (other.waits != 0 && !events_[other.waits])) break;
      if (other.reads != nullptr) busy.push_back({other.reads, other.bytes, false});
      if (other.writes != nullptr) busy.push_back({other.writes, other.bytes, true});
    }
  }
  if (work.run && !busy.empty()) ++beside_copies_;
  runner_.SetBusy(std::move(busy));
  return work;
}

void EmulatedRuntime::Run(const Work& work) {
  if (has_waited_.exchange(false)) runner_.ForgetWrites();
  if (work.reads != nullptr) runner_.NoteAccess(work.reads, work.bytes, false);
  if (work.writes != nullptr) runner_.NoteAccess(work.writes, work.bytes, true);
  work.run();
  conflicts_ = runner_.conflicts();
}

// A lost device runs nothing more, but its events end, so that nobody waits for ever.
void EmulatedRuntime::RunDevice() {
  for (;;) {
    Work work;
    bool runs = false;
    {
      MutexLock lock(mutex_);
      int stream = Choose();
      while (stream < 0) {
        bool idle = true;
        for (const std::deque<Work>& queue : streams_) idle = idle && queue.empty();
        if (ends_ && idle) return;
        PREFIXD_CHECK(!ends_) << "work waits for an event that nobody records";
        changed_.Wait(mutex_);
        stream = Choose();
      }
      work = Take(stream);
      runs = running_ = work.run && !lost_;
    }
    if (runs) Run(work);
    {
      MutexLock lock(mutex_);
      running_ = false;
      if (++work_ == lose_at_) lost_ = true;
      if (work.records != 0) events_[work.records] = true;
    }
    changed_.NotifyAll();
  }
}

}  // namespace prefixd::cuda_emulation
