// Times the disk store against the file system below it, in the same run and the same directory:
//   put    1 MiB records through PutBatch and a Sync, against write and fsync of the same bytes
//   get    four threads that read all records in random order, against O_DIRECT reads of 1 MiB
//   churn  eight times the capacity is put, while the bytes on the disk are measured every 5 ms
//   scan   a start with a million records: from Open until every record is found, caches dropped
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/harness.h"
#include "storage/disk_store.h"
#include "tests/support/disk_usage.h"

namespace prefixd::bench {
namespace {

namespace fs = std::filesystem;

constexpr size_t kRecord = 1 << 20;
constexpr int kReaders = 4;
constexpr BlockKey kGroup{1, 2};
const SystemClock kClock;

BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = SplitMix64(~n)}; }

// Bytes that do not compress, different for every n.
std::string Bytes(uint64_t n, size_t size) {
  std::string bytes(size, 0);
  Prng random(n);
  for (size_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t word = random.Next();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, bytes.data() + i);
  }
  return bytes;
}

// Without the right to do so, reads come from the page cache where the program under test uses it.
bool DropCaches() {
  ::sync();
  std::ofstream file("/proc/sys/vm/drop_caches");
  file << "3\n";
  return file.good();
}

double Seconds(const std::function<void()>& body) {
  const double start = kClock.NowSeconds();
  body();
  return kClock.NowSeconds() - start;
}

std::unique_ptr<DiskStore> Open(const std::string& path, uint64_t capacity) {
  auto store = DiskStore::Open({.path = path, .capacity = capacity, .group = kGroup, .clock = &kClock});
  PREFIXD_CHECK(store.ok()) << store.status().ToString();
  return std::move(*store);
}

void OnThreads(int threads, const std::function<void(int)>& body) {
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) running.emplace_back(body, t);
  for (std::thread& thread : running) thread.join();
}

void WriteFile(const std::string& path, const std::vector<std::string>& records, size_t count,
               uint64_t sync_bytes) {
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, S_IRUSR | S_IWUSR);
  PREFIXD_CHECK(file >= 0) << path;
  uint64_t unsynced = 0;
  for (size_t n = 0; n < count; ++n) {
    const std::string& record = records[n % records.size()];
    PREFIXD_CHECK(::write(file, record.data(), record.size()) == static_cast<ssize_t>(record.size()));
    unsynced += record.size();
    if (unsynced >= sync_bytes) {
      PREFIXD_CHECK(::fsync(file) == 0);
      unsynced = 0;
    }
  }
  PREFIXD_CHECK(::fsync(file) == 0);
  ::close(file);
}

void PutAll(DiskStore* store, const std::vector<std::string>& records, size_t count) {
  OnThreads(2, [&](int t) {
    for (size_t n = static_cast<size_t>(t); n < count; n += 2) {
      std::vector<StoreEntry> batch;
      batch.push_back({.key = Key(n), .record = records[n % records.size()]});
      const Status status = store->PutBatch(std::move(batch));
      PREFIXD_CHECK(status.ok()) << status.ToString();
    }
  });
  const Status status = store->Sync();
  PREFIXD_CHECK(status.ok()) << status.ToString();
}

// Reads the records in random order on kReaders threads. `read` gets the number of one.
double ReadAll(size_t count, const std::function<void(size_t)>& read) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Prng random(3);
  for (size_t n = count; n > 1; --n) std::swap(order[n - 1], order[random.Below(n)]);
  return Seconds([&] {
    OnThreads(kReaders, [&](int t) {
      for (size_t n = static_cast<size_t>(t); n < count; n += kReaders) read(order[n]);
    });
  });
}

