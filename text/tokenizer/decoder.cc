#include "text/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Returns the byte of "<0x41>". The tokenizers library parses the digits as Rust does, which accepts "+9"
// too.
std::optional<char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = token[3] == '+' ? 0 : HexDigit(token[3]), low = HexDigit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

size_t CountAtStart(std::string_view text, std::string_view character, size_t most) {
  size_t count = 0;
  while (count < most && text.substr(count * character.size()).starts_with(character)) ++count;
  return count;
}

size_t CountAtEnd(std::string_view text, std::string_view character, size_t most) {
  size_t count = 0;
  while (count < most && text.ends_with(character)) {
    text.remove_suffix(character.size());
    ++count;
  }
  return count;
}

std::string_view StripToken(std::string_view token, const DecoderSpec& spec) {
  token.remove_prefix(CountAtStart(token, spec.content, spec.start) * spec.content.size());
  token.remove_suffix(CountAtEnd(token, spec.content, spec.stop) * spec.content.size());
  return token;
}

// Returns the incomplete code point at the end of some bytes, or nothing.
std::string_view IncompleteEnd(std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Part part = FirstUtf8Part(bytes);
    if (part.kind == Utf8Part::kIncomplete) break;
    bytes.remove_prefix(part.length);
  }
  return bytes;
}

std::string_view NameOf(DecoderSpec::Kind kind) {
  constexpr std::string_view names[] = {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"};
  return names[kind];
}

}  // namespace

Result<TokenDecoder> TokenDecoder::Create(const std::optional<std::vector<DecoderSpec>>& specs) {
  TokenDecoder decoder;
  if (!specs) {
    decoder.join_ = Join::kSpaces;
    return decoder;
  }
  bool joined = false, has_bytes = false;
  size_t growth = 1;
  for (const DecoderSpec& spec : *specs) {
    const bool is_bytes = spec.kind == DecoderSpec::kByteFallback;
    const bool supported =
        joined ? spec.kind == DecoderSpec::kFuse || (spec.kind == DecoderSpec::kStrip && !decoder.strip_)
               : !(is_bytes && has_bytes);
    if (!supported) {
      return Unsupported("decoder " + std::string(NameOf(spec.kind)) +
                         (joined ? " after the tokens are joined" : " a second time") +
                         " is not supported by prefixd");
    }
    has_bytes |= is_bytes;
    if (spec.kind == DecoderSpec::kReplace) {
      growth *= std::max<size_t>(1, (spec.content.size() + spec.pattern.size() - 1) / spec.pattern.size());
      if (growth > kMaxGrowth) {
        return Unsupported("decoder Replace of \"" + spec.pattern + "\": making a text more than " +
                           std::to_string(kMaxGrowth) + " times longer is not supported by prefixd");
      }
    }
    if (spec.kind == DecoderSpec::kByteLevel) decoder.join_ = Join::kByteLevel;
    if (spec.kind == DecoderSpec::kByteLevel || spec.kind == DecoderSpec::kFuse) {
      joined = true;
    } else if (joined) {
      decoder.strip_ = spec;
    } else {
      decoder.stages_.push_back(spec);
    }
  }
  return decoder;
}

std::string TokenDecoder::Bytes(std::string_view token) const {
  std::string text(token);
  for (const DecoderSpec& spec : stages_) {
    if (spec.kind == DecoderSpec::kReplace) text = ReplaceAll(text, spec.pattern, spec.content);
    if (spec.kind == DecoderSpec::kMetaspace) text = ReplaceAll(text, spec.pattern, " ");
    if (spec.kind == DecoderSpec::kStrip) text = std::string(StripToken(text, spec));
    if (const auto byte = ByteOfToken(text); byte && spec.kind == DecoderSpec::kByteFallback) return {*byte};
  }
  return join_ == Join::kByteLevel ? UnspellBytes(text).value_or(text) : text;
}

DecodeStream::DecodeStream(const TokenDecoder& decoder)
    : decoder_(&decoder),
      metaspace_seen_(decoder.stages_.size()),
      strip_left_(decoder.strip_ ? decoder.strip_->start : 0) {}

void DecodeStream::Push(std::string_view token, std::string* out) {
  if (decoder_->join_ == TokenDecoder::Join::kSpaces && !first_token_) Emit(" ", out);
  first_token_ = false;
  Feed(0, token, out);
}

