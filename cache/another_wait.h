// AnotherWait: how long a lease waits for blocks that another daemon computes, and for their loads. At each
// time it is known when all blocks would be there if this daemon began to compute them now. The lease waits
// while that is at most `slack` later than it has been before. So a wait costs no more than that, however far
// the other daemon came and whatever it does then. It reads no clock. Engine thread only.
//
// Invariants
//   1. A wait that ends in vain does so at a time t with t + rest <= begin + rest at the begin + slack, and
//      what may come between two calls of MayWait.
//   2. After it has ended, it never begins again.
#pragma once

#include <algorithm>

namespace prefixd {

class AnotherWait {
 public:
  // Such a share of the time that computing all takes; a step comes on top.
  static constexpr double kShare = 0.25;

  bool is_on() const { return state_ == State::kOn; }
  bool has_ended() const { return state_ == State::kEnded; }
  // To compute all takes `rest` seconds, in steps of `step` seconds.
  void Begin(double now, double rest, double step) {
    state_ = State::kOn;
    rest_ = rest;
    best_ = now + rest;
    slack_ = kShare * rest + step;
  }
  // What is left takes `rest` seconds. Where others have begun to compute here, that is longer than before,
  // but no reason to begin as well. Returns false when the wait has ended.
  bool MayWait(double now, double rest) {
    rest_ = std::min(rest_, rest);
    best_ = std::min(best_, now + rest_);
    if (is_on() && now + rest_ > best_ + slack_) End();
    return is_on();
  }
  void End() { state_ = State::kEnded; }

 private:
  enum class State { kNotBegun, kOn, kEnded } state_ = State::kNotBegun;
  double rest_ = 0;   // the least so far
  double best_ = 0;   // when all could have been computed, at the earliest
  double slack_ = 0;  // seconds
};

}  // namespace prefixd
