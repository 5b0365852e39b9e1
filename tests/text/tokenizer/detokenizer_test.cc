// Compares streams with the definition of the decoder, which works on whole lists of tokens.
#include "text/tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/prng.h"
#include "tests/text/tokenizer/parts.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

using testing_support::AddedToken;
using testing_support::TokenizerParts;
using Strings = std::vector<std::string>;

std::string Join(const Strings& tokens, std::string_view between) {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) out += (i > 0 ? std::string(between) : "") + tokens[i];
  return out;
}

// A run of "<0x..>" becomes one token, or one U+FFFD per byte.
Strings DefineByteFallback(const Strings& tokens) {
  Strings out;
  std::string run;
  const auto end_run = [&] {
    if (IsValidUtf8(run)) {
      if (!run.empty()) out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), std::string(kReplacementCharacter));
    }
    run.clear();
  };
  for (const std::string& token : tokens) {
    if (token.size() == 6 && token.starts_with("<0x")) {
      run += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
    } else {
      end_run();
      out.push_back(token);
    }
  }
  end_run();
  return out;
}

std::string DefineStrip(std::string token, const DecoderSpec& spec) {
  for (size_t i = 0; i < spec.start && token.starts_with(spec.content); ++i)
    token.erase(0, spec.content.size());
  for (size_t i = 0; i < spec.stop && token.ends_with(spec.content); ++i) {
    token.resize(token.size() - spec.content.size());
  }
  return token;
}

std::string Define(const std::optional<std::vector<DecoderSpec>>& specs, Strings tokens) {
  if (!specs) return Join(tokens, " ");
  for (const DecoderSpec& spec : *specs) {
    std::string bytes;
    switch (spec.kind) {
      case DecoderSpec::kByteLevel:
        for (const std::string& token : tokens) bytes += UnspellBytes(token).value_or(token);
        tokens = {RepairUtf8(bytes)};
        break;
      case DecoderSpec::kReplace:
        for (std::string& token : tokens) token = ReplaceAll(token, spec.pattern, spec.content);
        break;
      case DecoderSpec::kByteFallback:
        tokens = DefineByteFallback(tokens);
        break;
      case DecoderSpec::kFuse:
        tokens = {Join(tokens, "")};
        break;
      case DecoderSpec::kStrip:
        for (std::string& token : tokens) token = DefineStrip(token, spec);
        break;
      case DecoderSpec::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i) {
          tokens[i] = ReplaceAll(tokens[i], spec.pattern, i == 0 && spec.prepends ? "" : " ");
        }
        break;
    }
  }
  return Join(tokens, "");
}

const Strings& Vocabulary() {
  static const Strings tokens = {"a",      "b ",     "Ġ",  "Ã",      "©",      "ð",      "Ł",      "ĺ",
                                 "Ģ",      "▁",      "▁a", "<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x98>",
                                 "<0x80>", "<0x41>", " ",  "  ",     "漢",     "<0xE6>", "▁▁",     "é"};
  return tokens;
}

const std::vector<std::pair<const char*, std::optional<std::vector<DecoderSpec>>>>& Decoders() {
  using D = DecoderSpec;
  const D replace{.kind = D::kReplace, .pattern = "▁", .content = " "};
  const D strip{.kind = D::kStrip, .content = " ", .start = 1, .stop = 0};
  const D strip_both{.kind = D::kStrip, .content = " ", .start = 2, .stop = 2};
  static const std::vector<std::pair<const char*, std::optional<std::vector<DecoderSpec>>>> decoders = {
      {"none", std::nullopt},
      {"empty", std::vector<D>{}},
      {"byte level", std::vector<D>{{.kind = D::kByteLevel}}},
      {"byte level, stripped", std::vector<D>{{.kind = D::kByteLevel}, strip_both}},
      {"llama 2", std::vector<D>{replace, {.kind = D::kByteFallback}, {.kind = D::kFuse}, strip}},
      {"gemma", std::vector<D>{replace, {.kind = D::kByteFallback}, {.kind = D::kFuse}}},
      {"both ends", std::vector<D>{replace, {.kind = D::kByteFallback}, {.kind = D::kFuse}, strip_both}},
      {"metaspace", std::vector<D>{{.kind = D::kMetaspace, .pattern = "▁", .prepends = true}}},
      {"metaspace without prefix", std::vector<D>{{.kind = D::kMetaspace, .pattern = "▁"}, strip_both}},
      {"metaspace after bytes",
       std::vector<D>{{.kind = D::kByteFallback}, {.kind = D::kMetaspace, .pattern = "▁", .prepends = true}}},
      {"strip each", std::vector<D>{{.kind = D::kByteFallback}, replace, strip_both}},
      {"replace after bytes", std::vector<D>{{.kind = D::kByteFallback}, replace, {.kind = D::kByteLevel}}},
  };
  return decoders;
}

Strings RandomTokens(Prng& random) {
  const Strings& vocabulary = Vocabulary();
  Strings tokens;
  const uint64_t low =
      random.Below(vocabulary.size());  // also runs of neighbouring ids, which form whole code points
  for (int64_t n = random.Between(0, 12); n > 0; --n) {
    const uint64_t span = std::min<uint64_t>(vocabulary.size() - low, 6);
    tokens.push_back(
        vocabulary[random.Chance(0.5) ? random.Below(vocabulary.size()) : low + random.Below(span)]);
  }
  return tokens;
}

