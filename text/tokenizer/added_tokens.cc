#include "text/tokenizer/added_tokens.h"

#include <algorithm>

#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

// Returns the offset of the first byte of the code point that ends at `end` > 0.
size_t Before(std::string_view text, size_t end) {
  do {
    --end;
  } while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool StandsAlone(std::string_view text, TextRange match) {
  return (match.begin == 0 || !IsWordCharacter(Utf8At(&text[Before(text, match.begin)]))) &&
         (match.end == text.size() || !IsWordCharacter(Utf8At(&text[match.end])));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  const auto same = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  for (size_t i = 0; i < entries_.size(); ++i) {
    Range& range = by_first_byte_[static_cast<unsigned char>(entries_[i].text[0])];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
    has_control_ = has_control_ || entries_[i].control;
  }
}

void AddedTokens::MarkControl(TokenId id) {
  for (Entry& entry : entries_) {
    if (entry.id != id) continue;
    entry.control = has_control_ = true;
  }
}

bool AddedTokens::IsControl(TokenId id) const {
  return std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.id == id && entry.control; });
}

// Narrows the sorted entries to those that share one more byte with the text, step by step; the shortest
// stands first.
const AddedTokens::Entry* AddedTokens::LongestAt(std::string_view text, size_t at, size_t control_end) const {
  auto [begin, end] = by_first_byte_[static_cast<unsigned char>(text[at])];
  const Entry* longest = nullptr;
  for (size_t depth = 1; begin < end; ++depth) {
    if (entries_[begin].text.size() == depth) {
      if (!entries_[begin].control || at + depth <= control_end) longest = &entries_[begin];
      ++begin;
    }
    if (begin == end || at + depth == text.size()) break;
    const auto byte = static_cast<unsigned char>(text[at + depth]);
    const auto byte_of = [&](const Entry& entry) { return static_cast<unsigned char>(entry.text[depth]); };
    const auto first = entries_.begin() + static_cast<ptrdiff_t>(begin);
    const auto last = entries_.begin() + static_cast<ptrdiff_t>(end);
    const auto low =
        std::partition_point(first, last, [&](const Entry& entry) { return byte_of(entry) < byte; });
    const auto high =
        std::partition_point(low, last, [&](const Entry& entry) { return byte_of(entry) == byte; });
    begin = static_cast<size_t>(low - entries_.begin());
    end = static_cast<size_t>(high - entries_.begin());
  }
  return longest;
}

std::vector<AddedTokens::Piece> AddedTokens::Split(std::string_view text, bool parse_special,
                                                   std::span<const ByteRange> input) const {
  std::vector<Piece> pieces;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    while (!input.empty() && input.front().end <= at) input = input.subspan(1);
    const bool in_input = !input.empty() && input.front().begin <= at;
    const Entry* entry = LongestAt(text, at, input.empty() || in_input ? text.size() : input.front().begin);
    if (entry == nullptr) {
      ++at;
      continue;
    }
    TextRange match{at, at + entry->text.size()};
    if (in_input && entry->control) {
      at = std::min(match.end, input.front().end);
      continue;
    }
    at = match.end;
    if ((entry->special && !parse_special) || (entry->single_word && !StandsAlone(text, match))) continue;
    if (entry->lstrip) {
      while (match.begin > done && IsWhiteSpace(Utf8At(&text[Before(text, match.begin)]))) {
        match.begin = Before(text, match.begin);
      }
      match.begin = std::max(match.begin, done);
    }
    if (entry->rstrip) {
      while (match.end < text.size() && IsWhiteSpace(Utf8At(&text[match.end]))) {
        match.end += Utf8Length(text[match.end]);
      }
    }
    if (match.begin >= match.end) continue;  // white space that the previous token already includes
    if (done < match.begin) pieces.push_back({{done, match.begin}, -1});
    pieces.push_back({match, entry->id});
    done = match.end;
  }
  if (done < text.size()) pieces.push_back({{done, text.size()}, -1});
  return pieces;
}

}  // namespace prefixd
