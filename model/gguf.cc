#include "model/gguf.h"

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldest = 2, kNewest = 3;
constexpr size_t kMostDimensions = 4;
constexpr uint64_t kLongestName = 1024;  // of a tensor or a key
constexpr uint64_t kLargestHeader = 256 << 20;
constexpr uint64_t kDefaultAlignment = 32, kLargestAlignment = 1 << 20;
constexpr std::string_view kAlignmentKey = "general.alignment";
// The fewest bytes that one takes in the file.
constexpr uint64_t kLeastOfString = 8, kLeastOfValue = 8 + 4 + 1, kLeastOfTensor = 8 + 4 + 4 + 8;

// Bytes of one value, by type; 0: it has a length of its own.
constexpr std::array<uint64_t, 13> kWidths = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// The type numbers of GGUF. `bytes` are those of a block of `block` elements.
struct TypeRow {
  uint32_t number;
  std::string_view name;
  std::optional<StoredType> type;
  uint64_t block, bytes;
};
constexpr uint64_t kLarge = 256;
constexpr TypeRow kTypes[] = {
    {0, "F32", StoredType::kF32, 1, 4},
    {1, "F16", StoredType::kF16, 1, 2},
    {2, "Q4_0", StoredType::kQ4_0, 32, 18},
    {3, "Q4_1", StoredType::kQ4_1, 32, 20},
    {6, "Q5_0", StoredType::kQ5_0, 32, 22},
    {7, "Q5_1", StoredType::kQ5_1, 32, 24},
    {8, "Q8_0", StoredType::kQ8_0, 32, 34},
    {9, "Q8_1", {}, 32, 40},
    {10, "Q2_K", StoredType::kQ2_K, kLarge, 84},
    {11, "Q3_K", StoredType::kQ3_K, kLarge, 110},
    {12, "Q4_K", StoredType::kQ4_K, kLarge, 144},
    {13, "Q5_K", StoredType::kQ5_K, kLarge, 176},
    {14, "Q6_K", StoredType::kQ6_K, kLarge, 210},
    {15, "Q8_K", {}, kLarge, 292},
    {16, "IQ2_XXS", {}, kLarge, 66},
    {17, "IQ2_XS", {}, kLarge, 74},
    {18, "IQ3_XXS", {}, kLarge, 98},
    {19, "IQ1_S", {}, kLarge, 50},
    {20, "IQ4_NL", StoredType::kIQ4_NL, 32, 18},
    {21, "IQ3_S", {}, kLarge, 110},
    {22, "IQ2_S", {}, kLarge, 82},
    {23, "IQ4_XS", StoredType::kIQ4_XS, kLarge, 136},
    {24, "I8", {}, 1, 1},
    {25, "I16", {}, 1, 2},
    {26, "I32", {}, 1, 4},
    {27, "I64", {}, 1, 8},
    {28, "F64", {}, 1, 8},
    {29, "IQ1_M", {}, kLarge, 56},
    {30, "BF16", StoredType::kBF16, 1, 2},
    {34, "TQ1_0", {}, kLarge, 54},
    {35, "TQ2_0", {}, kLarge, 66},
    {39, "MXFP4", StoredType::kMXFP4, 32, 17},
};

const TypeRow* FindType(uint32_t number) {
  const auto* row = std::ranges::find(kTypes, number, &TypeRow::number);
  return row == std::end(kTypes) ? nullptr : row;
}

