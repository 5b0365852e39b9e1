#include "storage/payload_codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/prng.h"
#include "hashing/checksum.h"

namespace prefixd {
namespace {

constexpr PayloadCodec kCodec = PayloadCodec::kPlanesZstd;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// Elements with noise in all bytes but the last, as numbers of a layer have: 16 values, some more frequent.
std::string Numbers(size_t bytes, size_t element_bytes, uint64_t seed = 1) {
  Prng random(seed);
  std::string numbers(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) {
    const uint64_t noise = random.Next();
    const bool last = i % element_bytes == element_bytes - 1;
    numbers[i] = static_cast<char>(last ? 0x30 + (noise & (noise >> 8) & 15) : noise);
  }
  return numbers;
}

std::string Noise(size_t bytes, uint64_t seed = 2) {
  Prng random(seed);
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>(random.Next());
  return noise;
}

// The raw bytes, or the error as text. `stored` is decoded from memory of exactly its size, so that a
// sanitizer sees every read beyond it.
std::string Decode(StoredPayload stored, size_t size) {
  const std::vector<std::byte> copy(stored.bytes.begin(), stored.bytes.end());
  stored.bytes = copy;
  std::string raw(size, '\xEE');
  const Status status = DecodePayload(stored, std::as_writable_bytes(std::span(raw)));
  return status.ok() ? raw : status.ToString();
}

TEST(PayloadCodec, GivesBackWhatItWasGiven) {
  std::string buffer;
  for (const size_t element_bytes : {1, 2, 4}) {
    const size_t chunk = 65536 * element_bytes;
    for (const size_t size : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{5}, size_t{64}, size_t{1001},
                              chunk - 1, chunk, chunk + element_bytes + 1}) {
      for (const std::string& raw :
           {Numbers(size, element_bytes), Noise(size), std::string(size, '\0'), std::string(size, 'x')}) {
        const StoredPayload stored = EncodePayload(kCodec, element_bytes, Bytes(raw), &buffer);
        EXPECT_EQ(stored.raw_bytes, size);
        EXPECT_LE(stored.bytes.size(), size);
        EXPECT_TRUE(Decode(stored, size) == raw) << element_bytes << " x " << size;
      }
    }
  }
}

TEST(PayloadCodec, CompressesNumbersByTheirLastPlane) {
  std::string buffer;
  const std::string raw = Numbers(1 << 19, 2);
  const StoredPayload stored = EncodePayload(kCodec, 2, Bytes(raw), &buffer);
  EXPECT_EQ(stored.codec, kCodec);
  EXPECT_EQ(stored.element_bytes, 2u);
  EXPECT_EQ(stored.raw_checksum, Checksum(Bytes(raw)));
  // Half of it is noise; the other half has an entropy below 3.3 bits of 8.
  EXPECT_GE(stored.bytes.size(), raw.size() / 2);
  EXPECT_LE(stored.bytes.size(), raw.size() * 75 / 100);
  EXPECT_EQ(static_cast<const void*>(stored.bytes.data()), buffer.data());
}

TEST(PayloadCodec, APlaneOfOneValueTakesLittle) {
  std::string buffer;
  const std::string raw(1 << 20, '\0');
  const StoredPayload stored = EncodePayload(kCodec, 2, Bytes(raw), &buffer);
  EXPECT_EQ(stored.codec, kCodec);
  EXPECT_LT(stored.bytes.size(), raw.size() / 100);
}

TEST(PayloadCodec, KeepsRawWhatGainsTooLittle) {
  std::string buffer;
  for (const size_t size : {0, 1, 4, 1000, 1 << 20}) {
    const std::string raw = Noise(size);
    const StoredPayload stored = EncodePayload(kCodec, 2, Bytes(raw), &buffer);
    EXPECT_EQ(stored.codec, PayloadCodec::kRaw) << size;
    EXPECT_EQ(stored.raw_checksum, 0u);
    EXPECT_EQ(static_cast<const void*>(stored.bytes.data()), raw.data()) << "no copy";
  }
  // Noise with some zeros: the gain passes the limit of 1/20 between 40 and 60 of 1000 bytes.
  const auto codec_with_zeros = [&buffer](size_t zeros) {
    const std::string raw = Noise(100'000 - zeros) + std::string(zeros, '\0');
    const StoredPayload stored = EncodePayload(kCodec, 1, Bytes(raw), &buffer);
    EXPECT_TRUE(stored.codec == PayloadCodec::kRaw ||
                stored.bytes.size() <= raw.size() - raw.size() / kLeastGain);
    return stored.codec;
  };
  EXPECT_EQ(codec_with_zeros(1'000), PayloadCodec::kRaw);
  EXPECT_EQ(codec_with_zeros(20'000), kCodec);
}

TEST(PayloadCodec, TheRawCodecStoresAsItIs) {
  std::string buffer = "left from before";
  const std::string raw = Numbers(4096, 2);
  const StoredPayload stored = EncodePayload(PayloadCodec::kRaw, 2, Bytes(raw), &buffer);
  EXPECT_EQ(stored.codec, PayloadCodec::kRaw);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(Decode(stored, raw.size()), raw);
}

// The example of docs/FORMAT.md, which a script compressed with another binding of zstd.
TEST(PayloadCodec, DecodesTheKnownBytes) {
  std::string raw;
  for (int i = 0; i < 40; ++i) (raw += static_cast<char>(i * 7 % 256)) += '\x3f';
  raw += '!';
  const std::string stored = FromHex(
      "2800000000070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11"
      "1100000028b52ffd2028450000103f3f01001f8005"
      "21");
  EXPECT_EQ(Decode({kCodec, 2, raw.size(), 0xd5646ebaaa65bae9, Bytes(stored)}, raw.size()), raw);
}

// Another writer, with no frame at all: chunks of 65536 elements, planes in each, and what remains.
TEST(PayloadCodec, DecodesChunksOf65536Elements) {
  for (const size_t element_bytes : {1, 2, 4}) {
    const std::string raw = Noise(element_bytes * (65536 + 100) + (element_bytes - 1));
    std::string stored;
    for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 65536}, {65536, 100}}) {
      for (size_t p = 0; p < element_bytes; ++p) {
        PutLittle(&stored, static_cast<uint32_t>(count));
        for (size_t i = first; i < first + count; ++i) stored += raw[i * element_bytes + p];
      }
    }
    stored += raw.substr(element_bytes * (65536 + 100));
    const auto width = static_cast<uint32_t>(element_bytes);
    EXPECT_TRUE(Decode({kCodec, width, raw.size(), Checksum(Bytes(raw)), Bytes(stored)}, raw.size()) == raw);
  }
}

TEST(PayloadCodec, NoDamageIsAccepted) {
  std::string buffer;
  const std::string raw = Numbers(600, 2);
  const StoredPayload whole = EncodePayload(kCodec, 2, Bytes(raw), &buffer);
  ASSERT_EQ(whole.codec, kCodec);
  const auto accepts = [&raw](StoredPayload stored, std::string_view bytes) {
    stored.bytes = Bytes(bytes);
    return Decode(stored, raw.size()) == raw;
  };
  EXPECT_TRUE(accepts(whole, buffer));
  for (size_t bit = 0; bit < buffer.size() * 8; ++bit) {
    std::string damaged = buffer;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    std::string out(raw.size(), '\0');
    StoredPayload stored = whole;
    stored.bytes = Bytes(damaged);
    const Status status = DecodePayload(stored, std::as_writable_bytes(std::span(out)));
    EXPECT_TRUE(!status.ok() || out == raw) << "bit " << bit << ": wrong bytes";
  }
  for (size_t size = 0; size < buffer.size(); ++size) EXPECT_FALSE(accepts(whole, buffer.substr(0, size)));
  EXPECT_FALSE(accepts(whole, buffer + '\0'));
  EXPECT_FALSE(accepts(whole, buffer + buffer));
  StoredPayload other = whole;
  other.raw_checksum ^= 1;
  EXPECT_FALSE(accepts(other, buffer)) << "another payload's checksum";
}

TEST(PayloadCodec, FieldsThatContradictAreErrors) {
  std::string buffer;
  const std::string raw = Numbers(4096, 2);
  const StoredPayload whole = EncodePayload(kCodec, 2, Bytes(raw), &buffer);
  ASSERT_EQ(whole.codec, kCodec);
  const auto code = [](const StoredPayload& stored, size_t size) {
    std::string out(size, '\0');
    return DecodePayload(stored, std::as_writable_bytes(std::span(out))).code();
  };
  EXPECT_EQ(code(whole, raw.size()), Code::kOk);
  EXPECT_EQ(code(whole, raw.size() - 1), Code::kCorrupt);
  EXPECT_EQ(code(whole, raw.size() + 1), Code::kCorrupt);
  EXPECT_EQ(code(whole, 0), Code::kCorrupt);
  for (const uint64_t size : {uint64_t{0}, raw.size() - 2, raw.size() + 2}) {
    StoredPayload stored = whole;
    stored.raw_bytes = size;
    EXPECT_EQ(code(stored, size), Code::kCorrupt) << "a length that is a lie: " << size;
    EXPECT_EQ(code(stored, raw.size()), Code::kCorrupt);
  }
  for (const uint64_t size : {~uint64_t{0}, uint64_t{1} << 60}) {
    StoredPayload stored = whole;
    stored.raw_bytes = size;
    EXPECT_EQ(code(stored, raw.size()), Code::kCorrupt);
  }
  for (const uint32_t element_bytes : {0u, 1u, 3u, 4u, 5u, 8u, ~0u}) {
    StoredPayload stored = whole;
    stored.element_bytes = element_bytes;
    EXPECT_EQ(code(stored, raw.size()), Code::kCorrupt) << element_bytes;
  }
  for (const uint32_t codec : {2u, 3u, ~0u}) {
    StoredPayload stored = whole;
    stored.codec = static_cast<PayloadCodec>(codec);
    EXPECT_EQ(code(stored, raw.size()), Code::kUnsupported) << codec;
  }
  StoredPayload not_raw = whole;
  not_raw.codec = PayloadCodec::kRaw;
  EXPECT_EQ(code(not_raw, raw.size()), Code::kCorrupt) << "compressed bytes under the raw codec";
}

// A frame says how many bytes it gives, and how large a window it wants. What it says is not believed.
TEST(PayloadCodec, FramesThatClaimOtherSizesAreErrors) {
  const std::string plane(40, '?');
  const std::string frame = FromHex("28b52ffd2028450000103f3f01001f8005");  // of this plane
  const auto decodes = [&plane](const std::string& one_plane, uint32_t length) {
    std::string stored;
    PutLittle(&stored, length);
    stored += one_plane;
    return Decode({kCodec, 1, plane.size(), Checksum(Bytes(plane)), Bytes(stored)}, plane.size()) == plane;
  };
  const auto decodes_frame = [&](const std::string& bytes) {
    return decodes(bytes, static_cast<uint32_t>(bytes.size()));
  };
  EXPECT_TRUE(decodes_frame(frame));
  EXPECT_TRUE(decodes(plane, 40)) << "a plane may be raw";
  EXPECT_FALSE(decodes(plane, 41));
  EXPECT_FALSE(decodes(plane, 0xffffffff));
  EXPECT_FALSE(decodes("", 0));
  EXPECT_FALSE(decodes_frame(FromHex("28b52ffd"))) << "no more than its magic";
  std::string other = frame;
  other[5] = 41;  // the content size
  EXPECT_FALSE(decodes_frame(other));
  // The frame with the number of a dictionary, 7.
  EXPECT_FALSE(decodes_frame(FromHex("28b52ffd210728450000103f3f01001f8005")));
  EXPECT_TRUE(decodes_frame(FromHex("28b52ffd210028450000103f3f01001f8005"))) << "0: none";
  // Without a content size, with a window of 2^41 - 1 bytes, and one raw block of 3 bytes.
  EXPECT_FALSE(decodes_frame(FromHex("28b52ffd00ff190000") + "???"));
  // A content size of 2^62 bytes.
  EXPECT_FALSE(decodes_frame(FromHex("28b52ffde00000000000000040190000") + "???"));
  // A run of 0x3f that is longer than the plane: a block of one byte, repeated 2^17 times.
  EXPECT_FALSE(decodes_frame(FromHex("28b52ffd202803001000") + "?"));
  const std::string empty = FromHex("28b52ffd2000010000");
  const std::string skipped = FromHex("502a4d1801000000") + "x";
  EXPECT_FALSE(decodes_frame(frame + empty)) << "two frames";
  EXPECT_FALSE(decodes_frame(empty + frame));
  EXPECT_FALSE(decodes_frame(skipped + frame)) << "a frame to skip";
  EXPECT_FALSE(decodes_frame(frame + skipped));
  EXPECT_FALSE(decodes_frame(FromHex("27b52ffd") + frame.substr(4))) << "the format of zstd 0.7";
}

TEST(PayloadCodec, NoiseIsRefused) {
  Prng random(1);
  const std::string magic = FromHex("28b52ffd20");
  for (int i = 0; i < 5000; ++i) {
    const size_t raw_size = 1 + random.Below(400);
    std::string stored;
    while (stored.size() < raw_size && random.Chance(0.8)) {
      PutLittle(&stored, static_cast<uint32_t>(random.Below(100)));
      if (random.Chance(0.7)) stored += magic;
      stored += Noise(random.Below(60), random.Next());
    }
    const StoredPayload payload{kCodec, 1u << random.Below(3), raw_size, 1, Bytes(stored)};
    std::string out(raw_size, '\0');
    EXPECT_FALSE(DecodePayload(payload, std::as_writable_bytes(std::span(out))).ok());
  }
}

TEST(PayloadCodec, IsChosenByTheDtype) {
  const auto is = [](std::string_view dtype, PayloadCodec codec, uint32_t element_bytes) {
    const CodecChoice choice = ChooseCodec(dtype);
    return choice.codec == codec && choice.element_bytes == element_bytes;
  };
  EXPECT_TRUE(is("bf16", kCodec, 2));
  EXPECT_TRUE(is("f32", kCodec, 4));
  EXPECT_TRUE(is("f16", PayloadCodec::kRaw, 2));
  for (const char* other : {"", "f8", "BF16", "bf16 "})
    EXPECT_TRUE(is(other, PayloadCodec::kRaw, 1)) << other;
}

TEST(PayloadCodec, HasNames) {
  EXPECT_EQ(PayloadCodecName(PayloadCodec::kRaw), "raw");
  EXPECT_EQ(PayloadCodecName(kCodec), "zstd");
  EXPECT_EQ(PayloadCodecName(static_cast<PayloadCodec>(9)), "unknown");
}

TEST(PayloadCodecDeathTest, PreconditionsAreChecked) {
  std::string buffer;
  EXPECT_DEATH(EncodePayload(static_cast<PayloadCodec>(7), 2, Bytes("x"), &buffer), "7");
  EXPECT_DEATH(EncodePayload(kCodec, 3, Bytes("x"), &buffer), "3");
}

}  // namespace
}  // namespace prefixd
