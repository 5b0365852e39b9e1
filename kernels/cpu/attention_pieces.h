// AttentionPieces: the attention of a step, cut into pieces. A piece is some rows of the step over some spans
// (numerics rule 7). Sequences that share a prefix have the same blocks in the spans of that prefix. There
// their rows are in the same piece, which reads the KV once for all of them.
//
//   sequence   blocks of its spans   round 0           round 1           round 2
//   A          a b c d               {A, B, C} in a    {A, B} in b c     {A} in d
//   B          a b c e                                                   {B} in e
//   C          a f                                     {C} in f
//
// Sequences share a span if every row of them sees all of its tokens and stands after it. With a window the
// spans that sequences may share begin after the one in which the last row of the sequence begins to see.
// Two sequences share spans only if theirs begin at the same span; so where windows move apart, they share
// nothing. Neither the way in which a step is cut nor the number of rounds changes a result. One owner.
//
// Invariants
//   1. Each row is in exactly one piece for each span of which it sees a token.
//   2. The pieces of a row follow each other: one of a later round begins at the span at which one of an
//      earlier round ends. The pieces of a round do not depend on each other.
//   3. A piece that continues pieces of an earlier round has only rows that saw a token there.
//   4. A piece has at most piece_rows rows. A step has at most kMostRounds rounds; sequences that would need
//      more of them share no further spans.
//   5. Plan allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/batch.h"
#include "kernels/numerics.h"

namespace prefixd {

// A position sees tokens of the spans FirstSpan .. EndSpan - 1 only.
inline int FirstSpan(int position, int window) {
  return numerics::WindowStart(position, window) / numerics::kAttentionSpan;
}
inline int EndSpan(int position) { return position / numerics::kAttentionSpan + 1; }

struct AttentionPiece {
  std::span<const int> rows;  // of the step. In a piece of one sequence they are consecutive.
  const BlockId* blocks;      // block table
  int first_position;         // of the first row; if sequences share the piece, a position after its spans
  int window;                 // as AttentionParams::window; 0 as well where each row sees all tokens
  int first_span, end_span;   // the spans first_span .. end_span - 1
  int round;
  bool finishes;  // no later round continues it
  bool continues() const { return round > 0; }
};

class AttentionPieces {
 public:
  static constexpr int kMostRounds = 8;

  // Returns the bytes of memory for steps of at most `max_rows` rows, in pieces of at most `piece_rows`.
  // Both are positive.
  static size_t Bytes(int max_rows, int piece_rows);
  // Takes this memory, 64-byte aligned, for all steps that follow. It must outlive the object.
  void SetMemory(std::byte* memory, int max_rows, int piece_rows);
  // The most pieces of a step.
  static size_t Most(int max_rows, int piece_rows);

  // Cuts a step for the layers with this window (0: none). The batch must outlive the pieces. Requires that
  // it has at most max_rows rows, and that the block tables cover them.
  void Plan(const BatchView& batch, int window, int block_tokens);

  int rounds() const { return rounds_; }
  std::span<const AttentionPiece> round(int i) const;
  // The tokens whose KV the pieces read, and those that they do not read because sequences share pieces. The
  // sum is what the sequences would read if each had its own pieces.
  uint64_t read_tokens() const { return read_tokens_; }
  uint64_t saved_tokens() const { return saved_tokens_; }

 private:
  struct Member {
    const SequenceSpan* sequence;
    size_t at;       // of its rows in rows_
    int begin, end;  // the spans that it may share
    int common;      // end of the spans that it shares with the next member; not below `begin`
  };

  std::span<const BlockId> SharedBlocks(const Member& member) const;
  bool ComesBefore(const Member& a, const Member& b) const;
  int CommonEnd(const Member& a, const Member& b) const;
  void AddMembers(const BatchView& batch);
  void Split(size_t first, size_t end, int span, int round);
  void AddShared(std::span<const Member> members, int first_span, int end_span, int round);
  void AddOwn(const Member& member, int first_span, int end_span, int round);
  void Add(const AttentionPiece& piece);
  void SortByRound();

  size_t piece_rows_ = 0;
  std::span<Member> members_;
  std::span<int> rows_;  // of the step, by member; sequences that share spans are neighbours
  std::span<AttentionPiece> pieces_;

  int window_ = 0, block_tokens_ = 0;  // of the step
  size_t member_count_ = 0, piece_count_ = 0;
  int rounds_ = 0;
  std::array<size_t, kMostRounds> round_end_{};  // in pieces_
  uint64_t read_tokens_ = 0, saved_tokens_ = 0;
};

}  // namespace prefixd