// Reads the header from the front. It ends at kLargestHeader, which bounds what is kept of it, however large
// the file is.
class Reader {
 public:
  Reader(std::string_view file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  size_t at() const { return at_; }
  uint64_t rest() const { return bytes_.size() - at_; }
  Status Damage(const std::string& what) const { return Corrupt(file_ + ": " + what); }
  // Whether the header has room for `size` more bytes, which the file has.
  Status CheckRoom(uint64_t size, std::string_view what) const {
    if (at_ + size <= kLargestHeader) return Status::Ok();
    return Damage("with " + std::string(what) + " the header takes at least " + std::to_string(at_ + size) +
                  " bytes (limit " + FormatSize(kLargestHeader) + "); download the file again");
  }

  Result<std::span<const std::byte>> Take(uint64_t size, std::string_view what) {
    if (size > rest()) {
      return Corrupt(file_ + " is cut short: at byte " + std::to_string(at_) + ", " + std::string(what) +
                     " takes " + std::to_string(size) + " bytes, and the file has " + std::to_string(rest()) +
                     " more; download it again");
    }
    PREFIXD_RETURN_IF_ERROR(CheckRoom(size, what));
    const std::span<const std::byte> taken = bytes_.subspan(at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return taken;
  }
  template <typename T>
  Result<T> Number(std::string_view what) {
    PREFIXD_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, Take(sizeof(T), what));
    return GetLittle<T>(bytes.data());
  }
  Result<std::string_view> String(std::string_view what, uint64_t limit = UINT64_MAX) {
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(what));
    if (length > limit && length <= rest())
      return Damage(std::string(what) + " has " + std::to_string(length) + " bytes (limit " +
                    std::to_string(limit) + "); download the file again");
    PREFIXD_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, Take(length, what));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!IsValidUtf8(text)) return Damage(std::string(what) + " is not valid UTF-8; download the file again");
    return text;
  }
  // A count of things that follow and take at least `least` bytes each.
  Result<uint64_t> Count(std::string_view what, uint64_t least) {
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t count, Number<uint64_t>("the number of " + std::string(what)));
    PREFIXD_RETURN_IF_ERROR(CheckCount(count, what, least));
    return count;
  }
  Status CheckCount(uint64_t count, std::string_view what, uint64_t least) const {
    if (count <= rest() / least) return CheckRoom(count * least, what);
    return Corrupt(file_ + " is cut short or damaged: it should have " + std::to_string(count) + " " +
                   std::string(what) + ", and has " + std::to_string(rest()) +
                   " bytes for them; download it again");
  }

 private:
  const std::string file_;
  const std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

Result<GgufType> ReadType(Reader& in, const std::string& what) {
  PREFIXD_ASSIGN_OR_RETURN(const uint32_t type, in.Number<uint32_t>("the type of " + what));
  if (type >= kWidths.size())
    return in.Damage(what + " has the type " + std::to_string(type) + ", which GGUF does not have");
  return static_cast<GgufType>(type);
}

uint64_t WidthOf(GgufType type) { return kWidths[static_cast<size_t>(type)]; }

Result<GgufValue> ReadValue(Reader& in, std::span<const std::byte> file) {
  GgufValue value;
  PREFIXD_ASSIGN_OR_RETURN(value.key, in.String("a key", kLongestName));
  const std::string what = "value '" + std::string(value.key) + "'";
  PREFIXD_ASSIGN_OR_RETURN(value.type, ReadType(in, what));
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    PREFIXD_ASSIGN_OR_RETURN(value.type, ReadType(in, "the elements of " + what));
    if (value.type == GgufType::kArray)
      return Unsupported(in.Damage(what + " is an array of arrays, which is not supported").message());
    const uint64_t least = value.type == GgufType::kString ? kLeastOfString : WidthOf(value.type);
    PREFIXD_ASSIGN_OR_RETURN(value.count, in.Count("elements of " + what, least));
  }
  if (value.type != GgufType::kString) {
    PREFIXD_ASSIGN_OR_RETURN(value.bytes, in.Take(value.count * WidthOf(value.type), what));
    return value;
  }
  const size_t begin = in.at();
  for (uint64_t i = 0; i < value.count; ++i) PREFIXD_RETURN_IF_ERROR(in.String(what).status());
  value.bytes = file.subspan(begin, in.at() - begin);
  return value;
}

// A tensor as the header describes it; its bytes are found when the data begins.
struct Described {
  GgufTensor tensor;
  uint64_t offset = 0, bytes = 0;
};

