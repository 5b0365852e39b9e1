// The known answers are those of docs/FORMAT.md. They were computed independently of this code, with a script
// after its text and the xxhsum program or the Python package xxhash.
#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

#include "hashing/block_key.h"
#include "hashing/checksum.h"
#include "hashing/fingerprint.h"

namespace prefixd {
namespace {

constexpr BlockKey kModel{.low = 0xfedcba9876543210, .high = 0x0123456789abcdef};

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(BlockKey, PrintsHighHalfFirst) { EXPECT_EQ(ToHex(kModel), "0123456789abcdeffedcba9876543210"); }

TEST(BlockKey, HasTheKnownAnswers) {
  const BlockKey root = RootKey(kModel, "");
  EXPECT_EQ(ToHex(root), "b6c1d7ca40cf82db64a03551eac4acaf");
  EXPECT_EQ(ToHex(RootKey(kModel, "tenant-a")), "bc1c9770209fa260843c176d2aae366b");
  EXPECT_EQ(RootKey(kModel, "", "tenant-a"), RootKey(kModel, "tenant-a"));
  EXPECT_EQ(ToHex(RootKey(kModel, "tenant-a", "")), "56b7e9285cf95a2af727f81eaa4c24da");
  EXPECT_EQ(ToHex(RootKey(kModel, "tenant-a", "s")), "56b7e9285cf95a2a2ad51d2a602ed5ec");
  EXPECT_EQ(TenantHalf(kModel, "tenant-a"), 0x56b7e9285cf95a2au);

  std::vector<TokenId> tokens(16);
  std::iota(tokens.begin(), tokens.end(), 0);
  tokens[3] = -1;
  tokens[5] = 2147483647;
  const BlockKey first = ChildKey(root, tokens);
  EXPECT_EQ(ToHex(first), "f14f9e8253b1ccc4c6d61249f2b3e591");
  EXPECT_EQ(ToHex(ChildKey(first, std::vector<TokenId>{7})), "c9caab81559f340755f426f7bbc21555");

  tokens.resize(256);
  std::iota(tokens.begin(), tokens.end(), 0);
  EXPECT_EQ(ToHex(ChildKey(root, tokens)), "c9900b9bf02149a581805743bec9dcec");
}

TEST(BlockKey, TellsRootFromBlock) {
  // The salt "\7\0\0\0" and the token 7 have the same bytes.
  EXPECT_NE(RootKey(kModel, std::string_view("\7\0\0\0", 4)), ChildKey(kModel, std::vector<TokenId>{7}));
}

TEST(BlockKey, DependsOnEveryTokenAndTheParent) {
  const std::vector<TokenId> tokens(16, 1);
  const BlockKey key = ChildKey(kModel, tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::vector<TokenId> other = tokens;
    other[i] = 2;
    EXPECT_NE(ChildKey(kModel, other), key) << i;
  }
  EXPECT_NE(ChildKey(BlockKey{.low = kModel.low, .high = kModel.high ^ 1}, tokens), key);
  EXPECT_NE(ChildKey(BlockKey{.low = kModel.low ^ 1, .high = kModel.high}, tokens), key);
}

TEST(PrefixCheck, HasTheKnownAnswers) {
  const uint64_t root = RootCheck(RootKey(kModel, ""));
  EXPECT_EQ(root, 0x45227dd52febb3f9u);
  EXPECT_EQ(RootCheck(RootKey(kModel, "tenant-a")), 0xae178349780cd6e8u);

  std::vector<TokenId> tokens(16);
  std::iota(tokens.begin(), tokens.end(), 0);
  tokens[3] = -1;
  tokens[5] = 2147483647;
  const uint64_t first = ChildCheck(root, tokens);
  EXPECT_EQ(first, 0x964c75188a7e5ba2u);
  EXPECT_EQ(ChildCheck(first, std::vector<TokenId>{7}), 0xe8c3ba9f0634d656u);

  tokens.resize(256);
  std::iota(tokens.begin(), tokens.end(), 0);
  EXPECT_EQ(ChildCheck(root, tokens), 0xddfd5117e8ccc265u);
}

TEST(PrefixCheck, TellsRootFromBlock) {
  // The key of the root, and the check of the parent with the two tokens, have the same bytes.
  const BlockKey root{.low = kModel.low, .high = 0x0000000800000007};
  EXPECT_NE(RootCheck(root), ChildCheck(root.low, std::vector<TokenId>{7, 8}));
}

TEST(PrefixCheck, DependsOnEveryBitOfTheRootAndTheParent) {
  const std::vector<TokenId> tokens(16, 1);
  const uint64_t root = RootCheck(kModel);
  const uint64_t child = ChildCheck(root, tokens);
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t flip = uint64_t{1} << bit;
    EXPECT_NE(RootCheck({.low = kModel.low ^ flip, .high = kModel.high}), root) << bit;
    EXPECT_NE(RootCheck({.low = kModel.low, .high = kModel.high ^ flip}), root) << bit;
    EXPECT_NE(ChildCheck(root ^ flip, tokens), child) << bit;
  }
}

TEST(PrefixCheck, DependsOnEveryTokenOfTheBlockAndOfThoseBeforeIt) {
  const std::vector<TokenId> last(16, 3);
  const auto check_after = [&last](const std::vector<TokenId>& first, const std::vector<TokenId>& second) {
    return ChildCheck(ChildCheck(ChildCheck(RootCheck(kModel), first), second), last);
  };
  const std::vector<TokenId> tokens(16, 1);
  const uint64_t child = ChildCheck(RootCheck(kModel), tokens);
  const uint64_t grandchild = check_after(tokens, tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::vector<TokenId> other = tokens;
    other[i] = 2;
    EXPECT_NE(ChildCheck(RootCheck(kModel), other), child) << i;
    EXPECT_NE(check_after(other, tokens), grandchild) << i;
    EXPECT_NE(check_after(tokens, other), grandchild) << i;
    EXPECT_NE(check_after(other, tokens), check_after(tokens, other)) << i;
  }
  EXPECT_NE(ChildCheck(RootCheck(kModel), std::span(tokens).first(15)), child);
}

TEST(Checksum, HasTheKnownAnswers) {
  EXPECT_EQ(Checksum({}), 0x2d06800538d394c2u);
  EXPECT_EQ(Checksum(Bytes("prefixd")), 0x0564a8934393f9b4u);
  std::vector<uint8_t> bytes(1000);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  EXPECT_EQ(Checksum(Bytes(bytes)), 0xd33dd80b46f60e50u);
}

BlockKey HashWeights(size_t piece) {
  WeightsHasher hasher;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  hasher.BeginTensor("a.weight", "F32", std::array<int64_t, 2>{2, 3});
  for (size_t i = 0; i < 24; i += piece) hasher.Update(Bytes(values).subspan(i, std::min(piece, 24 - i)));
  hasher.BeginTensor("b.bias", "BF16", std::array<int64_t, 1>{0});
  hasher.Update({});
  return hasher.Finish();
}

ModelIdentity Identity() {
  return {.weights = HashWeights(24),
          .architecture = R"({"arch":"demo"})",
          .kv_dtype = "f32",
          .block_tokens = 16,
          .kv_layout = "lkht",
          .numerics_version = "cpu-1"};
}

TEST(Fingerprint, WeightsHaveTheKnownAnswerInAnyPieces) {
  for (const size_t piece : {1, 5, 24})
    EXPECT_EQ(ToHex(HashWeights(piece)), "cb787dbb965064ce886f5a7611f896a1") << piece;
}

TEST(Fingerprint, WeightsMayComeInAnyOrder) {
  WeightsHasher hasher;
  hasher.BeginTensor("b.bias", "BF16", std::array<int64_t, 1>{0});
  hasher.BeginTensor("a.weight", "F32", std::array<int64_t, 2>{2, 3});
  hasher.Update(Bytes(std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(hasher.Finish(), HashWeights(24));
}

TEST(Fingerprint, WeightsTellDataFromHeaderAndTensorFromTensor) {
  const auto hash = [](std::string_view first, std::string_view second) {
    WeightsHasher hasher;
    hasher.BeginTensor("a", "U8", std::array<int64_t, 1>{1});
    hasher.Update(Bytes(first));
    hasher.BeginTensor("b", "U8", std::array<int64_t, 1>{1});
    hasher.Update(Bytes(second));
    return hasher.Finish();
  };
  EXPECT_NE(hash("xy", "z"), hash("x", "yz"));
  EXPECT_NE(WeightsHasher().Finish(), hash("", ""));
}

TEST(Fingerprint, HasTheKnownAnswer) {
  EXPECT_EQ(ToHex(Fingerprint(Identity())), "92c1b67c0064f7d15e4683610288dc57");
}

TEST(Fingerprint, DependsOnEveryMember) {
  const std::vector<void (*)(ModelIdentity*)> changes = {
      [](ModelIdentity* m) { m->weights.low ^= 1; },
      [](ModelIdentity* m) { m->architecture += " "; },
      [](ModelIdentity* m) { m->kv_dtype = "f16"; },
      [](ModelIdentity* m) { m->block_tokens = 32; },
      [](ModelIdentity* m) { m->kv_layout = "lkth"; },
      [](ModelIdentity* m) { m->numerics_version = "cpu-4"; },
      [](ModelIdentity* m) { m->quantization = "q8_0"; },
      [](ModelIdentity* m) { m->kv_layout.swap(m->numerics_version); },
      [](ModelIdentity* m) { m->architecture += m->kv_dtype, m->kv_dtype.clear(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    ModelIdentity identity = Identity();
    changes[i](&identity);
    EXPECT_NE(Fingerprint(identity), Fingerprint(Identity())) << "change " << i;
  }
}

TEST(FingerprintDeathTest, BytesBelongToATensor) {
  WeightsHasher hasher;
  EXPECT_DEATH(hasher.Update(Bytes("x")), "Update before BeginTensor");
}

TEST(FingerprintDeathTest, TensorsComeOnceAndFinishIsTheLastCall) {
  WeightsHasher hasher;
  hasher.BeginTensor("b", "U8", {});
  hasher.BeginTensor("a", "U8", {});
  EXPECT_DEATH(hasher.BeginTensor("b", "U8", {}), "tensor 'b' twice");
  hasher.Finish();
  EXPECT_DEATH(hasher.BeginTensor("c", "U8", {}), "after Finish");
  EXPECT_DEATH(hasher.Finish(), "Finish twice");
  EXPECT_DEATH(Fingerprint({}), "block_tokens > 0");
}

}  // namespace
}  // namespace prefixd
