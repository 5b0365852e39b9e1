// EventList: the events of an OutputParser that Take has not returned yet. One owner.
//
// Invariants
//   1. Adjacent texts of one kind, and of one call, are one event.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "text/output/output_parser.h"

namespace prefixd {

class EventList {
 public:
  void AddText(OutputEvent::Kind kind, std::string_view text) {
    if (text.empty()) return;
    const size_t call = kind == OutputEvent::Kind::kArguments ? begun_ - 1 : 0;
    if (events_.empty() || events_.back().kind != kind || events_.back().call != call)
      events_.push_back({.kind = kind, .text = {}, .call = call});
    events_.back().text.append(text);
    bytes_ += text.size();
  }
  void AddCall(std::string_view name, std::string id) {
    events_.push_back({OutputEvent::Kind::kCall, std::string(name), std::move(id), begun_++});
    bytes_ += sizeof(OutputEvent) + name.size();
  }
  void EndCall(bool complete) {
    events_.push_back({.kind = OutputEvent::Kind::kCallEnd, .text = {}, .call = begun_ - 1});
    bytes_ += sizeof(OutputEvent);
    if (complete) ++complete_;
  }

  std::vector<OutputEvent> Take() {
    bytes_ = 0;
    return std::exchange(events_, {});
  }
  bool empty() const { return events_.empty(); }
  size_t begun() const { return begun_; }        // calls
  size_t complete() const { return complete_; }  // calls
  size_t bytes() const { return 2 * bytes_; }    // texts grow by doubling

 private:
  std::vector<OutputEvent> events_;
  size_t begun_ = 0, complete_ = 0, bytes_ = 0;
};

}  // namespace prefixd
