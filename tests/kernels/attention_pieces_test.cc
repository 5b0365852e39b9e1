// AttentionPieces on examples, and its invariants on random steps: what each row sees is in exactly one
// piece, and sequences with the same blocks are in the same one.
#include "kernels/cpu/attention_pieces.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

constexpr int kSpan = numerics::kAttentionSpan;

// The pieces of a step, with the memory that they need.
class Step {
 public:
  Step(int block_tokens, int piece_rows) : block_tokens_(block_tokens), piece_rows_(piece_rows) {}

  // A sequence of `rows` rows whose blocks have these ids; the ids of the last span are repeated as needed.
  void Add(int position, int rows, std::vector<BlockId> table) {
    sequences_.push_back({static_cast<int>(tokens_.size()), rows, position, {}});
    tables_.push_back(std::move(table));
    tokens_.resize(tokens_.size() + static_cast<size_t>(rows));
  }

  const AttentionPieces& Plan(int window = 0) {
    for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i].blocks = tables_[i];
    const int rows = static_cast<int>(tokens_.size());
    memory_ = std::make_unique<Line[]>(AttentionPieces::Bytes(rows, piece_rows_) / sizeof(Line));
    pieces_.SetMemory(reinterpret_cast<std::byte*>(memory_.get()), rows, piece_rows_);
    pieces_.Plan({tokens_, sequences_}, window, block_tokens_);
    return pieces_;
  }
  // The pieces as text, such as "0: 0 1 2 in 0-2; 1: 0 in 2-3, 1 in 2-4": the rounds, rows and spans.
  std::string Text() const {
    std::string text;
    for (int round = 0; round < pieces_.rounds(); ++round) {
      text += (round == 0 ? "" : "; ") + std::to_string(round) + ":";
      bool first = true;
      for (const AttentionPiece& piece : pieces_.round(round)) {
        if (!std::exchange(first, false)) text += ",";
        for (const int row : piece.rows) text += " " + std::to_string(row);
        text += " in " + std::to_string(piece.first_span) + "-" + std::to_string(piece.end_span);
      }
    }
    return text;
  }
  std::vector<SequenceSpan>& sequences() { return sequences_; }
  int rows() const { return static_cast<int>(tokens_.size()); }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  const int block_tokens_, piece_rows_;
  std::vector<SequenceSpan> sequences_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<TokenId> tokens_;
  std::unique_ptr<Line[]> memory_;
  AttentionPieces pieces_;
};

// With blocks of one span each.
TEST(AttentionPieces, TheExampleOfTheHeader) {
  Step step(kSpan, 32);
  step.Add(3 * kSpan + 5, 1, {1, 2, 3, 4});
  step.Add(3 * kSpan + 9, 1, {1, 2, 3, 5});
  step.Add(1 * kSpan + 7, 1, {1, 6});
  const AttentionPieces& pieces = step.Plan();
  EXPECT_EQ(step.Text(), "0: 2 0 1 in 0-1; 1: 0 1 in 1-3, 2 in 1-2; 2: 0 in 3-4, 1 in 3-4");
  EXPECT_EQ(pieces.read_tokens(), 3u * kSpan + 6 + 10 + 8);
  EXPECT_EQ(pieces.saved_tokens(), (2u + 1 + 1) * kSpan);
}

TEST(AttentionPieces, ASpanThatARowStandsInIsNotShared) {
  Step step(kSpan, 32);
  step.Add(2 * kSpan - 1, 1, {1, 2});
  step.Add(2 * kSpan, 1, {1, 2, 3});
  step.Plan();
  EXPECT_EQ(step.Text(), "0: 0 1 in 0-1; 1: 1 in 1-3, 0 in 1-2");
}

TEST(AttentionPieces, RowsOfPromptsShareAndAreCut) {
  Step step(kSpan, 4);
  step.Add(kSpan, 5, {1, 2});
  step.Add(0, 2, {7});
  step.Add(kSpan + 3, 2, {1, 3});
  const AttentionPieces& pieces = step.Plan();
  EXPECT_EQ(step.Text(),
            "0: 0 1 2 3 in 0-1, 4 7 8 in 0-1, 5 6 in 0-1; 1: 0 1 2 3 in 1-2, 7 8 in 1-2, 4 in 1-2");
  EXPECT_EQ(pieces.read_tokens(), 2u * kSpan + 2 + 4 + 5 + 5);
  EXPECT_EQ(pieces.saved_tokens(), 1u * kSpan);  // 3 pieces became 2 in span 0
}

