// SpillBudget: decides whether blocks are written to the disk beside the steps, or when no request computes.
// Where the steps run on the processors, a spill takes one of them, and a step waits for the slowest of its
// threads. So the disk tier would make a server slower that never needs it. Engine thread only. It reads no
// clock: the cache tells it the time.
//
// It measures two shares of the work of the steps:
//   cost    of what spilling every block takes: seconds of a processor per second of steps, times 2, since
//           spills also take the caches and the memory from the steps
//   chance  of what the disk saves: of the blocks that memory did not have, those that it had lost. Each is
//           computed once, so this is the share of the computing that a disk tier can save.
// Spills run beside the steps while they are worth it (the chance is at least the cost), while the cost is
// at most kAllowance, and while a second of steps has not been measured. Otherwise they run beside the steps
// for kAllowance of their time only, and evenly, so that no step waits for many. They do not cease, so
// that the disk has a part of what may be wanted again. Newer blocks count more: the last 2,048 or so.
//
// Invariants
//   1. Unless their cost is below kAllowance, or they are worth it, the spills that may run beside the steps
//      take at most kAllowance of the time of the steps, kBurst, and what one request adds to it.
#pragma once

#include <cstddef>

namespace prefixd {

class SpillBudget {
 public:
  // `shares_processors`: whether spills slow steps down. Otherwise they always run beside them.
  explicit SpillBudget(bool shares_processors) : shares_processors_(shares_processors) {}

  // `now` in seconds; it never falls. `idle`: no request computes or waits from now on.
  void SetTime(double now, bool idle);
  // A block was computed that memory did not have. `again`: it had it before, and the disk does not.
  void Computed(bool again);
  // A block has come from the disk.
  void Loaded();
  // A spill to the disk has taken so many seconds of a processor.
  void Spilled(double seconds);
  // Whether blocks that could be spilled now, such as those of a request, may be spilled beside the steps.
  // `waiting`: blocks that may, and have not been spilled yet.
  bool MaySpill(size_t waiting);
  // How many spills may be under way beside the next step. > 0.
  size_t MostAtOnce() const;

  double cost() const;    // 0: not known
  double chance() const;  // in [0, 1]
  bool IsWorthIt() const { return !shares_processors_ || chance() >= cost() || cost() <= kAllowance; }

  static constexpr double kAllowance = 0.01;
  static constexpr double kBurst = 0.02;  // seconds

 private:
  void Count();

  const bool shares_processors_;
  double now_ = 0;
  bool idle_ = true;
  double step_ = 0;  // seconds between the last two calls of SetTime
  double measured_ = 0;  // seconds of steps, all of them
  // Sums over the last blocks that memory did not have, of which the older ones count less.
  double blocks_ = 0, wanted_ = 0, seconds_ = 0;
  double written_ = 1;  // of the answers of MaySpill, the share of yes
  // The same over the last spills.
  double spills_ = 0, work_ = 0;
  double allowance_ = kBurst;  // seconds of a processor
};

}  // namespace prefixd