Result<Described> ReadTensor(Reader& in, std::string_view file) {
  Described described;
  GgufTensor& tensor = described.tensor;
  PREFIXD_ASSIGN_OR_RETURN(tensor.name, in.String("the name of a tensor", kLongestName));
  if (tensor.name.empty()) return in.Damage("a tensor has an empty name; download the file again");
  const std::string what = "tensor '" + std::string(tensor.name) + "'";
  PREFIXD_ASSIGN_OR_RETURN(const uint32_t dimensions, in.Number<uint32_t>("the dimensions of " + what));
  if (dimensions > kMostDimensions)
    return in.Damage(what + " has " + std::to_string(dimensions) + " dimensions (limit " +
                     std::to_string(kMostDimensions) + ")");
  uint64_t elements = 1;
  bool overflow = false;
  for (uint32_t i = 0; i < dimensions; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t size, in.Number<uint64_t>("the sizes of " + what));
    overflow |= size > INT64_MAX || __builtin_mul_overflow(elements, size, &elements);
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  PREFIXD_ASSIGN_OR_RETURN(tensor.type_number, in.Number<uint32_t>("the type of " + what));
  PREFIXD_ASSIGN_OR_RETURN(described.offset, in.Number<uint64_t>("the offset of " + what));
  const TypeRow* row = FindType(tensor.type_number);
  if (row == nullptr)
    return Unsupported(std::string(file) + ": " + what + " has " + GgufTypeName(tensor.type_number) +
                       ", which prefixd does not know; choose a file of the model in another type, such as "
                       "Q8_0");
  tensor.type = row->type;
  const uint64_t width = dimensions == 0 ? 1 : static_cast<uint64_t>(tensor.shape.back());
  if (overflow || __builtin_mul_overflow(elements / row->block, row->bytes, &described.bytes))
    return in.Damage(what + " has sizes whose product is too large; download the file again");
  if (width % row->block != 0)
    return in.Damage(what + " has rows of " + std::to_string(width) + " elements, but blocks of " +
                     std::string(row->name) + " have " + std::to_string(row->block));
  return described;
}

Result<uint64_t> AlignmentOf(const GgufValues& values) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> alignment,
                           values.Integer(kAlignmentKey, 1, kLargestAlignment));
  const auto number = static_cast<uint64_t>(alignment.value_or(kDefaultAlignment));
  if ((number & (number - 1)) != 0) return values.Wrong(kAlignmentKey, "a power of two");
  return number;
}

// Refuses a key or a name that occurs twice.
template <typename Range, typename Name>
Status CheckUnique(const Reader& in, std::string_view what, const Range& range, const Name& name) {
  std::unordered_set<std::string_view> seen;
  for (const auto& one : range) {
    if (!seen.insert(name(one)).second)
      return in.Damage(std::string(what) + " '" + std::string(name(one)) + "' occurs twice");
  }
  return Status::Ok();
}

// Finds the bytes of the tensors in `data`, which begins after the header.
Status PlaceTensors(const Reader& in, std::span<const std::byte> data, uint64_t alignment,
                    std::vector<Described>* described) {
  std::ranges::sort(*described, [](const Described& a, const Described& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  uint64_t end = 0;  // of the tensor before
  for (Described& one : *described) {
    const std::string what = "tensor '" + std::string(one.tensor.name) + "'";
    if (one.offset % alignment != 0)
      return in.Damage(what + " begins at byte " + std::to_string(one.offset) +
                       " of the data (expected: a multiple of " + std::to_string(alignment) + ")");
    if (one.offset < end)
      return in.Damage(what + " begins at byte " + std::to_string(one.offset) +
                       " of the data, before the end of another tensor at " + std::to_string(end));
    if (one.bytes > data.size() || one.offset > data.size() - one.bytes)
      return in.Damage("the file is cut short: " + what + " takes " + std::to_string(one.bytes) +
                       " bytes from byte " + std::to_string(one.offset) + " of the data on, and there are " +
                       std::to_string(data.size()) + "; download it again");
    end = one.offset + one.bytes;
    one.tensor.bytes = data.subspan(static_cast<size_t>(one.offset), static_cast<size_t>(one.bytes));
  }
  return Status::Ok();
}

// What a file that does not begin with "GGUF" may be.
Status OtherFile(std::string_view file, std::span<const std::byte> bytes) {
  struct Row {
    std::string_view begin, kind, remedy;
  };
  static constexpr std::string_view kNewer = "download the GGUF file of this model",
                                    kFolder = "give the whole Hugging Face folder, or download a GGUF file";
  static constexpr Row kRows[] = {
      {"lmgg", "a ggml file, from before GGUF", kNewer},
      {"fmgg", "a ggmf file, from before GGUF", kNewer},
      {"tjgg", "a ggjt file, from before GGUF", kNewer},
      {"<!DOCTYPE", "a web page", "its address needs a login, or is that of a page about the file"},
      {"<html", "a web page", "its address needs a login, or is that of a page about the file"},
      {"PK", "a zip archive, as PyTorch writes it", kFolder},
      {"{", "a JSON file", kFolder}};
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Row& row : kRows) {
    if (text.starts_with(row.begin))
      return Corrupt(std::string(file) + " is not a GGUF file but " + std::string(row.kind) + "; " +
                     std::string(row.remedy));
  }
  return Corrupt(std::string(file) +
                 " is not a GGUF file: it does not begin with \"GGUF\"; download it again");
}

// Reads what stands before the values. Returns the number of tensors.
Result<uint64_t> ReadStart(Reader& in, std::string_view file, std::span<const std::byte> bytes,
                           uint32_t* version) {
  if (!IsGguf(bytes)) return OtherFile(file, bytes);
  PREFIXD_RETURN_IF_ERROR(in.Take(kMagic.size(), "the magic").status());
  PREFIXD_ASSIGN_OR_RETURN(*version, in.Number<uint32_t>("the version"));
  if (const uint32_t swapped = __builtin_bswap32(*version); swapped >= 1 && swapped <= kNewest)
    return Unsupported(std::string(file) + " is a GGUF file for big-endian machines; use the usual one");
  if (*version < kOldest || *version > kNewest)
    return Unsupported(std::string(file) + " has version " + std::to_string(*version) +
                       " of GGUF (supported: 2, 3); use a newer file of this model");
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t tensors, in.Number<uint64_t>("the number of tensors"));
  return tensors;
}

