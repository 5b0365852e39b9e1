// Compares byte-pair merging with the simple quadratic loop, and the options of the model with the tokenizers
// library.
#include "text/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using Pairs = std::map<std::pair<TokenId, TokenId>, MergeTable::Merge>;

// The definition: merges the best pair, the leftmost of equals, until none is left.
std::vector<TokenId> MergeNaively(const Pairs& pairs, std::vector<TokenId> ids) {
  while (true) {
    size_t best = ids.size();
    uint32_t best_rank = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = pairs.find({ids[i], ids[i + 1]});
      if (found == pairs.end() || (best != ids.size() && found->second.rank >= best_rank)) continue;
      best = i;
      best_rank = found->second.rank;
    }
    if (best == ids.size()) return ids;
    ids[best] = pairs.at({ids[best], ids[best + 1]}).product;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// A vocabulary grown by merging random pairs of existing tokens, as in training. All products differ in text.
Pairs RandomMerges(Prng& random, int alphabet, int merges) {
  std::vector<std::string> texts;
  std::map<std::string, TokenId> ids;
  for (int i = 0; i < alphabet; ++i) ids[texts.emplace_back(1, static_cast<char>('a' + i))] = i;
  Pairs pairs;
  for (int rank = 0; rank < merges; ++rank) {
    const auto left = static_cast<TokenId>(random.Below(texts.size()));
    const auto right = static_cast<TokenId>(random.Below(texts.size()));
    const std::string text = texts[static_cast<size_t>(left)] + texts[static_cast<size_t>(right)];
    const auto [found, is_new] = ids.emplace(text, static_cast<TokenId>(texts.size()));
    if (is_new) texts.push_back(text);
    pairs.emplace(std::pair(left, right), MergeTable::Merge{static_cast<uint32_t>(rank), found->second});
  }
  return pairs;
}

TEST(MergeTable, EqualsTheQuadraticLoop) {
  Prng random(1);
  for (int round = 0; round < testing_support::Rounds(300); ++round) {
    const int alphabet = static_cast<int>(random.Between(1, 5));
    const Pairs pairs = RandomMerges(random, alphabet, static_cast<int>(random.Between(0, 60)));
    MergeTable table(pairs.size());
    for (const auto& [pair, merge] : pairs) table.Insert(pair.first, pair.second, merge);
    for (const int64_t length : {0, 1, 2, 5, 31, 32, 33, 200}) {
      std::vector<TokenId> ids;
      for (int64_t i = 0; i < length; ++i) ids.push_back(static_cast<TokenId>(random.Below(alphabet)));
      const std::vector<TokenId> expected = MergeNaively(pairs, ids);
      table.MergeAll(&ids);
      ASSERT_EQ(ids, expected) << "round " << round << ", length " << length;
    }
  }
}

TEST(MergeTable, TheLastOfEqualPairsWins) {
  MergeTable table(2);
  table.Insert(1, 2, {0, 3});
  table.Insert(1, 2, {5, 4});
  ASSERT_NE(table.Find(1, 2), nullptr);
  EXPECT_EQ(table.Find(1, 2)->product, 4);
  EXPECT_EQ(table.Find(2, 1), nullptr);
}

BpeSpec SmallSpec() {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"abc", 4}, {"bc", 5}, {" ", 6}, {"x", 7}};
  return spec;
}

std::vector<TokenId> Tokens(const BpeSpec& spec, std::string_view piece) {
  std::vector<TokenId> out;
  BpeModel(spec, /*byte_level=*/false).Tokenize(piece, &out);
  return out;
}
using Ids = std::vector<TokenId>;

// Expectations of the tests below: tokenizers 0.23.3.
TEST(BpeModel, UnknownCharacters) {
  BpeSpec spec = SmallSpec();
  EXPECT_EQ(Tokens(spec, "azb"), (Ids{0, 1})) << "dropped where there is no unknown token";
  spec.unk_token = "x";
  EXPECT_EQ(Tokens(spec, "azzb"), (Ids{0, 7, 7, 1}));
  spec.fuse_unk = true;
  EXPECT_EQ(Tokens(spec, "azzb"), (Ids{0, 7, 1}));
}

TEST(BpeModel, TheLastRankOfARepeatedMergeCounts) {
  BpeSpec spec = SmallSpec();
  spec.merges = {{"a", "b"}, {"b", "c"}, {"a", "b"}};
  EXPECT_EQ(Tokens(spec, "abc"), (Ids{0, 5}));
}

TEST(BpeModel, BytesStandInWhereAllOfThemAreThere) {
  BpeSpec spec;
  spec.vocab = {{"<0xc3>", 0}, {"<0xA9>", 1}, {"<0xC3>", 2}, {"u", 3}};
  spec.byte_fallback = true;
  spec.unk_token = "u";
  EXPECT_EQ(Tokens(spec, "\xC3\xA9"), (Ids{2, 1}));
  EXPECT_EQ(Tokens(spec, "\xC3\xA8"), (Ids{3}));
}

TEST(BpeModel, AffixesOfSubwords) {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"##b", 1}, {"ab", 2}, {"##c</w>", 3}, {"abc</w>", 4}};
  spec.merges = {{"a", "##b"}, {"ab", "##c</w>"}};
  spec.continuing_subword_prefix = "##";
  spec.end_of_word_suffix = "</w>";
  EXPECT_EQ(Tokens(spec, "abc"), (Ids{4}));
}

