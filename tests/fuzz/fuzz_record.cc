// Decodes any bytes as the record of one fixed block. The decoder never reads past the end, and it accepts
// only records that are equal to what the encoder writes for the same payload.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "storage/record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr prefixd::TokenId kTokens[] = {7, -2};
  const prefixd::RecordIdentity identity{
      .fingerprint = {1, 2}, .key = {3, 4}, .parent = {5, 6}, .tokens = kTokens};
  const auto bytes = std::as_bytes(std::span(data, size));
  const prefixd::DecodedRecord decoded = prefixd::DecodeRecord(bytes, identity);
  if (decoded.defect == prefixd::RecordDefect::kNone) {
    PREFIXD_CHECK(prefixd::EncodeRecord(identity, decoded.payload) ==
                  std::string_view(reinterpret_cast<const char*>(data), size));
  } else {
    PREFIXD_CHECK(decoded.payload.empty());
  }
  return 0;
}
