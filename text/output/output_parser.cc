#include "text/output/output_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "text/output/call_reader.h"
#include "text/output/event_list.h"
#include "text/output/harmony_parser.h"

namespace prefixd {
namespace {

using Kind = OutputEvent::Kind;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Every format but harmony.
class TagParser final : public OutputParser {
 public:
  explicit TagParser(OutputOptions options)
      : options_(std::move(options)),
        format_(options_.format),
        in_reasoning_(options_.begins_in_reasoning),
        drop_space_(options_.begins_in_reasoning) {
    SetMarkers();
    Push(options_.prefix);
  }

  void Push(std::string_view text) override {
    for (const char c : text) Feed(c);
  }
  void Finish() override;
  std::vector<OutputEvent> Take() override { return events_.Take(); }
  bool has_events() const override { return !events_.empty(); }
  size_t calls() const override { return events_.complete(); }
  bool in_reasoning() const override { return in_reasoning_; }
  size_t held_bytes() const override {
    return events_.bytes() + space_.capacity() + partial_.capacity() + raw_.capacity() +
           (reader_ ? reader_->held_bytes() : 0);
  }

 private:
  void Feed(char c) { reader_ ? FeedCall(c) : FeedText(c); }
  void FeedText(char c);
  void FeedCall(char c);
  void AddText(char c);
  void OnMarker();
  void BeginCall(size_t first_step, bool bare);
  void ReportCall();
  void EndReader();
  void SetMarkers();
  bool begins_with_call() const {
    return format_ != nullptr && !format_->call.empty() && format_->call[0].kind == StepKind::kText;
  }
  Kind kind() const { return in_reasoning_ ? Kind::kReasoning : Kind::kContent; }