// Reads the header. Returns its length. Adds what it finds to `values` and `tensors`, unless they are null.
Result<size_t> ReadHeader(std::string_view file, std::span<const std::byte> bytes, uint32_t* version,
                          std::vector<GgufValue>* values, std::vector<Described>* tensors) {
  Reader in(file, bytes);
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t tensor_count, ReadStart(in, file, bytes, version));
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t value_count, in.Count("values", kLeastOfValue));
  if (values != nullptr) values->reserve(static_cast<size_t>(value_count));
  for (uint64_t i = 0; i < value_count; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const GgufValue value, ReadValue(in, bytes));
    if (values != nullptr) values->push_back(value);
  }
  PREFIXD_RETURN_IF_ERROR(in.CheckCount(tensor_count, "tensors", kLeastOfTensor));
  if (tensors != nullptr) tensors->reserve(static_cast<size_t>(tensor_count));
  for (uint64_t i = 0; i < tensor_count; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(Described one, ReadTensor(in, file));
    if (tensors != nullptr) tensors->push_back(std::move(one));
  }
  return in.at();
}

}  // namespace

std::string GgufTypeName(uint32_t type_number) {
  const TypeRow* row = FindType(type_number);
  return row == nullptr ? "type " + std::to_string(type_number) : std::string(row->name);
}

uint32_t GgufTypeNumber(StoredType type) {
  return std::ranges::find(kTypes, std::optional(type), &TypeRow::type)->number;
}

bool IsGguf(std::span<const std::byte> bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(kMagic);
}

Result<GgufFile> ParseGguf(std::string_view file, std::span<const std::byte> bytes) {
  GgufFile parsed;
  std::vector<GgufValue> values;
  std::vector<Described> described;
  // Another process may write to the file meanwhile, so the header is measured first, and what is checked and
  // kept is a copy of it.
  PREFIXD_ASSIGN_OR_RETURN(const size_t length, ReadHeader(file, bytes, &parsed.version, nullptr, nullptr));
  const auto header = std::make_shared<const std::vector<std::byte>>(
      bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length));
  const Result<size_t> again = ReadHeader(file, *header, &parsed.version, &values, &described);
  if (!again.ok() || *again != length)
    return Corrupt(std::string(file) + " has changed while it was read; start again when it is complete");
  const Reader in(file, *header);
  PREFIXD_RETURN_IF_ERROR(CheckUnique(in, "key", values, [](const GgufValue& value) { return value.key; }));
  std::ranges::sort(values, {}, &GgufValue::key);
  parsed.values = GgufValues(std::string(file), header, std::move(values));
  PREFIXD_RETURN_IF_ERROR(
      CheckUnique(in, "tensor", described, [](const Described& one) { return one.tensor.name; }));
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t alignment, AlignmentOf(parsed.values));
  const uint64_t begin = (length + alignment - 1) / alignment * alignment;
  const std::span<const std::byte> data =
      begin < bytes.size() ? bytes.subspan(static_cast<size_t>(begin)) : bytes.last(0);
  PREFIXD_RETURN_IF_ERROR(PlaceTensors(in, data, alignment, &described));
  for (Described& one : described) parsed.tensors.push_back(std::move(one.tensor));
  return parsed;
}

}  // namespace prefixd
