#include "kernels/cpu/attention_pieces.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/check.h"

namespace prefixd {
namespace {

using numerics::kAttentionSpan;

size_t DivideUp(size_t n, size_t by) { return (n + by - 1) / by; }

constexpr size_t kAlignment = 64;
size_t Aligned(size_t bytes) { return DivideUp(bytes, kAlignment) * kAlignment; }

// The tokens that some row of the piece sees.
uint64_t TokensOf(const AttentionPiece& piece) {
  const int first =
      std::max(piece.first_span * kAttentionSpan, numerics::WindowStart(piece.first_position, piece.window));
  const int end =
      std::min(piece.end_span * kAttentionSpan, piece.first_position + static_cast<int>(piece.rows.size()));
  return static_cast<uint64_t>(end - first);
}

}  // namespace

// The pieces of the sequences themselves are at most two for each row: before the spans that a sequence
// shares, and after them. The shared ones are a tree whose leaves are the sequences; each level of it has all
// rows at most once.
size_t AttentionPieces::Most(int max_rows, int piece_rows) {
  PREFIXD_CHECK(max_rows > 0 && piece_rows > 0) << max_rows << ", " << piece_rows;
  const auto rows = static_cast<size_t>(max_rows);
  return 3 * rows + kMostRounds * (rows / static_cast<size_t>(piece_rows));
}

size_t AttentionPieces::Bytes(int max_rows, int piece_rows) {
  const auto rows = static_cast<size_t>(max_rows);
  return Aligned(rows * sizeof(Member)) + Aligned(rows * sizeof(int)) +
         Aligned(Most(max_rows, piece_rows) * sizeof(AttentionPiece));
}

void AttentionPieces::SetMemory(std::byte* memory, int max_rows, int piece_rows) {
  const auto rows = static_cast<size_t>(max_rows);
  members_ = {reinterpret_cast<Member*>(memory), rows};
  memory += Aligned(members_.size_bytes());
  rows_ = {reinterpret_cast<int*>(memory), rows};
  memory += Aligned(rows_.size_bytes());
  pieces_ = {reinterpret_cast<AttentionPiece*>(memory), Most(max_rows, piece_rows)};
  piece_rows_ = static_cast<size_t>(piece_rows);
  member_count_ = piece_count_ = 0;
  rounds_ = 0;
}

std::span<const AttentionPiece> AttentionPieces::round(int i) const {
  PREFIXD_CHECK(i >= 0 && i < rounds_) << i << " of " << rounds_;
  const size_t first = i == 0 ? 0 : round_end_[static_cast<size_t>(i) - 1];
  return pieces_.subspan(first, round_end_[static_cast<size_t>(i)] - first);
}

void AttentionPieces::Plan(const BatchView& batch, int window, int block_tokens) {
  PREFIXD_CHECK(static_cast<size_t>(batch.rows()) <= rows_.size())
      << batch.rows() << " rows; memory is set for " << rows_.size();
  window_ = window;
  block_tokens_ = block_tokens;
  piece_count_ = 0;
  read_tokens_ = saved_tokens_ = 0;
  AddMembers(batch);
  for (size_t first = 0, i = 0; i < member_count_; ++i) {
    if (i + 1 < member_count_ && members_[i + 1].begin == members_[i].begin) continue;
    Split(first, i + 1, members_[i].begin, 0);
    first = i + 1;
  }
  SortByRound();
}

// Lists the sequences in the order of ComesBefore, and their rows in the same order.
void AttentionPieces::AddMembers(const BatchView& batch) {
  member_count_ = 0;
  for (const SequenceSpan& sequence : batch.sequences) {
    const int last_start = numerics::WindowStart(sequence.position + sequence.rows - 1, window_);
    const int begin = last_start == 0 ? 0 : last_start / kAttentionSpan + 1;
    const int end = std::max(begin, sequence.position / kAttentionSpan);
    members_[member_count_++] = {.sequence = &sequence, .at = 0, .begin = begin, .end = end, .common = begin};
  }
  const std::span<Member> members = members_.first(member_count_);
  std::sort(members.begin(), members.end(),
            [this](const Member& a, const Member& b) { return ComesBefore(a, b); });
  size_t at = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    const auto count = static_cast<size_t>(members[i].sequence->rows);
    members[i].at = at;
    const std::span<int> rows = rows_.subspan(at, count);
    std::iota(rows.begin(), rows.end(), members[i].sequence->first_row);
    at += count;
    if (i + 1 < members.size()) members[i].common = CommonEnd(members[i], members[i + 1]);
  }
}

// Returns the blocks of the spans that the member may share.
std::span<const BlockId> AttentionPieces::SharedBlocks(const Member& member) const {
  if (member.begin == member.end) return {};
  const int first = member.begin * kAttentionSpan / block_tokens_;
  const int last = (member.end * kAttentionSpan - 1) / block_tokens_;
  return member.sequence->blocks.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first + 1));
}

bool AttentionPieces::ComesBefore(const Member& a, const Member& b) const {
  if (a.begin != b.begin) return a.begin < b.begin;
  const auto x = SharedBlocks(a), y = SharedBlocks(b);
  const auto [in_x, in_y] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
  if (in_x != x.end() && in_y != y.end()) return *in_x < *in_y;
  return std::tuple(a.end, a.sequence->first_row) < std::tuple(b.end, b.sequence->first_row);
}

