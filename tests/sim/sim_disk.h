// SimDisk: a BlockStore that the simulator can damage and crash, and that says what it owes. One thread.
//
// Invariants
//   1. Every Get that brings no whole record is a bad read. One that brings other bytes than those of a put
//      is a damaged one.
//   2. `promised` has records that a restart must find: durable, and neither deleted nor told dropped since.
#pragma once

#include <set>

#include "storage/block_store.h"

namespace prefixd::sim {

class SimDisk : public BlockStore {
 public:
  // Every operation fails from now on, until Crash.
  virtual void PowerOff() = 0;
  // The process has ended with the power, and the next one begins: what is not durable is lost, or kept by
  // chance.
  virtual void Crash() = 0;
  // The scan after a restart passes a record. Returns false when it has passed all.
  virtual bool LearnOne() = 0;
  // Drops a record by itself and tells it.
  virtual void EvictOne() = 0;
  // Changes a bit of a record where it lies.
  virtual void Damage() = 0;
  virtual const std::set<BlockKey>& promised() const = 0;
  virtual uint64_t bad_reads() const = 0;
  virtual uint64_t damaged_reads() const = 0;
  // Reads of a record that a Get in this process has found missing or damaged, and that was not put since.
  virtual uint64_t repeated_reads() const = 0;
};

}  // namespace prefixd::sim