double ReadFile(const std::string& path, size_t count) {
  const int file = ::open(path.c_str(), O_RDONLY | O_DIRECT);
  PREFIXD_CHECK(file >= 0) << path;
  thread_local void* buffer = nullptr;
  const double seconds = ReadAll(count, [&](size_t n) {
    if (buffer == nullptr) buffer = std::aligned_alloc(4096, kRecord);
    PREFIXD_CHECK(::pread(file, buffer, kRecord, static_cast<off_t>(n * kRecord)) == kRecord);
  });
  ::close(file);
  return seconds;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void PutAndGet(Report* report, const std::string& directory, size_t count, int runs) {
  const std::string file = directory + "/plain-file";
  const uint64_t capacity = std::max<uint64_t>(4 * count * kRecord, uint64_t{2} << 30);
  std::vector<std::string> records;
  for (uint64_t n = 0; n < 64; ++n) records.push_back(Bytes(n, kRecord));
  std::vector<double> put, plain_put, get, plain_get;
  for (int run = 0; run < runs; ++run) {
    fs::remove_all(directory + "/store");
    auto store = Open(directory + "/store", capacity);
    const auto write_file = [&] {
      plain_put.push_back(
          Seconds([&] { WriteFile(file, records, count, DiskStore::SegmentBytes(capacity)); }));
    };
    const auto write_store = [&] { put.push_back(Seconds([&] { PutAll(store.get(), records, count); })); };
    // Whichever comes second finds the disk busier.
    if (run % 2 == 0) write_file();
    write_store();
    if (run % 2 == 1) write_file();
    (void)DropCaches();
    const auto read_file = [&] { plain_get.push_back(ReadFile(file, count)); };
    if (run % 2 == 0) read_file();
    get.push_back(ReadAll(count, [&](size_t n) {
      const auto record = store->Get(Key(n));
      PREFIXD_CHECK(record.ok()) << record.status().ToString();
      PREFIXD_CHECK(record->size() == kRecord);
    }));
    if (run % 2 == 1) read_file();
  }
  const double bytes = static_cast<double>(count * kRecord);
  std::vector<double> put_ratio, get_ratio;
  for (int run = 0; run < runs; ++run) {
    put_ratio.push_back(plain_put[run] / put[run]);
    get_ratio.push_back(plain_get[run] / get[run]);
  }
  report->Add("write and fsync", bytes / Median(plain_put), "B/s");
  report->Add("put and Sync", bytes / Median(put), "B/s", {{"of_write_and_fsync", Median(put_ratio)}});
  report->Add("O_DIRECT reads, depth 4", bytes / Median(plain_get), "B/s");
  report->Add("get, 4 threads", bytes / Median(get), "B/s", {{"of_direct_reads", Median(get_ratio)}});
  fs::remove(file);
}

void Churn(Report* report, const std::string& directory, uint64_t capacity) {
  const std::string path = directory + "/churn";
  fs::remove_all(path);
  auto store = Open(path, capacity);
  std::atomic<bool> done{false};
  uint64_t most = 0;
  uint64_t samples = 0;
  std::thread sampler([&] {
    for (; !done; ++samples) {
      most = std::max(most, testing_support::DiskUsage(path));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  Prng random(5);
  const uint64_t count = 8 * capacity / (256 << 10);
  const double seconds = Seconds([&] {
    for (uint64_t n = 0; n < count; ++n) {
      const Status status = store->Put(Key(n), Bytes(n, random.Between(64 << 10, 448 << 10)));
      PREFIXD_CHECK(status.ok()) << status.ToString();
      if (n % 4 == 0) (void)store->Get(Key(n - random.Below(std::min<uint64_t>(n + 1, 200))));
      if (n % 64 == 0) (void)store->Maintain();
    }
    PREFIXD_CHECK(store->Sync().ok());
  });
  done = true;
  sampler.join();
  const DiskStoreStats stats = store->stats();
  const auto share = [&](uint64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(capacity);
  };
  report->Add("churn: most bytes on the disk", share(most), "of cap",
              {{"samples", static_cast<double>(samples)}});
  report->Add("churn: bytes at the end", share(testing_support::DiskUsage(path)), "of cap");
  report->Add("churn: written", static_cast<double>(stats.written_bytes) / seconds, "B/s",
              {{"copied_forward",
                static_cast<double>(stats.rewritten_bytes) / static_cast<double>(stats.written_bytes)}});
  PREFIXD_CHECK(most <= capacity) << most << " bytes on the disk";
}

void ScanAtStart(Report* report, const std::string& directory, uint64_t count, int runs) {
  const std::string path = directory + "/scan";
  constexpr uint64_t kSmall = 2048;
  const uint64_t capacity = std::max<uint64_t>(count * kSmall * 2, uint64_t{1} << 30);
  fs::remove_all(path);
  {
    auto store = Open(path, capacity);
    const std::string record = Bytes(1, kSmall);
    for (uint64_t n = 0; n < count; ++n) PREFIXD_CHECK(store->Put(Key(n), record).ok());
  }
  std::vector<double> seconds;
  double per_record = 0;
  bool dropped = false;
  for (int run = 0; run < runs; ++run) {
    dropped = DropCaches();
    std::unique_ptr<DiskStore> store;
    uint64_t found = 0;
    seconds.push_back(Seconds([&] {
      store = Open(path, capacity);
      PREFIXD_CHECK(store->Scan([&](const BlockKey&, std::string_view) { return ++found > 0; }).ok());
    }));
    PREFIXD_CHECK(found == count) << found;
    for (uint64_t n = 0; n < count; n += count / 100) PREFIXD_CHECK(store->Get(Key(n)).ok());
    per_record = static_cast<double>(store->stats().index_bytes) / static_cast<double>(count);
  }
  report->Add("scan: from Open to the last record", Median(seconds), "s",
              {{"records", static_cast<double>(count)}, {"caches_dropped", dropped ? 1.0 : 0.0}});
  report->Add("scan: RAM per record of the index", per_record, "B");
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) {
  using namespace prefixd;
  using namespace prefixd::bench;
  Arguments arguments(
      "store_bench", "Times the disk store against the file system below it.",
      {{"--dir", "DIR", "", "a folder on the file system to measure (default: a temporary one)"},
       {"--part", "NAME", "all", "all, io (put and get), churn or scan"},
       {"--megabytes", "N", "1024", "MiB to put and to get"},
       {"--cap", "N", "512", "capacity of the churn in MiB"},
       {"--records", "N", "1000000", "records of the scan"},
       {"--runs", "N", "3", "runs of each; the median counts"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const auto part = arguments.OneOf("--part", {"all", "io", "churn", "scan"});
  if (!part.ok()) arguments.Fail(part.status());
  const auto megabytes = static_cast<size_t>(arguments.IntegerOrExit("--megabytes", 4, 1 << 20));
  const auto cap = static_cast<uint64_t>(arguments.IntegerOrExit("--cap", 8, 1 << 20));
  const auto records = static_cast<uint64_t>(arguments.IntegerOrExit("--records", 100, 100'000'000));
  const int runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 100));
  std::string directory = arguments.Text("--dir");
  if (directory.empty()) directory = fs::temp_directory_path().string();
  directory += "/prefixd-store-bench-" + std::to_string(::getpid());
  fs::create_directories(directory);
  Report report(arguments);
  report.ProbeMachine();
  const auto wanted = [&](std::string_view name) { return *part == "all" || *part == name; };
  if (wanted("io")) PutAndGet(&report, directory, megabytes, runs);
  if (wanted("churn")) Churn(&report, directory, cap << 20);
  if (wanted("scan")) ScanAtStart(&report, directory, records, runs);
  fs::remove_all(directory);
  return report.Finish();
}