TEST(BpeModel, IgnoreMergesTakesWholeWords) {
  BpeSpec spec = SmallSpec();
  EXPECT_EQ(Tokens(spec, "abc"), (Ids{0, 1, 2}));
  spec.ignore_merges = true;
  EXPECT_EQ(Tokens(spec, "abc"), (Ids{4}));
  EXPECT_EQ(Tokens(spec, "abcx"), (Ids{0, 1, 2, 7}));
}

TEST(WordCache, WordsThatComeOnceDoNotDriveOutWordsInUse) {
  WordCache cache;
  std::vector<TokenId> out;
  cache.Put("word", 7, Ids{1});
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(cache.Find("word", 7, &out)) << i;
    cache.Put("once " + std::to_string(i), 7, Ids{2});
  }
  cache.Put("next", 7, Ids{3});
  cache.Put("word", 7, Ids{1});
  EXPECT_TRUE(cache.Find("word", 7, &out)) << "and it comes back where it was driven out";
}

TEST(WordCache, GivesWhatWasPutUnderThisKeyOnly) {
  WordCache cache;
  std::vector<TokenId> out;
  EXPECT_FALSE(cache.Find("word", 7, &out));
  cache.Put("word", 7, Ids{1, 2});
  EXPECT_TRUE(cache.Find("word", 7, &out));
  EXPECT_EQ(out, (Ids{1, 2}));
  EXPECT_FALSE(cache.Find("work", 7, &out)) << "another key of the same slot";
  cache.Put("work", 7, Ids{3});
  EXPECT_TRUE(cache.Find("word", 7, &out)) << "it is in use and has a second chance";
  cache.Put("work", 7, Ids{3});
  cache.Put("work", 7, Ids{3});
  EXPECT_FALSE(cache.Find("word", 7, &out)) << "the new word has taken the place";
  EXPECT_TRUE(cache.Find("work", 7, &out));
  const std::string longest(WordCache::kMaxKey, 'k'), longer(WordCache::kMaxKey + 1, 'k');
  cache.Put(longest, 8, Ids(WordCache::kMaxIds, 5));
  cache.Put(longer, 9, Ids{1});
  cache.Put("many", 10, Ids(WordCache::kMaxIds + 1, 5));
  EXPECT_TRUE(cache.Find(longest, 8, &out));
  EXPECT_FALSE(cache.Find(longer, 9, &out));
  EXPECT_FALSE(cache.Find("many", 10, &out));
}

// Long pieces are cut where no merge applies across the cut. The definition does not cut.
TEST(BpeModel, CutsNothingThatAMergeWouldJoin) {
  Prng random(5);
  for (int round = 0; round < 400; ++round) {
    BpeSpec spec;
    std::map<std::string, TokenId> ids;
    const auto id_of = [&](const std::string& text) {
      const auto [found, is_new] = ids.emplace(text, static_cast<TokenId>(ids.size()));
      if (is_new) spec.vocab.emplace_back(text, found->second);
      return found->second;
    };
    const std::vector<std::string> letters = {"a", "b", "\u2581", "\u6f22", "\U0001f600"};
    const uint64_t known = random.Between(2, 5);  // the others are unknown
    for (uint64_t i = 0; i < known; ++i) id_of(letters[i]);
    id_of("?");
    Pairs pairs;
    for (uint64_t i = random.Between(0, 12); i > 0; --i) {
      const std::string left = spec.vocab[random.Below(spec.vocab.size())].first;
      const std::string right = spec.vocab[random.Below(spec.vocab.size())].first;
      const auto rank = static_cast<uint32_t>(spec.merges.size());
      spec.merges.emplace_back(left, right);
      const TokenId first = id_of(left), second = id_of(right);
      pairs[{first, second}] = {rank, id_of(left + right)};
    }
    if (random.Chance(0.5)) spec.unk_token = "?";
    const BpeModel model(spec, /*byte_level=*/false);
    std::string text;
    std::vector<TokenId> symbols;
    for (int i = 0; i < 60; ++i) {
      const std::string& letter = letters[random.Chance(0.9) ? random.Below(known) : random.Below(5)];
      text += letter;
      if (ids.contains(letter)) {
        symbols.push_back(ids[letter]);
      } else if (spec.unk_token) {
        symbols.push_back(ids["?"]);
      }
    }
    Ids out;
    model.Tokenize(text, &out);
    ASSERT_EQ(out, MergeNaively(pairs, symbols)) << "round " << round << ": " << text;
  }
}

TEST(BpeModel, ThreadsShareOneModel) {
  Prng random(2);
  BpeSpec spec = SmallSpec();
  spec.merges = {{"a", "b"}, {"b", "c"}, {"ab", "c"}};
  const BpeModel model(spec, /*byte_level=*/false);
  std::vector<std::string> words;
  for (int i = 0; i < testing_support::Rounds(2000); ++i) {
    std::string& word = words.emplace_back();
    for (uint64_t n = random.Between(1, 6); n > 0; --n) word += "abcx"[random.Below(4)];
  }
  std::vector<Ids> expected(words.size());
  for (size_t i = 0; i < words.size(); ++i) expected[i] = Tokens(spec, words[i]);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < words.size(); ++i) {
        Ids out;
        model.Tokenize(words[i], &out);
        count += out != expected[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace prefixd
