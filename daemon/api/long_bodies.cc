#include "daemon/api/long_bodies.h"

#include <optional>
#include <utility>

#include "text/tokenizer/decoder.h"

namespace prefixd {

namespace {

// A body up to this size is sent with its length. A longer one is written while it is sent.
constexpr size_t kShortBody = 64 << 10;

using Reservation = ByteBudget::Reservation;

class TokensBody final : public BodySource {
 public:
  TokensBody(Reservation reserved, std::vector<TokenId> ids, std::vector<TokenSection> sections,
             std::string tail)
      : reserved_(std::move(reserved)),
        ids_(std::move(ids)),
        sections_(std::move(sections)),
        tail_(std::move(tail)) {}

  void Next(size_t bytes, std::string* out) override {
    while (out->size() < bytes && section_ < sections_.size()) {
      const TokenSection& section = sections_[section_];
      if (!std::exchange(begun_, true)) out->append(section.head);
      for (; out->size() < bytes && at_ < ids_.size(); ++at_) {
        if (at_ > 0) out->push_back(',');
        section.item(ids_[at_], out);
      }
      if (at_ < ids_.size()) return;
      at_ = 0;
      begun_ = false;
      if (++section_ == sections_.size()) out->append(tail_);
    }
  }

 private:
  const Reservation reserved_;
  const std::vector<TokenId> ids_;
  const std::vector<TokenSection> sections_;
  const std::string tail_;
  size_t section_ = 0, at_ = 0;
  bool begun_ = false;  // the current section
};

class DecodedBody final : public BodySource {
 public:
  DecodedBody(Reservation reserved, const Tokenizer& tokenizer, std::vector<TokenId> ids,
              std::vector<std::string> names)
      : reserved_(std::move(reserved)),
        tokenizer_(tokenizer),
        ids_(std::move(ids)),
        names_(std::move(names)) {}

  void Next(size_t bytes, std::string* out) override {
    while (out->size() < bytes && name_ < names_.size()) {
      if (!stream_) {
        stream_.emplace(tokenizer_.decoder());
        out->append(name_ == 0 ? "{\"" : ",\"").append(names_[name_]).append("\":\"");
      }
      std::string text;
      for (; out->size() + text.size() < bytes && at_ < ids_.size(); ++at_) {
        if (const auto token = tokenizer_.TokenText(ids_[at_])) stream_->Push(*token, &text);
      }
      const bool complete = at_ == ids_.size();
      if (complete) stream_->Flush(&text);
      AppendEscaped(text, out);
      if (!complete) continue;
      stream_.reset();
      at_ = 0;
      out->append(++name_ == names_.size() ? "\"}" : "\"");
    }
  }

 private:
  const Reservation reserved_;
  const Tokenizer& tokenizer_;
  const std::vector<TokenId> ids_;
  const std::vector<std::string> names_;
  std::optional<DecodeStream> stream_;  // of the current name
  size_t name_ = 0, at_ = 0;
};

class TextBody final : public BodySource {
 public:
  TextBody(Reservation reserved, std::string name, std::string text)
      : reserved_(std::move(reserved)), head_("{\"" + std::move(name) + "\":\""), text_(std::move(text)) {}

  void Next(size_t bytes, std::string* out) override {
    if (done_) return;
    if (!std::exchange(begun_, true)) out->append(head_);
    while (out->size() < bytes && at_ < text_.size()) {
      const std::string_view part = std::string_view(text_).substr(at_, bytes - out->size());
      AppendEscaped(part, out);
      at_ += part.size();
    }
    if (at_ < text_.size()) return;
    out->append("\"}");
    done_ = true;
  }

 private:
  const Reservation reserved_;
  const std::string head_, text_;
  size_t at_ = 0;
  bool begun_ = false, done_ = false;
};

// Sends a body that fits kShortBody at once, a longer one part by part.
void RespondFrom(Exchange& exchange, std::shared_ptr<BodySource> source) {
  std::string body;
  source->Next(kShortBody, &body);
  if (body.size() >= kShortBody)
    return exchange.Respond({.body = std::move(body), .source = std::move(source)});
  source = nullptr;
  exchange.Respond({.body = std::move(body)});
}

std::optional<Reservation> Reserve(Exchange& exchange, size_t bytes) {
  std::optional<Reservation> reserved(std::in_place, exchange.budget(), ByteBudget::Use::kAnswer);
  if (!reserved->TryGrow(bytes)) reserved.reset();
  return reserved;
}

}  // namespace

void AppendEscaped(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const char c : text) {
    switch (c) {
      case '"':
      case '\\':
        out->push_back('\\');
        out->push_back(c);
        break;
      case '\b':
        out->append("\\b");
        break;
      case '\f':
        out->append("\\f");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out->push_back(c);
        } else {
          out->append("\\u00").append({kHex[c >> 4], kHex[c & 15]});
        }
    }
  }
}

std::optional<ApiError> RespondTokens(Exchange& exchange, std::vector<TokenId> ids,
                                      std::vector<TokenSection> sections, std::string tail) {
  auto reserved = Reserve(exchange, ids.capacity() * sizeof(TokenId));
  if (!reserved) return NoRoomError(exchange.budget());
  RespondFrom(exchange, std::make_shared<TokensBody>(*std::move(reserved), std::move(ids),
                                                     std::move(sections), std::move(tail)));
  return std::nullopt;
}

std::optional<ApiError> RespondDecoded(Exchange& exchange, const Tokenizer& tokenizer,
                                       std::vector<TokenId> ids, std::vector<std::string> names) {
  auto reserved = Reserve(exchange, ids.capacity() * sizeof(TokenId));
  if (!reserved) return NoRoomError(exchange.budget());
  RespondFrom(exchange, std::make_shared<DecodedBody>(*std::move(reserved), tokenizer, std::move(ids),
                                                      std::move(names)));
  return std::nullopt;
}

std::optional<ApiError> RespondText(Exchange& exchange, std::string name, std::string text) {
  auto reserved = Reserve(exchange, text.capacity());
  if (!reserved) return NoRoomError(exchange.budget());
  RespondFrom(exchange, std::make_shared<TextBody>(*std::move(reserved), std::move(name), std::move(text)));
  return std::nullopt;
}

}  // namespace prefixd
