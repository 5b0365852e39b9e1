// Decompresses any bytes as a stored payload. The first byte of an input chooses the width of the elements,
// the next four are the raw length, and the rest is what is stored.
//
// Random bytes do not have the right checksum. So what a first try wrote is tried again with its checksum:
// either the stored bytes are damaged, or they give the same bytes again, which then survive a round trip
// through the encoder.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "hashing/checksum.h"
#include "storage/payload_codec.h"

namespace {

using prefixd::PayloadCodec;
using prefixd::StoredPayload;

constexpr uint64_t kLongest = 1 << 18;  // chunks have 65536 elements

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

bool Decode(const StoredPayload& payload, std::string* out) {
  return prefixd::DecodePayload(payload, std::as_writable_bytes(std::span(*out))).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 5) return 0;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const uint64_t raw_bytes = prefixd::GetLittle<uint32_t>(data + 1) % kLongest;
  StoredPayload payload{PayloadCodec::kPlanesZstd, data[0], raw_bytes, 0, bytes.subspan(5)};
  std::string first(raw_bytes, '\0');
  Decode(payload, &first);
  std::string second(raw_bytes, '\1');
  payload.raw_checksum = prefixd::Checksum(Bytes(first));
  if (!Decode(payload, &second)) return 0;
  PREFIXD_CHECK(first == second);

  std::string buffer;
  const StoredPayload again =
      prefixd::EncodePayload(PayloadCodec::kPlanesZstd, payload.element_bytes, Bytes(first), &buffer);
  std::string third(raw_bytes, '\2');
  PREFIXD_CHECK(Decode(again, &third) && third == first);
  return 0;
}