  const OutputOptions options_;
  const ToolFormat* const format_;
  EventList events_;
  // Text outside of calls.
  bool in_reasoning_;
  bool at_start_ = true;     // of the answer, or of what follows reasoning: only white space came so far
  bool drop_space_;          // white space that comes now is beside a tag
  bool after_call_ = false;  // only white space came since a call
  bool reasoned_ = false;    // the reasoning is over
  std::string space_;        // white space that may be beside a tag
  std::string partial_;      // the beginning of a marker
  std::vector<std::string_view> markers_;  // what may come now
  // A call.
  std::optional<CallReader> reader_;
  std::string raw_;        // the text of a call that is not reported yet
  bool reported_ = false;  // its name, at least
  bool ended_ = false;     // all of it is reported
};

// Sets what may begin something else than plain text.
void TagParser::SetMarkers() {
  markers_.clear();
  const auto add = [this](std::string_view text) {
    if (!text.empty()) markers_.push_back(text);
  };
  const ReasoningTags* reasoning = options_.reasoning;
  if (in_reasoning_) add(reasoning->end);
  if (reasoning != nullptr && at_start_ && !reasoned_) add(reasoning->begin);
  if (in_reasoning_ || format_ == nullptr) return;
  add(format_->open);
  const bool bare = format_->bare != 0;
  if (bare && (at_start_ || after_call_)) add({&format_->bare, 1});
  if (begins_with_call() && !bare) add(format_->call[0].text);
  if (!after_call_) return;
  add(format_->between);
  add(format_->close);
}

void TagParser::FeedText(char c) {
  partial_.push_back(c);
  const auto begins = [this](std::string_view marker) { return marker.starts_with(partial_); };
  while (!partial_.empty() && std::none_of(markers_.begin(), markers_.end(), begins)) {
    const char first = partial_.front();
    partial_.erase(0, 1);
    AddText(first);
  }
  if (std::find(markers_.begin(), markers_.end(), partial_) != markers_.end()) OnMarker();
}

// Text that is no part of a marker.
void TagParser::AddText(char c) {
  if (IsSpace(c)) {
    space_.push_back(c);
    return;
  }
  if (!drop_space_) events_.AddText(kind(), space_);
  space_.clear();
  events_.AddText(kind(), {&c, 1});
  drop_space_ = false;
  if (!at_start_ && !after_call_) return;
  at_start_ = after_call_ = false;
  SetMarkers();
}

void TagParser::OnMarker() {
  const std::string marker = std::exchange(partial_, {});
  const ReasoningTags* reasoning = options_.reasoning;
  if (reasoning != nullptr && (marker == reasoning->begin || (in_reasoning_ && marker == reasoning->end))) {
    in_reasoning_ = marker == reasoning->begin;
    reasoned_ = !in_reasoning_;
    at_start_ = drop_space_ = true;
    space_.clear();
    return SetMarkers();
  }
  if (after_call_ && marker == format_->close) {
    space_.clear();
    after_call_ = format_->bare != 0;
    return SetMarkers();
  }
  raw_ = drop_space_ ? "" : space_;
  space_.clear();
  const bool bare = format_->bare != 0 && marker == std::string_view(&format_->bare, 1);
  if (bare) {
    BeginCall(0, true);
    return Feed(marker[0]);
  }
  raw_ += marker;
  BeginCall(begins_with_call() && marker == format_->call[0].text ? 1 : 0, false);
}

void TagParser::BeginCall(size_t first_step, bool bare) {
  reader_.emplace(*format_, *options_.tools, first_step, bare);
  reported_ = ended_ = false;
}

void TagParser::FeedCall(char c) {
  const CallReader::Result result = reader_->Push(c);
  if (!reported_) raw_.push_back(c);
  if (result == CallReader::Result::kFault) {
    if (reported_) {  // only a grammar that is none gets here
      events_.EndCall(false);
      raw_.assign(1, c);
    }
    reader_.reset();
    // All of the text is content, but for its last byte, which may begin a marker.
    raw_.pop_back();
    at_start_ = after_call_ = drop_space_ = false;
    events_.AddText(Kind::kContent, std::exchange(raw_, {}));
    SetMarkers();
    return FeedText(c);
  }
  ReportCall();
  if (result == CallReader::Result::kMore) return;
  const std::string leftover = reader_->leftover();
  EndReader();
  if (result == CallReader::Result::kComplete) return;
  for (const char left : leftover) Feed(left);
  Feed(c);
}

// Makes events of what is known of the call.
void TagParser::ReportCall() {
  if (!reader_->named() || !(options_.trusted || reader_->arguments_complete())) return;
  if (!std::exchange(reported_, true)) {
    raw_.clear();
    const size_t number = events_.begun();
    events_.AddCall(reader_->name(), reader_->id().empty()
                                         ? MakeCallId(format_->ids, options_.id_seed, number)
                                         : reader_->id());
  }
  const std::string arguments = reader_->TakeArguments();
  events_.AddText(Kind::kArguments, arguments);
  if (!reader_->arguments_complete() || ended_) return;
  ended_ = true;
  events_.EndCall(true);
}

// The call is over, and its events were made.
void TagParser::EndReader() {
  reader_.reset();
  raw_.clear();
  after_call_ = drop_space_ = true;
  SetMarkers();
}

void TagParser::Finish() {
  if (reader_ && reader_->arguments_complete()) {
    EndReader();  // the end of its format may be missing
  } else if (reader_) {
    if (reported_) events_.EndCall(false);
    events_.AddText(Kind::kContent, raw_);
    reader_.reset();
  }
  while (!partial_.empty()) {
    const char first = partial_.front();
    partial_.erase(0, 1);
    AddText(first);
  }
  if (!drop_space_) events_.AddText(kind(), space_);
  space_.clear();
}

}  // namespace

std::unique_ptr<OutputParser> MakeOutputParser(OutputOptions options) {
  PREFIXD_CHECK(options.format == nullptr || options.tools != nullptr) << "a format without tools";
  PREFIXD_CHECK(!options.begins_in_reasoning || options.reasoning != nullptr) << "reasoning without tags";
  if (options.format != nullptr && options.format->channels) return MakeHarmonyParser(std::move(options));
  return std::make_unique<TagParser>(std::move(options));
}

}  // namespace prefixd
