#include "kernels/cuda/product_choices.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include "base/fnv.h"
#include "base/log.h"

namespace prefixd::cuda {
namespace {

constexpr std::string_view kVersion = "prefixd products 1";
constexpr uintmax_t kMostBytes = 1 << 20;
constexpr std::string_view kPlain = "plain", kBias = "bias", kAdded = "added";

bool IsSame(const CheckedWay& way, const ProductShape& shape, int fewest_rows) {
  return way.shape.type == shape.type && way.shape.rows == shape.rows && way.shape.n == shape.n &&
         way.shape.k == shape.k && way.shape.has_bias == shape.has_bias &&
         way.shape.accumulate == shape.accumulate && way.fewest_rows == fewest_rows;
}

void Put(const CheckedWay& way, std::ostream& out) {
  const ProductShape& s = way.shape;
  out << std::dec << DTypeName(s.type) << ' ' << way.fewest_rows << ' ' << s.rows << ' ' << s.n << ' ' << s.k
      << ' '
      << (s.has_bias     ? kBias
          : s.accumulate ? kAdded
                         : kPlain)
      << std::hex;
  for (const uint64_t word : way.way.words) out << ' ' << word;
  out << '\n';
}

// Whoever calls this compares the text of what it found with the line.
std::optional<CheckedWay> WayOf(const std::string& line) {
  std::istringstream in(line);
  std::string type, form;
  CheckedWay way = {};
  in >> type >> way.fewest_rows >> way.shape.rows >> way.shape.n >> way.shape.k >> form >> std::hex;
  for (uint64_t& word : way.way.words) in >> word;
  if (in.fail()) return std::nullopt;
  way.shape.type = type == DTypeName(DType::kBF16) ? DType::kBF16 : DType::kF16;
  way.shape.has_bias = form == kBias;
  way.shape.accumulate = form == kAdded;
  return way;
}

}  // namespace

ProductChoices::ProductChoices(std::string path, const DeviceFacts& facts, const ProductLibrary& library)
    : path_(std::move(path)), owner_(facts.name + "; " + facts.versions + "; " + library.name()) {
  if (path_.empty()) return;
  const Status read = Read();
  if (read.ok()) return;
  ways_.clear();
  Log(LogLevel::kWarning, "the file of choices of cuBLASLt is ignored, and replaced",
      {{"path", path_}, {"reason", read.message()}});
}

Status ProductChoices::Read() {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path_, error);
  if (error == std::errc::no_such_file_or_directory) return Status::Ok();
  if (error) return IoError(error.message());
  if (bytes > kMostBytes) return InvalidArgument("it is too large");
  std::ifstream in(path_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in.good() && !in.eof()) return IoError("it cannot be read");
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  if (line != kVersion) return InvalidArgument("it is no such file of this version");
  std::getline(lines, line);
  if (line != owner_) return InvalidArgument("it is of another device or library: " + line.substr(0, 200));
  while (std::getline(lines, line)) {
    const std::optional<CheckedWay> way = WayOf(line);
    if (way && ways_.size() < kMost) ways_.push_back(*way);
  }
  return Text() == text ? Status::Ok() : InvalidArgument("it is damaged");
}

std::string ProductChoices::Text() const {
  std::ostringstream out;
  out << kVersion << '\n' << owner_ << '\n';
  for (const CheckedWay& way : ways_) Put(way, out);
  const uint64_t sum = FnvAdd(kFnvEmpty, out.view());
  out << "sum " << std::hex << sum << '\n';
  return std::move(out).str();
}

const ProductWay* ProductChoices::Find(const ProductShape& shape, int fewest_rows) const {
  const auto found =
      std::ranges::find_if(ways_, [&](const CheckedWay& way) { return IsSame(way, shape, fewest_rows); });
  return found == ways_.end() ? nullptr : &found->way;
}

void ProductChoices::Keep(const CheckedWay& way) {
  if (path_.empty()) return;
  const ProductWay* const known = Find(way.shape, way.fewest_rows);
  if (known != nullptr && std::ranges::equal(known->words, way.way.words)) return;
  std::erase_if(ways_, [&](const CheckedWay& other) { return IsSame(other, way.shape, way.fewest_rows); });
  if (ways_.size() == kMost) ways_.erase(ways_.begin());
  ways_.push_back(way);
  changed_ = true;
}

void ProductChoices::Write() {
  if (!changed_) return;
  changed_ = false;
  if (const Status written = WriteFile(); !written.ok()) {
    Log(LogLevel::kWarning, "the choices of cuBLASLt are not kept",
        {{"path", path_}, {"reason", written.message()}});
  }
}

// Nobody sees half of it.
Status ProductChoices::WriteFile() const {
  const std::string partial = path_ + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out << Text() << std::flush;
  if (!out) return IoError(partial + " cannot be written");
  out.close();
  std::error_code error;
  std::filesystem::rename(partial, path_, error);
  return error ? IoError(error.message()) : Status::Ok();
}

}  // namespace prefixd::cuda
