#include "bench/kv_codecs.h"

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_c_literalCompressionMode
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "storage/byte_planes.h"
#include "storage/payload_codec.h"

namespace prefixd::bench {
namespace {

constexpr size_t kChunkElements = size_t{1} << 16;  // as in payload_codec.cc

// A compressor of bytes. Returns 0 when the result does not fit `out`.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual size_t Compress(std::span<const std::byte> in, std::span<std::byte> out) = 0;
  virtual void Decompress(std::span<const std::byte> in, std::span<std::byte> out) = 0;
};

class Lz4 final : public Compressor {
 public:
  size_t Compress(std::span<const std::byte> in, std::span<std::byte> out) override {
    return static_cast<size_t>(
        LZ4_compress_default(reinterpret_cast<const char*>(in.data()), reinterpret_cast<char*>(out.data()),
                             static_cast<int>(in.size()), static_cast<int>(out.size())));
  }
  void Decompress(std::span<const std::byte> in, std::span<std::byte> out) override {
    const int size =
        LZ4_decompress_safe(reinterpret_cast<const char*>(in.data()), reinterpret_cast<char*>(out.data()),
                            static_cast<int>(in.size()), static_cast<int>(out.size()));
    PREFIXD_CHECK(size == static_cast<int>(out.size())) << size;
  }
};

class Zstd final : public Compressor {
 public:
  // With `huffman_always` literals get a Huffman code at every level, not only where the level asks for it.
  Zstd(int level, bool huffman_always) : compress_(ZSTD_createCCtx()), decompress_(ZSTD_createDCtx()) {
    Set(ZSTD_c_compressionLevel, level);
    if (huffman_always) Set(ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
  }
  ~Zstd() override {
    ZSTD_freeCCtx(compress_);
    ZSTD_freeDCtx(decompress_);
  }
  size_t Compress(std::span<const std::byte> in, std::span<std::byte> out) override {
    const size_t size = ZSTD_compress2(compress_, out.data(), out.size(), in.data(), in.size());
    return ZSTD_isError(size) != 0 ? 0 : size;
  }
  void Decompress(std::span<const std::byte> in, std::span<std::byte> out) override {
    const size_t size = ZSTD_decompressDCtx(decompress_, out.data(), out.size(), in.data(), in.size());
    PREFIXD_CHECK(size == out.size()) << size;
  }

 private:
  void Set(ZSTD_cParameter parameter, int value) {
    PREFIXD_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(compress_, parameter, value)) == 0) << value;
  }
  ZSTD_CCtx* compress_;
  ZSTD_DCtx* decompress_;
};

class None final : public KvCodec {
 public:
  const std::string& name() const override { return name_; }
  void Encode(std::span<const std::byte> block, std::string* out) override {
    out->assign(reinterpret_cast<const char*>(block.data()), block.size());
  }
  void Decode(std::string_view compressed, std::span<std::byte> block) override {
    std::ranges::copy(std::as_bytes(std::span(compressed)), block.begin());
  }

 private:
  const std::string name_ = "none";
};

// Pieces of at most 2^16 elements, or planes of them, each stored with its length; raw if that is smaller.
class Pieces final : public KvCodec {
 public:
  Pieces(std::string name, std::unique_ptr<Compressor> compressor, size_t element_bytes)
      : name_(std::move(name)),
        compressor_(std::move(compressor)),
        element_bytes_(element_bytes),
        planes_(element_bytes * kChunkElements) {}
  const std::string& name() const override { return name_; }

  void Encode(std::span<const std::byte> block, std::string* out) override {
    out->clear();
    for (; !block.empty(); block = block.subspan(std::min(planes_.size(), block.size()))) {
      const std::span<const std::byte> chunk = block.first(std::min(planes_.size(), block.size()));
      const std::span<std::byte> planes = std::span(planes_).first(chunk.size());
      SplitPlanes(element_bytes_, chunk, planes);
      const size_t count = chunk.size() / element_bytes_;
      for (size_t p = 0; p < element_bytes_; ++p) Append(planes.subspan(p * count, count), out);
    }
  }

  void Decode(std::string_view compressed, std::span<std::byte> block) override {
    const std::byte* from = std::as_bytes(std::span(compressed)).data();
    while (!block.empty()) {
      const std::span<std::byte> chunk = block.first(std::min(planes_.size(), block.size()));
      const size_t count = chunk.size() / element_bytes_;
      std::array<const std::byte*, kMaxElementBytes> planes;
      for (size_t p = 0; p < element_bytes_; ++p) {
        const size_t size = GetLittle<uint32_t>(from);
        from += sizeof(uint32_t);
        planes[p] = from;
        if (size < count) {
          const std::span<std::byte> plane = std::span(planes_).subspan(p * count, count);
          compressor_->Decompress({from, size}, plane);
          planes[p] = plane.data();
        }
        from += size;
      }
      JoinPlanes(element_bytes_, std::span(planes).first(element_bytes_), chunk);
      block = block.subspan(chunk.size());
    }
  }

 private:
  void Append(std::span<const std::byte> plane, std::string* out) {
    const size_t length_at = out->size();
    const size_t begin = length_at + sizeof(uint32_t);
    out->resize(begin + plane.size());
    size_t size = compressor_->Compress(
        plane, std::as_writable_bytes(std::span(*out)).subspan(begin, plane.size() - 1));
    if (size == 0) {
      size = plane.size();
      std::memcpy(out->data() + begin, plane.data(), size);
    }
    const auto length = static_cast<uint32_t>(size);
    std::memcpy(out->data() + length_at, &length, sizeof length);
    out->resize(begin + size);
  }

