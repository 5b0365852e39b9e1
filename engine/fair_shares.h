// FairShares: who comes next when several tenants want to compute. Each tenant has a counter of the tokens
// that were computed for it, divided by its weight, and the one with the lowest counter is served first. It
// is the Virtual Token Counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024),
// which is start-time fair queueing with tokens, with one change: who comes back after a while may be up to
// kCredit tokens ahead of the others, so that its prompt need not share the steps with a tenant that floods.
// What it gets on credit it has left to others before.
//
// One owner (the engine thread).
//
// Invariants
//   1. While two tenants have work all the time, their counters differ by at most kCredit, and by what one of
//      them computes in one step.
//   2. A tenant that is alone is never held back.
//   3. shared() is false until a second tenant comes, and from kAloneSeconds on after all but one have gone.
//   4. Remembered are the tenants with sequences, and others while these owe them or they owe these. When
//      nobody has sequences, nothing is remembered.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "engine/request.h"

namespace prefixd {

class FairShares {
 public:
  static constexpr double kCredit = 8192;
  // A tenant that was alone for so long is taken to be alone. It is a time and no number of tokens, because a
  // fast machine computes many tokens between two requests of a tenant that asks now and then.
  static constexpr double kAloneSeconds = 600;

  struct Tenant {
    double counter = 0;
    double weight = 1;
    int sequences = 0;  // that wait or run
    int running = 0;    // the scheduler counts them
    // The sequences that run, in proportion to the weight.
    double load(int more = 0) const { return (running + more) / weight; }
  };

  // A sequence has come. The result is valid until its Leave.
  Tenant* Join(const TenantShare& share);
  void Leave(Tenant* tenant);
  // Tokens were computed.
  void Charge(Tenant* tenant, int tokens) { tenant->counter += tokens / tenant->weight; }

  bool alone() const { return active_ <= 1; }  // at most one tenant has sequences
  // Whether several tenants have sequences, or another one than before came not long ago, so that another one
  // may come at any time. Called before each step; `now` does not fall.
  bool shared(double now) {
    if (std::exchange(another_came_, false) || !alone()) shared_until_ = now + kAloneSeconds;
    return now < shared_until_;
  }
  size_t remembered() const { return tenants_.size(); }

 private:
  double LowestActive() const;

  std::map<std::string, Tenant> tenants_;
  int active_ = 0;
  std::optional<std::string> last_;  // the tenant whose last sequence has left last
  bool another_came_ = false;        // after that one, since the last call of shared()
  double shared_until_ = -std::numeric_limits<double>::infinity();
};

}  // namespace prefixd