TEST(AttentionPieces, WindowsShareTheSpansBetweenTheirStartAndTheRows) {
  Step step(kSpan, 32);
  step.Add(4 * kSpan + 5, 1, {~0u, 2, 3, 4, 5});
  step.Add(4 * kSpan + 9, 1, {~0u, 2, 3, 4, 6});
  step.Add(4 * kSpan + kSpan - 1, 1, {~0u, ~0u, 3, 4, 7});  // begins to see a span later
  const AttentionPieces& pieces = step.Plan(3 * kSpan);
  EXPECT_EQ(step.Text(), "0: 2 in 2-5, 0 in 1-2, 1 in 1-2; 1: 0 1 in 2-4; 2: 0 in 4-5, 1 in 4-5");
  EXPECT_EQ(pieces.read_tokens(), 3u * kSpan + (kSpan - 6) + 6 + (kSpan - 10) + 10 + 2 * kSpan);
  EXPECT_EQ(pieces.saved_tokens(), 2u * kSpan);
}

TEST(AttentionPieces, NothingIsSharedWhereBlocksDiffer) {
  Step step(kSpan, 32);
  step.Add(2 * kSpan + 5, 1, {1, 2, 3});
  step.Add(2 * kSpan + 5, 1, {4, 5, 6});
  step.Add(2 * kSpan + 5, 1, {7, 2, 8});  // the same block, after another one
  const AttentionPieces& pieces = step.Plan();
  EXPECT_EQ(step.Text(), "0: 0 in 0-3, 1 in 0-3, 2 in 0-3");
  EXPECT_EQ(pieces.saved_tokens(), 0u);
}

TEST(AttentionPieces, TheTreeHasABoundedDepth) {
  Step step(kSpan, 32);
  std::vector<BlockId> table;
  for (int i = 0; i < 2 * AttentionPieces::kMostRounds; ++i) {  // each leaves the others one span later
    table.push_back(static_cast<BlockId>(i));
    std::vector<BlockId> own = table;
    own.insert(own.end(), static_cast<size_t>(2 * AttentionPieces::kMostRounds - i + 1), 100u + own.back());
    step.Add(static_cast<int>(own.size()) * kSpan - 1, 1, own);
  }
  const AttentionPieces& pieces = step.Plan();
  EXPECT_EQ(pieces.rounds(), AttentionPieces::kMostRounds);
  EXPECT_EQ(pieces.round(0).size(), 1u);
}

// A random tree of sequences: each goes along another one for a while, and on with blocks of its own.
void AddRandom(Prng& prng, int block_tokens, int window, Step* step) {
  BlockId next = 1;
  std::vector<std::vector<BlockId>> tables;
  for (int64_t i = prng.Between(1, 12); i > 0; --i) {
    const int rows = static_cast<int>(prng.Chance(0.6) ? 1 : prng.Between(1, 80));
    const int position = static_cast<int>(prng.Below(6 * kSpan));
    std::vector<BlockId> table;
    if (!tables.empty() && prng.Chance(0.8)) {
      table = tables[prng.Below(tables.size())];
      table.resize(
          std::min<size_t>(prng.Below(table.size() + 1), static_cast<size_t>(position / block_tokens)));
    }
    while (static_cast<int>(table.size()) * block_tokens < position + rows) table.push_back(next++);
    tables.push_back(table);
    const int hidden = numerics::WindowStart(position, window) / block_tokens;
    std::fill_n(table.begin(), hidden, ~BlockId{0});  // their ids need not be valid
    step->Add(position, rows, std::move(table));
  }
}

struct Seen {
  const SequenceSpan* sequence;
  int position;
};

// Checks that what each row sees is in exactly one piece, in the order of the rounds.
void ExpectEverythingOnce(const AttentionPieces& pieces, const std::vector<Seen>& rows, int window) {
  std::vector<int> next(rows.size(), -1);  // the span at which the pieces so far end
  std::set<int> finished;
  for (int round = 0; round < pieces.rounds(); ++round) {
    for (const AttentionPiece& piece : pieces.round(round)) {
      ASSERT_LT(piece.first_span, piece.end_span);
      for (size_t i = 0; i < piece.rows.size(); ++i) {
        const int row = piece.rows[i];
        const Seen& seen = rows[static_cast<size_t>(row)];
        int& end = next[static_cast<size_t>(row)];
        ASSERT_EQ(piece.continues(), end >= 0) << "row " << row;
        if (end >= 0) {
          ASSERT_EQ(piece.first_span, end);
        } else {
          ASSERT_LE(piece.first_span, FirstSpan(seen.position, window));
        }
        ASSERT_EQ(piece.round, round);
        ASSERT_GT(piece.end_span, FirstSpan(seen.position, window)) << "the row sees no token of the piece";
        if (piece.finishes) {
          ASSERT_GE(piece.end_span, EndSpan(seen.position));
          ASSERT_TRUE(finished.insert(row).second);
        }
        const int stands_for = piece.first_position + static_cast<int>(i);
        if (stands_for != seen.position || piece.window != window) {
          ASSERT_EQ(piece.window, 0);
          ASSERT_GE(stands_for, piece.end_span * kSpan);
          ASSERT_GE(seen.position, piece.end_span * kSpan - 1);
          ASSERT_LE(numerics::WindowStart(seen.position, window), piece.first_span * kSpan);
        }
        end = piece.end_span;
      }
    }
  }
  ASSERT_EQ(finished.size(), rows.size());
}