  const std::string name_;
  const std::unique_ptr<Compressor> compressor_;
  const size_t element_bytes_;
  std::vector<std::byte> planes_;
};

// The XOR of each element with the same one of the previous token of its block, in the order of the CPU
// backends.
template <typename Word>
class XorTokens final : public KvCodec {
 public:
  XorTokens(std::string name, const KvLayout& layout, std::unique_ptr<KvCodec> next)
      : name_(std::move(name)),
        layout_(layout),
        next_(std::move(next)),
        words_(layout.BlockBytes() / sizeof(Word)) {}
  const std::string& name() const override { return name_; }

  void Encode(std::span<const std::byte> block, std::string* out) override {
    std::memcpy(words_.data(), block.data(), block.size());
    // From the last token to the first, so that each one meets its predecessor unchanged.
    ForEachRow([](Word* row, size_t elements, size_t stride) {
      for (size_t i = elements; i-- > stride;) row[i] ^= row[i - stride];
    });
    next_->Encode(std::as_bytes(std::span(words_)), out);
  }
  void Decode(std::string_view compressed, std::span<std::byte> block) override {
    next_->Decode(compressed, std::as_writable_bytes(std::span(words_)));
    ForEachRow([](Word* row, size_t elements, size_t stride) {
      for (size_t i = stride; i < elements; ++i) row[i] ^= row[i - stride];
    });
    std::memcpy(block.data(), words_.data(), block.size());
  }

 private:
  // Calls `change` with each run of elements in which tokens follow each other, its length, and the distance
  // of two tokens: one dimension of K, or a whole plane of V.
  template <typename Change>
  void ForEachRow(const Change& change) {
    const size_t tokens = layout_.block_tokens;
    for (int layer = 0; layer < layout_.layers; ++layer) {
      for (int head = 0; head < layout_.kv_heads; ++head) {
        Word* const k = words_.data() + layout_.KOffset(layer, head) / sizeof(Word);
        for (int d = 0; d < layout_.head_dim; ++d) change(k + d * tokens, tokens, 1);
        Word* const v = words_.data() + layout_.VOffset(layer, head) / sizeof(Word);
        change(v, layout_.PlaneElements(), layout_.head_dim);
      }
    }
  }

  const std::string name_;
  const KvLayout layout_;
  const std::unique_ptr<KvCodec> next_;
  std::vector<Word> words_;
};

// What prefixd writes. The codec and the checksum, which a record has in its header, follow the bytes here.
class Stored final : public KvCodec {
 public:
  explicit Stored(size_t element_bytes) : element_bytes_(static_cast<uint32_t>(element_bytes)) {}
  const std::string& name() const override { return name_; }

  void Encode(std::span<const std::byte> block, std::string* out) override {
    const StoredPayload payload = EncodePayload(PayloadCodec::kPlanesZstd, element_bytes_, block, out);
    if (payload.codec == PayloadCodec::kRaw)
      out->assign(reinterpret_cast<const char*>(block.data()), block.size());
    PutLittle(out, payload.raw_checksum);
    PutLittle(out, static_cast<uint32_t>(payload.codec));
  }
  void Decode(std::string_view compressed, std::span<std::byte> block) override {
    const size_t bytes = compressed.size() - sizeof(uint64_t) - sizeof(uint32_t);
    const char* const after = compressed.data() + bytes;
    const StoredPayload payload{
        .codec = static_cast<PayloadCodec>(GetLittle<uint32_t>(after + sizeof(uint64_t))),
        .element_bytes = element_bytes_,
        .raw_bytes = block.size(),
        .raw_checksum = GetLittle<uint64_t>(after),
        .bytes = std::as_bytes(std::span(compressed.substr(0, bytes)))};
    const Status status = DecodePayload(payload, block);
    PREFIXD_CHECK(status.ok()) << status.ToString();
  }

 private:
  const std::string name_ = "stored";
  const uint32_t element_bytes_;
};

}  // namespace

std::vector<std::unique_ptr<KvCodec>> KvCodecs(const KvLayout& layout) {
  const size_t element = layout.type.element_bytes();
  std::vector<std::unique_ptr<KvCodec>> codecs;
  const auto add = [&codecs](const char* name, std::unique_ptr<Compressor> compressor, size_t bytes) {
    codecs.push_back(std::make_unique<Pieces>(name, std::move(compressor), bytes));
  };
  codecs.push_back(std::make_unique<None>());
  add("lz4", std::make_unique<Lz4>(), 1);
  for (const int level : {-1, 1, 3}) {
    add(("zstd " + std::to_string(level)).c_str(), std::make_unique<Zstd>(level, false), 1);
  }
  add("huffman", std::make_unique<Zstd>(-100, true), 1);
  add("planes lz4", std::make_unique<Lz4>(), element);
  for (const int level : {-1, 1, 3}) {
    add(("planes zstd " + std::to_string(level)).c_str(), std::make_unique<Zstd>(level, false), element);
  }
  add("planes huffman", std::make_unique<Zstd>(-100, true), element);
  const char* const name = "xor planes huffman";
  auto after_xor = std::make_unique<Pieces>("", std::make_unique<Zstd>(-100, true), element);
  if (element == 2) {
    codecs.push_back(std::make_unique<XorTokens<uint16_t>>(name, layout, std::move(after_xor)));
  } else {
    codecs.push_back(std::make_unique<XorTokens<uint32_t>>(name, layout, std::move(after_xor)));
  }
  codecs.push_back(std::make_unique<Stored>(element));
  return codecs;
}

}  // namespace prefixd::bench
