#include "tests/sim/disk_shares.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "storage/record.h"
#include "tests/sim/seeds.h"

namespace prefixd::sim {
namespace {

constexpr BlockKey kFingerprint{11, 12};
constexpr uint64_t kCapacity = kMinDiskCapacity;
// Less than RecordOwners may hold of so small a store, see RecordOwners::Spare.
constexpr uint64_t kMostGuaranteed = 3 << 20;
constexpr uint64_t kLeastPayload = 2'000, kMostPayload = 40'000;
constexpr int64_t kSecond = 1'000'000'000;

}  // namespace

void DiskSharesSeen::Add(const DiskSharesSeen& other) {
  const auto add = [&](auto... members) { ((this->*members += other.*members), ...); };
  add(&DiskSharesSeen::puts, &DiskSharesSeen::replaced, &DiskSharesSeen::deleted, &DiskSharesSeen::kept,
      &DiskSharesSeen::evicted, &DiskSharesSeen::rests, &DiskSharesSeen::restarts, &DiskSharesSeen::crashes,
      &DiskSharesSeen::floods_before_scan, &DiskSharesSeen::guarded, &DiskSharesSeen::limited);
}

DiskShares::DiskShares(uint64_t seed, Untold untold)
    : untold_(untold), random_(seed), medium_((folder_.path() / "kv").string(), seed) {
  ChangeShares();
  Open();
  Scan();
}

DiskSharesSeen DiskShares::Run(int events) {
  for (int i = 0; i < events; ++i) {
    current_event = static_cast<uint64_t>(i);
    Event();
  }
  Rest();
  return seen_;
}

// --- The records ---

BlockKey DiskShares::Key(size_t owner, uint64_t number) {
  return {.low = RandomAt(owner, number), .high = number};
}

uint64_t DiskShares::PayloadBytes(size_t owner, uint64_t number) {
  return kLeastPayload + RandomAt(owner + 77, number) % (kMostPayload - kLeastPayload);
}

uint64_t DiskShares::Bytes(size_t owner, uint64_t number) {
  static const uint64_t overhead = Record(0, 0, 0).size() - PayloadBytes(0, 0);
  return overhead + PayloadBytes(owner, number);
}

uint64_t DiskShares::Bytes(size_t owner, const Versions& records) {
  uint64_t bytes = 0;
  for (const auto& [number, version] : records) bytes += Bytes(owner, number);
  return bytes;
}

std::string DiskShares::Record(size_t owner, uint64_t number, uint64_t version) {
  const TokenId tokens[] = {static_cast<TokenId>(number), static_cast<TokenId>(version)};
  const BlockKey root{.low = 5, .high = Name(owner)};
  const std::string payload(PayloadBytes(owner, number), static_cast<char>(version));
  return EncodeRecord({.fingerprint = kFingerprint,
                       .root = root,
                       .key = Key(owner, number),
                       .parent = root,
                       .tokens = tokens},
                      7, RawPayload(std::as_bytes(std::span(payload))));
}

// --- Events ---

void DiskShares::Open() {
  auto store = DiskStore::Open({.path = (folder_.path() / "kv").string(),
                                .capacity = kCapacity,
                                .group = kFingerprint,
                                .shares = Told(),
                                .clock = &clock_,
                                .observer = &medium_});
  PREFIXD_CHECK(store.ok()) << store.status().ToString();
  store_ = std::move(*store);
  evicted_before_ = 0;
}

void DiskShares::Scan() {
  const Status status = store_->Scan([](const BlockKey&, std::string_view) { return true; });
  PREFIXD_CHECK(status.ok() && store_->scanned()) << status.ToString();
}

void DiskShares::Event() {
  for (size_t i = 0; i < kOwners; ++i) {
    owners_[i].acted = false;
    owners_[i].before = Bytes(i, owners_[i].records);
  }
  const uint64_t dice = random_.Below(100);
  if (dice < 30) return Write(AnOwner(), random_.Below(400'000)), Check();
  if (dice < 45) return Write(AnOwner(), kCapacity / 4 + random_.Below(kCapacity)), Check();
  if (dice < 65) return Touch(AnOwner()), Check();
  if (dice < 75) return Sync(), Check();
  if (dice < 82) return Pass(random_.Between(0, 3 * kSecond)), Check();
  if (dice < 86) return ChangeShares();
  if (dice < 90) return Restart(/*power_fails=*/false);
  if (dice < 94) return Restart(/*power_fails=*/true);
  Rest();
}

void DiskShares::Write(size_t owner, uint64_t bytes) {
  Owner& writer = owners_[owner];
  writer.acted = true;
  for (uint64_t sum = 0; sum < bytes;) {
    const uint64_t number = random_.Below(kKeys);
    const uint64_t version = ++last_version_;
    std::string record = Record(owner, number, version);
    PREFIXD_CHECK(record.size() == Bytes(owner, number)) << record.size();
    sum += record.size();
    const Status status = store_->Put(Key(owner, number), std::move(record));
    PREFIXD_CHECK(status.ok()) << status.ToString();
    ++seen_.puts;
    seen_.replaced += writer.records.contains(number) ? 1 : 0;
    writer.records[number] = version;
    writer.history[number].insert(version);
    writer.durable.erase(number);
    writer.uncertain.insert(number);
  }
}

// Reads, keeps or deletes a few of its records.
void DiskShares::Touch(size_t owner) {
  Owner& actor = owners_[owner];
  const uint64_t kind = random_.Below(4);
  for (int i = 0; i < 20 && !actor.records.empty(); ++i) {
    const auto record =
        std::next(actor.records.begin(), static_cast<ptrdiff_t>(random_.Below(actor.records.size())));
    const BlockKey key = Key(owner, record->first);
    if (kind < 2) {
      PREFIXD_CHECK(store_->Get(key).ok()) << "record " << record->first;
    } else if (kind == 2) {
      seen_.kept += store_->Keep(key, {.until = 1'000'000, .seconds = 1000, .owner = Name(owner)}) ? 1 : 0;
    } else {
      PREFIXD_CHECK(store_->Delete(key).ok());
      ++seen_.deleted;
      actor.acted = true;
      actor.uncertain.insert(record->first);
      actor.durable.erase(record->first);
      actor.records.erase(record);
    }
  }
}

void DiskShares::ChangeShares() {
  uint64_t left = kMostGuaranteed;
  for (size_t i = 0; i + 1 < kOwners; ++i) {
    OwnerShare& share = owners_[i].share;
    share = {.owner = Name(i), .weight = static_cast<double>(random_.Between(1, 4))};
    if (random_.Chance(0.6)) share.guaranteed = random_.Below(left + 1);
    left -= share.guaranteed;
    // So much above that what goes beside is not guaranteed.
    if (random_.Chance(0.4)) share.most = share.guaranteed / 4 * 5 + 300'000 + random_.Below(1 << 20);
  }
  if (store_ != nullptr) store_->SetShares(Told());
}

std::vector<OwnerShare> DiskShares::Told() const {
  std::vector<OwnerShare> told;
  for (size_t i = 0; i + 1 < kOwners; ++i) {
    told.push_back(owners_[i].share);
    if (untold_ == Untold::kGuarantees) told.back().guaranteed = 0;
    if (untold_ == Untold::kLimits) told.back().most = OwnerShare{}.most;
  }
  return told;
}

void DiskShares::Sync() {
  const Status status = store_->Sync();
  PREFIXD_CHECK(status.ok()) << status.ToString();
  for (size_t i = 0; i < kOwners; ++i) {
    Owner& owner = owners_[i];
    std::erase_if(owner.records, [&](const auto& record) { return !store_->Contains(Key(i, record.first)); });
    owner.durable = owner.records;
    owner.uncertain.clear();
  }
}

void DiskShares::Pass(int64_t nanos) {
  clock_.Advance(nanos);
  const Status status = store_->Maintain();
  PREFIXD_CHECK(status.ok()) << status.ToString();
}

void DiskShares::Restart(bool power_fails) {
  if (power_fails) {
    medium_.PowerOff();
    store_.reset();
    medium_.Crash(/*by_chance=*/true);
    medium_.Heal();
    ++seen_.crashes;
  } else {
    Sync();
    store_.reset();
    ++seen_.restarts;
  }
  Open();
  if (random_.Chance(0.5)) {
    Write(AnOwner(), kCapacity / 2 + random_.Below(kCapacity));
    ++seen_.floods_before_scan;
  }
  Scan();
  if (!power_fails) return Check();
  CheckAfterCrash();
}

void DiskShares::Rest() {
  Sync();
  for (size_t i = 0; i < kOwners; ++i)
    seen_.limited += store_->BytesOf(Name(i)) > owners_[i].share.most ? 1 : 0;
  for (int i = 0; i < 3; ++i) Pass(2 * kSecond);
  Check();
  CheckAtRest();
  ++seen_.rests;
}

// --- Laws ---

void DiskShares::NoteEvictions() {
  const uint64_t evicted = store_->stats().evicted_records;
  const bool evicts = evicted > evicted_before_;
  seen_.evicted += evicted - std::exchange(evicted_before_, evicted);
  for (const Owner& owner : owners_)
    seen_.guarded += evicts && !owner.acted && owner.before > 0 && owner.before <= owner.share.guaranteed;
}

void DiskShares::Check() {
  NoteEvictions();
  PREFIXD_CHECK(store_->ledger().peak() <= kCapacity) << store_->ledger().peak();
  for (size_t i = 0; i < kOwners; ++i) {
    Owner& owner = owners_[i];
    for (auto record = owner.records.begin(); record != owner.records.end();) {
      if (store_->Contains(Key(i, record->first))) {
        ++record;
        continue;
      }
      owner.uncertain.insert(record->first);
      owner.durable.erase(record->first);
      record = owner.records.erase(record);
    }
    const uint64_t bytes = Bytes(i, owner.records);
    PREFIXD_CHECK(owner.acted || bytes >= std::min(owner.before, owner.share.guaranteed))
        << "owner " << i << " had " << owner.before << " bytes, has " << bytes << ", and is guaranteed "
        << owner.share.guaranteed;
  }
}

// What is not durable, or changed since, may be there in any version that was ever put, or not.
void DiskShares::CheckAfterCrash() {
  NoteEvictions();
  for (size_t i = 0; i < kOwners; ++i) {
    Owner& owner = owners_[i];
    uint64_t most = 0, durable = 0;  // bytes that the crash may have left, and those that it must
    for (const auto& [number, versions] : owner.history)
      most += owner.durable.contains(number) || owner.uncertain.contains(number) ? Bytes(i, number) : 0;
    Versions found;
    for (const auto& [number, versions] : owner.history) {
      const auto record = store_->Get(Key(i, number));
      if (!record.ok()) continue;
      const auto version = std::ranges::find_if(
          versions, [&, number = number](uint64_t put) { return *record == Record(i, number, put); });
      PREFIXD_CHECK(version != versions.end()) << "record " << number << " was never put";
      found[number] = *version;
    }
    for (const auto& [number, version] : owner.durable) {
      const bool is_there = found.contains(number);
      durable += Bytes(i, number);
      PREFIXD_CHECK(owner.acted || is_there || most > owner.share.guaranteed)
          << "owner " << i << " lost a durable record, has at most " << most << " bytes, and is guaranteed "
          << owner.share.guaranteed;
      PREFIXD_CHECK(!is_there || found[number] == version) << "an old version came back";
    }
    const uint64_t bytes = Bytes(i, found);
    PREFIXD_CHECK(owner.acted || bytes >= std::min(durable, owner.share.guaranteed))
        << "owner " << i << " had " << durable << " durable bytes, has " << bytes << ", and is guaranteed "
        << owner.share.guaranteed;
    owner.records = std::move(found);
  }
  Sync();
}

void DiskShares::CheckAtRest() {
  store_->CheckInvariants();
  for (size_t i = 0; i < kOwners; ++i) {
    const Owner& owner = owners_[i];
    const uint64_t bytes = Bytes(i, owner.records), most = owner.share.most;
    PREFIXD_CHECK(bytes <= most) << "owner " << i << " has " << bytes << " bytes, of at most " << most;
    PREFIXD_CHECK(store_->BytesOf(Name(i)) == bytes) << store_->BytesOf(Name(i)) << " of " << bytes;
    for (const auto& [number, version] : owner.records) {
      const auto record = store_->Get(Key(i, number));
      PREFIXD_CHECK(record.ok() && *record == Record(i, number, version)) << "record " << number;
    }
  }
}

DiskSharesSeen SimulateDiskShares(uint64_t seed, Untold untold) {
  current_seed = seed;
  return DiskShares(seed, untold).Run(60);
}

}  // namespace prefixd::sim
