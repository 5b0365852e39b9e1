#include "text/output/harmony_parser.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "text/output/call_reader.h"
#include "text/output/event_list.h"
#include "text/output/json_scanner.h"

namespace prefixd {
namespace {

using Kind = OutputEvent::Kind;

constexpr std::string_view kMessage = "<|message|>", kStart = "<|start|>", kChannel = "<|channel|>";
constexpr std::array<std::string_view, 4> kEnds = {"<|end|>", "<|call|>", "<|return|>", kStart};
constexpr size_t kMostHeaderBytes = 512;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class HarmonyParser final : public OutputParser {
 public:
  explicit HarmonyParser(OutputOptions options) : options_(std::move(options)) { Push(options_.prefix); }

  void Push(std::string_view text) override {
    for (const char c : text) Feed(c);
  }
  void Finish() override {
    if (place_ == Place::kHeader) {
      const bool cut =
          header_.starts_with(kStart) || header_.starts_with(kChannel);  // a header that is cut off
      if (cut) header_.clear();
      events_.AddText(Kind::kContent, std::exchange(header_, {}));
      return;
    }
    for (const char c : std::exchange(partial_, {})) AddBody(c);
    EndMessage();
  }
  std::vector<OutputEvent> Take() override { return events_.Take(); }
  bool has_events() const override { return !events_.empty(); }
  size_t calls() const override { return events_.complete(); }
  bool in_reasoning() const override { return place_ == Place::kBody && kind_ == Kind::kReasoning; }
  size_t held_bytes() const override {
    return events_.bytes() + header_.capacity() + raw_.capacity() + partial_.capacity();
  }

 private:
  enum class Place { kHeader, kBody };

  void Feed(char c) { place_ == Place::kHeader ? FeedHeader(c) : FeedBody(c); }
  void FeedHeader(char c);
  void FeedBody(char c);
  void BeginBody();
  void AddBody(char c);
  void AddArgument(char c);
  void EndMessage();
  // The whole call, or what is left of it, is content.
  void GiveUpCall();

  const OutputOptions options_;
  EventList events_;
  Place place_ = Place::kHeader;
  std::string header_;   // with <|message|>
  std::string partial_;  // the beginning of a tag
  Kind kind_ = Kind::kContent;
  // A call.
  const ToolNames::value_type* tool_ = nullptr;
  std::optional<JsonScanner> scanner_;
  bool complete_ = false, reported_ = false;
  std::string raw_;    // header and text of a call that is not reported
  size_t begins_ = 0;  // of the arguments in raw_
};

// A header without the words that make it one is content, and so is what follows it.
void HarmonyParser::FeedHeader(char c) {
  header_.push_back(c);
  if (header_.ends_with(kMessage)) return BeginBody();
  const std::string_view text = header_;
  const auto begins = [&](std::string_view word) { return word.starts_with(text) || text.starts_with(word); };
  if (header_.size() <= kMostHeaderBytes && (begins(kStart) || begins(kChannel) || begins(" to="))) return;
  place_ = Place::kBody;
  kind_ = Kind::kContent;
  for (const char old : std::exchange(header_, {})) FeedBody(old);
}

void HarmonyParser::BeginBody() {
  place_ = Place::kBody;
  tool_ = nullptr;
  complete_ = reported_ = false;
  const std::string_view header = header_;
  constexpr std::string_view kTo = "to=functions.";
  kind_ = header.find("<|channel|>analysis") != std::string_view::npos ? Kind::kReasoning : Kind::kContent;
  if (const size_t at = header.find(kTo); at != std::string_view::npos) {
    const std::string_view rest = header.substr(at + kTo.size());
    const std::string_view name = rest.substr(0, rest.find_first_of(" <\t\n"));
    const auto found = options_.tools->find(name);
    if (found != options_.tools->end()) {
      tool_ = &*found;
      raw_ = header_;
      begins_ = raw_.size();
      scanner_.reset();
    }
  }
  // The header of a call that is none, such as one of an unknown function, is content.
  if (tool_ == nullptr && header.find(" to=") != std::string_view::npos) {
    kind_ = Kind::kContent;
    events_.AddText(Kind::kContent, header_);
  }
  header_.clear();
}

void HarmonyParser::FeedBody(char c) {
  partial_.push_back(c);
  const auto begins = [this](std::string_view tag) { return tag.starts_with(partial_); };
  while (!partial_.empty() && std::none_of(kEnds.begin(), kEnds.end(), begins)) {
    const char first = partial_.front();
    partial_.erase(0, 1);
    AddBody(first);
  }
  if (std::find(kEnds.begin(), kEnds.end(), partial_) == kEnds.end()) return;
  const std::string tag = std::exchange(partial_, {});
  EndMessage();
  place_ = Place::kHeader;
  header_ = tag == kStart ? std::string(kStart) : "";
}

void HarmonyParser::AddBody(char c) {
  if (tool_ == nullptr) return events_.AddText(kind_, {&c, 1});
  AddArgument(c);
}

void HarmonyParser::AddArgument(char c) {
  if (complete_ && IsSpace(c)) return;
  if (!reported_) raw_.push_back(c);
  if (!scanner_ && IsSpace(c)) {
    ++begins_;
    return;
  }
  const bool first = !scanner_;
  if (first) scanner_.emplace();
  const auto result = complete_ || (first && c != '{') ? JsonScanner::Result::kFault : scanner_->Push(c);
  if (result == JsonScanner::Result::kFault) {
    const std::string last(reported_ ? 1 : 0, c);  // otherwise raw_ has it
    GiveUpCall();
    return events_.AddText(Kind::kContent, last);
  }
  complete_ = result == JsonScanner::Result::kDone;
  if (reported_) {
    events_.AddText(Kind::kArguments, {&c, 1});
  } else if (options_.trusted) {
    events_.AddCall(tool_->first, MakeCallId(options_.format->ids, options_.id_seed, events_.begun()));
    events_.AddText(Kind::kArguments, std::string_view(raw_).substr(begins_));
    reported_ = true;
    raw_.clear();
  }
}

void HarmonyParser::EndMessage() {
  if (tool_ == nullptr) return;
  if (!complete_) return GiveUpCall();
  if (!reported_) {
    events_.AddCall(tool_->first, MakeCallId(options_.format->ids, options_.id_seed, events_.begun()));
    events_.AddText(Kind::kArguments, std::string_view(raw_).substr(begins_));
  }
  events_.EndCall(true);
  tool_ = nullptr;
  raw_.clear();
}

void HarmonyParser::GiveUpCall() {
  if (reported_) events_.EndCall(false);
  events_.AddText(Kind::kContent, std::exchange(raw_, {}));
  tool_ = nullptr;
  kind_ = Kind::kContent;
}

}  // namespace

std::unique_ptr<OutputParser> MakeHarmonyParser(OutputOptions options) {
  return std::make_unique<HarmonyParser>(std::move(options));
}

}  // namespace prefixd
