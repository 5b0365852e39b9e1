// disk_writer DIR SEED: writes records into a disk store until it is killed, and says on standard output what
// it has done, one line each, as soon as it is so:
//
//   have KEY VERSION    at the start: what lies in DIR, whole
//   damaged KEY         at the start: a record that could not be read, or is not what was put
//   ready               the start is over
//   put KEY VERSION     is about to be put, and may be there from now on
//   ack KEY VERSION     is durable
//   drop KEY            the record was told dropped
//
// disk_writer_test.py kills it and compares. A record names its key and version, so it proves itself.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/prng.h"
#include "storage/disk_store.h"

namespace prefixd {
namespace {

constexpr BlockKey kGroup{11, 12};

BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = n}; }

std::string Record(uint64_t n, uint64_t version) {
  Prng random(n << 32 ^ version);
  std::string record(10'000 + random.Below(60'000), '\0');
  for (size_t at = 0; at + 8 <= record.size(); at += 8) {
    const uint64_t bits = at == 0 ? version : random.Next();
    record.replace(at, 8, reinterpret_cast<const char*>(&bits), 8);
  }
  return record;
}

// One write, so that a line is there whole or not at all.
void Say(const std::string& word, uint64_t n, uint64_t version) {
  const std::string line = word + " " + std::to_string(n) + " " + std::to_string(version) + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
}

bool ShowAll(DiskStore* store, uint64_t* version) {
  std::vector<uint64_t> keys;
  const Status scan = store->Scan([&](const BlockKey& key, std::string_view) {
    keys.push_back(key.high);
    return true;
  });
  if (!scan.ok()) std::fprintf(stderr, "%s\n", scan.ToString().c_str());
  for (const uint64_t n : keys) {
    const auto record = store->Get(Key(n));
    uint64_t found = 0;
    if (record.ok() && record->size() >= sizeof found)
      found = *reinterpret_cast<const uint64_t*>(record->data());
    const bool whole = record.ok() && *record == Record(n, found);
    Say(whole ? "have" : "damaged", n, found);
    *version = std::max(*version, found);
  }
  return scan.ok();
}

int Main(const std::string& path, uint64_t seed) {
  const SystemClock clock;
  std::vector<std::pair<uint64_t, uint64_t>> put;  // and not yet acknowledged
  auto store = DiskStore::Open({.path = path,
                                .capacity = 12 << 20,
                                .group = kGroup,
                                .clock = &clock,
                                .on_drop = [&put](const BlockKey& key, DropReason) {
                                  Say("drop", key.high, 0);
                                  std::erase_if(put, [&](const auto& p) { return p.first == key.high; });
                                }});
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    return 1;
  }
  uint64_t version = seed << 24;  // greater than those of the runs before
  if (!ShowAll(store->get(), &version)) return 1;
  Say("ready", 0, 0);
  Prng random(seed);
  while (true) {
    const uint64_t n = random.Below(400);
    Say("put", n, ++version);
    if (!(*store)->Put(Key(n), Record(n, version)).ok()) return 1;
    put.emplace_back(n, version);
    if (!random.Chance(0.15)) continue;
    if (!(*store)->Sync().ok()) return 1;
    for (const auto& [key, acknowledged] : put) Say("ack", key, acknowledged);
    put.clear();
  }
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: disk_writer DIR SEED\n");
    return 2;
  }
  return prefixd::Main(argv[1], std::strtoull(argv[2], nullptr, 10));
}
