// The codecs that kv_compression_bench compares: the one of storage/payload_codec.h, and those that were
// tried beside it. One thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kv_layout.h"

namespace prefixd::bench {

// Compresses the blocks of one layout.
class KvCodec {
 public:
  virtual ~KvCodec() = default;
  virtual const std::string& name() const = 0;
  // Replaces `*out` by the compressed block.
  virtual void Encode(std::span<const std::byte> block, std::string* out) = 0;
  // Writes the block. Aborts when the bytes are not those that Encode wrote.
  virtual void Decode(std::string_view compressed, std::span<std::byte> block) = 0;
};

// In the order of the table: none; the compressors on the block as it is; on its byte planes; on the byte
// planes of the XOR with the previous token; and "stored", which is what prefixd writes, with its checksum.
// "huffman" is zstd at a level that searches for no repeated strings, with its Huffman code switched on.
std::vector<std::unique_ptr<KvCodec>> KvCodecs(const KvLayout& layout);

}  // namespace prefixd::bench