// Returns the end of the spans from a.begin on that have the same blocks in both.
int AttentionPieces::CommonEnd(const Member& a, const Member& b) const {
  if (a.begin != b.begin) return a.begin;
  const auto x = SharedBlocks(a), y = SharedBlocks(b);
  const auto equal = std::mismatch(x.begin(), x.end(), y.begin(), y.end()).first - x.begin();
  const int first_block = a.begin * kAttentionSpan / block_tokens_;
  const int end = (first_block + static_cast<int>(equal)) * block_tokens_ / kAttentionSpan;
  return std::clamp(end, a.begin, std::min(a.end, b.end));
}

// Cuts the spans from `span` on of the members first .. end - 1, whose earlier spans are the same. In round 0
// nothing of them was cut yet; otherwise earlier rounds have the spans before `span`.
void AttentionPieces::Split(size_t first, size_t end, int span, int round) {
  if (end - first == 1 || round + 1 == kMostRounds) {
    for (const Member& member : members_.subspan(first, end - first)) AddOwn(member, span, -1, round);
    return;
  }
  const auto less = [](const Member& a, const Member& b) { return a.common < b.common; };
  const std::span<const Member> members = members_.subspan(first, end - first);
  const int common = std::min_element(members.begin(), members.end() - 1, less)->common;
  if (common > span) {
    if (round == 0 && span > 0) {
      for (const Member& member : members) AddOwn(member, 0, span, round);
      ++round;
    }
    AddShared(members, span, common, round++);
  }
  for (size_t from = first, i = first; i < end; ++i) {
    if (i + 1 < end && members_[i].common > common) continue;
    Split(from, i + 1, common, round);
    from = i + 1;
  }
}

void AttentionPieces::AddShared(std::span<const Member> members, int first_span, int end_span, int round) {
  const size_t first_row = members.front().at;
  const size_t end_row = members.back().at + static_cast<size_t>(members.back().sequence->rows);
  AttentionPiece piece = {.rows = {},
                          .blocks = members.front().sequence->blocks.data(),
                          .first_position = end_span * kAttentionSpan,
                          .window = 0,
                          .first_span = first_span,
                          .end_span = end_span,
                          .round = round,
                          .finishes = false};
  for (size_t row = first_row; row < end_row; row += piece_rows_) {
    piece.rows = rows_.subspan(row, std::min(piece_rows_, end_row - row));
    Add(piece);
  }
  size_t pieces_alone = 0;
  for (const Member& member : members)
    pieces_alone += DivideUp(static_cast<size_t>(member.sequence->rows), piece_rows_);
  saved_tokens_ += (pieces_alone - DivideUp(end_row - first_row, piece_rows_)) * TokensOf(piece);
}

// Adds pieces of one sequence that end at `end_span`, or that finish its rows if that is -1. They begin at
// `first_span`, unless they are the first ones of their rows: then they begin with the windows of their rows.
void AttentionPieces::AddOwn(const Member& member, int first_span, int end_span, int round) {
  const SequenceSpan& sequence = *member.sequence;
  const auto count = static_cast<size_t>(sequence.rows);
  for (size_t row = 0; row < count; row += piece_rows_) {
    const size_t rows = std::min(piece_rows_, count - row);
    const int position = sequence.position + static_cast<int>(row);
    const int last = position + static_cast<int>(rows) - 1;
    Add({.rows = rows_.subspan(member.at + row, rows),
         .blocks = sequence.blocks.data(),
         .first_position = position,
         .window = window_,
         .first_span = round == 0 ? FirstSpan(position, window_) : first_span,
         .end_span = end_span < 0 ? EndSpan(last) : end_span,
         .round = round,
         .finishes = end_span < 0});
  }
}

void AttentionPieces::Add(const AttentionPiece& piece) {
  PREFIXD_CHECK(piece_count_ < pieces_.size()) << piece_count_;
  pieces_[piece_count_++] = piece;
  read_tokens_ += TokensOf(piece);
}

// Within a round the largest pieces come first, so that threads end at about the same time.
void AttentionPieces::SortByRound() {
  const std::span<AttentionPiece> pieces = pieces_.first(piece_count_);
  const auto key = [](const AttentionPiece& piece) {
    const auto work = static_cast<int64_t>(piece.rows.size()) * (piece.end_span - piece.first_span);
    return std::tuple(piece.round, -work, piece.rows.data(), piece.first_span);
  };
  std::sort(pieces.begin(), pieces.end(),
            [&key](const AttentionPiece& a, const AttentionPiece& b) { return key(a) < key(b); });
  rounds_ = pieces.empty() ? 0 : pieces.back().round + 1;
  for (int round = 0; round < rounds_; ++round) {
    const auto after = [](int value, const AttentionPiece& piece) { return value < piece.round; };
    round_end_[static_cast<size_t>(round)] =
        static_cast<size_t>(std::upper_bound(pieces.begin(), pieces.end(), round, after) - pieces.begin());
  }
}

}  // namespace prefixd