void DecodeStream::Flush(std::string* out) {
  if (!byte_run_.empty()) EndByteRun(byte_run_stage_, out);
  if (!partial_.empty() && !partial_emitted_) Emit(kReplacementCharacter, out);
  partial_.clear();
  held_ = 0;
}

void DecodeStream::MarkEmitted() {
  if (!byte_run_.empty()) {
    const std::string begun(IncompleteEnd(byte_run_));
    byte_run_.resize(byte_run_.size() - begun.size());
    std::string known;
    if (!byte_run_.empty()) EndByteRun(byte_run_stage_, &known);
    byte_run_ = begun;
  }
  emitted_run_ = byte_run_.size();
  partial_emitted_ = !partial_.empty();
  if (emitted_run_ > 0 || partial_emitted_) strip_left_ = 0;
  if (emitted_run_ > 0) metaspace_seen_.assign(metaspace_seen_.size(), true);
}

// Processes `token` from stage `stage` on.
void DecodeStream::Feed(size_t stage, std::string_view token, std::string* out) {
  if (stage == decoder_->stages_.size()) return Joined(token, out);
  const DecoderSpec& spec = decoder_->stages_[stage];
  switch (spec.kind) {
    case DecoderSpec::kReplace:
      if (token.find(spec.pattern) == std::string_view::npos) return Feed(stage + 1, token, out);
      return Feed(stage + 1, ReplaceAll(token, spec.pattern, spec.content), out);
    case DecoderSpec::kStrip:
      return Feed(stage + 1, StripToken(token, spec), out);
    case DecoderSpec::kMetaspace: {
      const bool first = !metaspace_seen_[stage];
      metaspace_seen_[stage] = true;
      return Feed(stage + 1, ReplaceAll(token, spec.pattern, first && spec.prepends ? "" : " "), out);
    }
    case DecoderSpec::kByteFallback:
      if (const auto byte = ByteOfToken(token)) {
        byte_run_ += *byte;
        byte_run_stage_ = stage;
        return;
      }
      if (!byte_run_.empty()) EndByteRun(stage, out);
      return Feed(stage + 1, token, out);
    default:
      return Feed(stage + 1, token, out);
  }
}

// A run of byte tokens becomes one token if it is valid UTF-8 as a whole, and one U+FFFD per byte otherwise.
void DecodeStream::EndByteRun(size_t stage, std::string* out) {
  const std::string run = std::move(byte_run_);
  const size_t known = std::exchange(emitted_run_, 0);
  byte_run_.clear();
  if (IsValidUtf8(run)) return Feed(stage + 1, run, out);
  for (size_t i = known; i < run.size(); ++i) Feed(stage + 1, kReplacementCharacter, out);
}

void DecodeStream::Joined(std::string_view token, std::string* out) {
  if (decoder_->join_ != TokenDecoder::Join::kByteLevel) return Emit(token, out);
  if (const auto bytes = UnspellBytes(token)) return PushBytes(*bytes, out);
  PushBytes(token, out);
}

void DecodeStream::PushBytes(std::string_view bytes, std::string* out) {
  partial_ += bytes;
  std::string text;
  std::string_view rest = partial_;
  while (!rest.empty()) {
    const Utf8Part part = FirstUtf8Part(rest);
    if (part.kind == Utf8Part::kIncomplete) break;
    if (part.kind == Utf8Part::kValid) {
      text += rest.substr(0, part.length);
    } else if (!partial_emitted_) {
      text += kReplacementCharacter;
    }
    partial_emitted_ = false;
    rest.remove_prefix(part.length);
  }
  partial_.erase(0, partial_.size() - rest.size());
  Emit(text, out);
}

// Passes joined text, in valid UTF-8, through the last Strip.
void DecodeStream::Emit(std::string_view text, std::string* out) {
  if (!decoder_->strip_ || text.empty()) {
    *out += text;
    return;
  }
  const DecoderSpec& strip = *decoder_->strip_;
  const size_t width = strip.content.size();
  const size_t taken = CountAtStart(text, strip.content, strip_left_);
  text.remove_prefix(taken * width);
  strip_left_ = text.empty() ? strip_left_ - taken : 0;
  if (text.empty()) return;
  std::string waited;
  for (size_t i = 0; i < held_; ++i) waited += strip.content;
  waited += text;
  held_ = CountAtEnd(waited, strip.content, strip.stop);
  *out += std::string_view(waited).substr(0, waited.size() - held_ * width);
}

}  // namespace prefixd