// Checks that the pieces of a row read the blocks of its sequence, and that no two pieces read the same span
// of the same blocks where one of piece_rows rows would do. Without a window.
void ExpectBlocksReadOnce(const AttentionPieces& pieces, const std::vector<Seen>& rows, int block_tokens,
                          int piece_rows) {
  struct Reads {
    int pieces = 0;
    size_t rows = 0;
  };
  std::map<std::vector<BlockId>, Reads> shared;  // by the blocks up to the end of a span
  uint64_t tokens = 0;
  for (int round = 0; round < pieces.rounds(); ++round) {
    for (const AttentionPiece& piece : pieces.round(round)) {
      for (const int row : piece.rows) {
        const SequenceSpan& sequence = *rows[static_cast<size_t>(row)].sequence;
        const int last = std::min(piece.end_span * kSpan - 1, rows[static_cast<size_t>(row)].position);
        for (int token = piece.first_span * kSpan; token <= last; token += block_tokens) {
          const auto block = static_cast<size_t>(token / block_tokens);
          ASSERT_EQ(piece.blocks[block], sequence.blocks[block]) << "row " << row << ", token " << token;
        }
      }
      const int last = std::min(piece.end_span * kSpan - 1,
                                piece.first_position + static_cast<int>(piece.rows.size()) - 1);
      tokens += static_cast<uint64_t>(last - piece.first_span * kSpan + 1);
      for (int span = piece.first_span; span < piece.end_span; ++span) {
        if (rows[static_cast<size_t>(piece.rows[0])].sequence->position < (span + 1) * kSpan) continue;
        const auto end = static_cast<size_t>((span + 1) * kSpan / block_tokens);
        Reads& reads = shared[std::vector<BlockId>(piece.blocks, piece.blocks + end)];
        ++reads.pieces;
        reads.rows += piece.rows.size();
      }
    }
  }
  for (const auto& [key, reads] : shared) {
    EXPECT_EQ(static_cast<size_t>(reads.pieces),
              (reads.rows + static_cast<size_t>(piece_rows) - 1) / static_cast<size_t>(piece_rows));
  }
  EXPECT_EQ(pieces.read_tokens(), tokens);
}

TEST(AttentionPieces, InvariantsHoldForRandomTrees) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(1000));
  uint64_t saved = 0, saved_in_windows = 0, most_rounds = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Prng prng(seed);
    const int block_tokens = 1 << prng.Between(3, 9);
    const int piece_rows = static_cast<int>(prng.Between(1, 40));
    const int window = static_cast<int>(prng.Chance(0.5) ? 0 : prng.Between(1, 5 * kSpan));
    Step step(block_tokens, piece_rows);
    AddRandom(prng, block_tokens, window, &step);
    const AttentionPieces& pieces = step.Plan(window);
    std::vector<Seen> rows;
    for (const SequenceSpan& sequence : step.sequences())
      for (int i = 0; i < sequence.rows; ++i) rows.push_back({&sequence, sequence.position + i});
    size_t count = 0;
    for (int round = 0; round < pieces.rounds(); ++round) {
      for (const AttentionPiece& piece : pieces.round(round))
        ASSERT_LE(piece.rows.size(), static_cast<size_t>(piece_rows));
      count += pieces.round(round).size();
    }
    ASSERT_LE(count, AttentionPieces::Most(step.rows(), piece_rows));
    ExpectEverythingOnce(pieces, rows, window);
    if (window == 0 && pieces.rounds() < AttentionPieces::kMostRounds)
      ExpectBlocksReadOnce(pieces, rows, block_tokens, piece_rows);
    if (testing::Test::HasFailure()) return;
    (window == 0 ? saved : saved_in_windows) += pieces.saved_tokens();
    most_rounds = std::max(most_rounds, static_cast<uint64_t>(pieces.rounds()));
  }
  EXPECT_GT(saved, 0u);
  EXPECT_GT(saved_in_windows, 0u);
  EXPECT_GT(most_rounds, 3u);
}

}  // namespace
}  // namespace prefixd