TEST(DecodeStream, EqualsTheDefinitionAndEveryPieceIsValid) {
  for (const auto& [name, specs] : Decoders()) {
    const auto decoder = TokenDecoder::Create(specs);
    ASSERT_TRUE(decoder.ok()) << decoder.status().ToString();
    Prng random(7);
    for (int round = 0; round < 5000; ++round) {
      const Strings tokens = RandomTokens(random);
      DecodeStream stream(*decoder);
      std::string text;
      for (const std::string& token : tokens) {
        std::string piece;
        stream.Push(token, &piece);
        ASSERT_TRUE(IsValidUtf8(piece)) << name;
        text += piece;
      }
      std::string rest;
      stream.Flush(&rest);
      ASSERT_TRUE(IsValidUtf8(rest)) << name;
      ASSERT_EQ(text + rest, Define(specs, tokens)) << name << ": " << testing::PrintToString(tokens);
    }
  }
}

std::unique_ptr<Tokenizer> Make(const std::string& decoder) {
  TokenizerParts parts;
  parts.vocab = "{";
  for (size_t i = 0; i < Vocabulary().size(); ++i) {
    parts.vocab += (i > 0 ? "," : "") + ("\"" + Vocabulary()[i] + "\":" + std::to_string(i));
  }
  parts.vocab += "}";
  parts.added_tokens = "[" + AddedToken(24, "<s>", "special") + "," + AddedToken(25, "<t>") + "]";
  parts.decoder = decoder;
  auto tokenizer = Tokenizer::FromJson(parts.Json());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

constexpr const char* kByteLevel =
    R"({"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true})";
constexpr const char* kLlama2 =
    R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
    R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";

constexpr const char* kMetaspace =
    R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true})";

TokenId IdOf(const Tokenizer& tokenizer, std::string_view token) {
  return tokenizer.TokenToId(token).value();
}

TEST(Detokenizer, EqualsDecodeForRandomIds) {
  for (const char* decoder : {kByteLevel, kLlama2, kMetaspace, "null"}) {
    const auto tokenizer = Make(decoder);
    ASSERT_NE(tokenizer, nullptr);
    Prng random(3);
    for (int round = 0; round < 3000; ++round) {
      std::vector<TokenId> ids(random.Below(16));
      for (TokenId& id : ids) id = static_cast<TokenId>(random.Between(-1, 27));
      const bool skip_special = random.Chance(0.5);
      Detokenizer stream(*tokenizer, skip_special);
      std::string text;
      for (const TokenId id : ids) {
        const std::string piece = stream.Push(id);
        ASSERT_TRUE(IsValidUtf8(piece));
        text += piece;
      }
      ASSERT_EQ(text + stream.Flush(), tokenizer->Decode(ids, skip_special));
    }
  }
}

TEST(Detokenizer, HoldsBackWhatIsNotCertain) {
  const auto tokenizer = Make(kByteLevel);
  Detokenizer stream(*tokenizer, false);
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "a")), "a");
  for (const char* part : {"ð", "Ł", "ĺ"}) EXPECT_EQ(stream.Push(IdOf(*tokenizer, part)), "");
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "Ģ")), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "Ã")), "");
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "a")),
            "\xEF\xBF\xBD"
            "a")
      << "a byte that can never be completed";
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "Ã")), "");
  EXPECT_EQ(stream.Flush(), "\xEF\xBF\xBD");
}

TEST(Detokenizer, RunsOfByteTokensWaitForTheirEnd) {
  const auto tokenizer = Make(kLlama2);
  Detokenizer stream(*tokenizer, false);
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "<0xC3>")), "");
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "<0xA9>")), "") << "a byte to come could spoil the run";
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "a")),
            "\xC3\xA9"
            "a");
  EXPECT_EQ(stream.Push(IdOf(*tokenizer, "<0xC3>")), "");
  EXPECT_EQ(stream.Flush(), "\xEF\xBF\xBD");
}

TEST(Detokenizer, KnowsWhatStandsBefore) {
  const auto tokenizer = Make(kLlama2);
  const TokenId word = IdOf(*tokenizer, "▁a");
  Detokenizer at_start(*tokenizer, true);
  EXPECT_EQ(at_start.Push(word), "a");
  Detokenizer after_text(*tokenizer, true, std::vector<TokenId>{word});
  EXPECT_EQ(after_text.Push(word), " a");
  Detokenizer after_bos(*tokenizer, true, std::vector<TokenId>{24});
  EXPECT_EQ(after_bos.Push(word), "a") << "a token that is skipped is no text";
  Detokenizer after_run(*tokenizer, true, std::vector<TokenId>{IdOf(*tokenizer, "<0x41>")});
  EXPECT_EQ(after_run.Push(word), " a") << "the prompt's bytes do not come again";
}

TEST(Detokenizer, CompletesTheCodePointThatThePromptBegan) {
  for (const char* decoder : {kByteLevel, kLlama2}) {
    const auto tokenizer = Make(decoder);
    const bool bytes = decoder == kLlama2;
    const TokenId first = IdOf(*tokenizer, bytes ? "<0xC3>" : "Ã"),
                  second = IdOf(*tokenizer, bytes ? "<0xA9>" : "©");
    const TokenId letter = IdOf(*tokenizer, "a");
    Detokenizer completed(*tokenizer, true, std::vector<TokenId>{letter, first});
    std::string text = completed.Push(second);
    text += completed.Push(letter);
    EXPECT_EQ(text + completed.Flush(),
              "\xC3\xA9"
              "a");
    Detokenizer broken(*tokenizer, true, std::vector<TokenId>{letter, first});
    EXPECT_EQ(broken.Push(letter), "a") << "the reader has the U+FFFD of the prompt";
    Detokenizer ended(*tokenizer, true, std::vector<TokenId>{letter, first});
    EXPECT_EQ(ended.Flush(), "");
  }
}

}  // namespace
}  // namespace prefixd
