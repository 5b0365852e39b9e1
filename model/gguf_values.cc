#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/json_fields.h"
#include "base/utf8.h"
#include "model/gguf.h"

namespace prefixd {
namespace {

constexpr size_t kLongestQuote = 80;

// An integer of any width; nothing where the type is another or the number is above 63 bits.
std::optional<int64_t> IntegerAt(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kU8:
      return GetLittle<uint8_t>(at);
    case GgufType::kI8:
      return GetLittle<int8_t>(at);
    case GgufType::kU16:
      return GetLittle<uint16_t>(at);
    case GgufType::kI16:
      return GetLittle<int16_t>(at);
    case GgufType::kU32:
      return GetLittle<uint32_t>(at);
    case GgufType::kI32:
      return GetLittle<int32_t>(at);
    case GgufType::kU64:
      if (GetLittle<uint64_t>(at) > std::numeric_limits<int64_t>::max()) return std::nullopt;
      return static_cast<int64_t>(GetLittle<uint64_t>(at));
    case GgufType::kI64:
      return GetLittle<int64_t>(at);
    default:
      return std::nullopt;
  }
}

std::string_view StringAt(const std::byte* at) {
  return {reinterpret_cast<const char*>(at) + sizeof(uint64_t), static_cast<size_t>(GetLittle<uint64_t>(at))};
}

std::string TextOf(const GgufValue& value) {
  if (value.is_array) return "an array of " + std::to_string(value.count);
  const std::byte* at = value.bytes.data();
  switch (value.type) {
    case GgufType::kString: {
      const std::string_view text = StringAt(at);
      std::string quote = RepairUtf8(text.substr(0, kLongestQuote));
      return "\"" + quote + (text.size() > kLongestQuote ? "...\"" : "\"");
    }
    case GgufType::kBool:
      return GetLittle<uint8_t>(at) != 0 ? "true" : "false";
    case GgufType::kF32:
      return NumberText(static_cast<double>(GetLittle<float>(at)));
    case GgufType::kF64:
      return NumberText(GetLittle<double>(at));
    case GgufType::kU64:
      return std::to_string(GetLittle<uint64_t>(at));
    default:
      return std::to_string(IntegerAt(value.type, at).value_or(0));
  }
}

std::string Between(const std::string& low, const std::string& high) { return low + " to " + high; }

}  // namespace

GgufValues::GgufValues(std::string file, std::shared_ptr<const std::vector<std::byte>> header,
                       std::vector<GgufValue> values)
    : file_(std::move(file)), header_(std::move(header)), values_(std::move(values)) {}

const GgufValue* GgufValues::Find(std::string_view key) const {
  const auto at = std::ranges::lower_bound(values_, key, {}, &GgufValue::key);
  return at == values_.end() || at->key != key ? nullptr : &*at;
}

std::string GgufValues::Quote(std::string_view key) const {
  const GgufValue* value = Find(key);
  return value == nullptr ? "missing" : TextOf(*value);
}

Status GgufValues::Wrong(std::string_view key, std::string_view expected) const {
  return Corrupt(file_ + ": " + std::string(key) + " is " + Quote(key) +
                 " (expected: " + std::string(expected) + ")");
}

Status GgufValues::Unsupported(std::string_view key, std::string_view supported) const {
  return prefixd::Unsupported(file_ + ": " + std::string(key) + " is " + Quote(key) +
                              " (supported: " + std::string(supported) + ")");
}

Result<std::optional<int64_t>> GgufValues::Integer(std::string_view key, int64_t low, int64_t high) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<int64_t>();
  const std::optional<int64_t> number =
      value->is_array ? std::nullopt : IntegerAt(value->type, value->bytes.data());
  if (!number || *number < low || *number > high)
    return Wrong(key, "an integer from " + Between(std::to_string(low), std::to_string(high)));
  return number;
}

Result<std::optional<double>> GgufValues::Number(std::string_view key, double low, double high) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  std::optional<double> number;
  if (!value->is_array && value->type == GgufType::kF32) number = GetLittle<float>(value->bytes.data());
  if (!value->is_array && value->type == GgufType::kF64) number = GetLittle<double>(value->bytes.data());
  // The comparison is false for NaN.
  if (!number || !(*number >= low && *number <= high))
    return Wrong(key, "a number from " + Between(NumberText(low), NumberText(high)));
  return number;
}

Result<std::optional<bool>> GgufValues::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  if (value->is_array || value->type != GgufType::kBool) return Wrong(key, "true or false");
  const uint8_t byte = GetLittle<uint8_t>(value->bytes.data());
  if (byte > 1) return Wrong(key, "true or false");
  return std::optional(byte == 1);
}

Result<std::optional<std::string_view>> GgufValues::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (value->is_array || value->type != GgufType::kString) return Wrong(key, "a string");
  return std::optional(StringAt(value->bytes.data()));
}

Result<std::vector<std::string_view>> GgufValues::Strings(std::string_view key) const {
  std::vector<std::string_view> strings;
  const GgufValue* value = Find(key);
  if (value == nullptr) return strings;
  if (!value->is_array || value->type != GgufType::kString) return Wrong(key, "an array of strings");
  strings.reserve(static_cast<size_t>(value->count));
  const std::byte* at = value->bytes.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    strings.push_back(StringAt(at));
    at += sizeof(uint64_t) + strings.back().size();
  }
  return strings;
}

Result<std::vector<float>> GgufValues::Floats(std::string_view key) const {
  std::vector<float> numbers;
  const GgufValue* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array || value->type != GgufType::kF32) return Wrong(key, "an array of 32-bit numbers");
  for (uint64_t i = 0; i < value->count; ++i)
    numbers.push_back(GetLittle<float>(value->bytes.data() + i * sizeof(float)));
  return numbers;
}

Result<std::vector<int32_t>> GgufValues::Integers(std::string_view key) const {
  std::vector<int32_t> numbers;
  const GgufValue* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array || (value->type != GgufType::kI32 && value->type != GgufType::kU32))
    return Wrong(key, "an array of 32-bit integers");
  for (uint64_t i = 0; i < value->count; ++i)
    numbers.push_back(GetLittle<int32_t>(value->bytes.data() + i * sizeof(int32_t)));
  return numbers;
}

}  // namespace prefixd
