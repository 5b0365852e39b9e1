#include "text/tokenizer/normal_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

using CodePoint = utf8proc_int32_t;

struct Range {
  CodePoint first, last;
};

// Code points that decompose, compose or have a combining class in utf8proc but not in the tokenizers
// library. Sorted.
constexpr Range kInert[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
    {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

// Lower case of letters that utf8proc does not know: `first` to `last` map to `lower` and the code points
// after it.
struct LowerRange {
  CodePoint first, last, lower;
};
constexpr LowerRange kNewerLower[] = {
    {0x1c89, 0x1c89, 0x1c8a},    {0xa7cb, 0xa7cb, 0x264},  {0xa7cc, 0xa7cc, 0xa7cd},
    {0xa7ce, 0xa7ce, 0xa7cf},    {0xa7d2, 0xa7d2, 0xa7d3}, {0xa7d4, 0xa7d4, 0xa7d5},
    {0xa7da, 0xa7da, 0xa7db},    {0xa7dc, 0xa7dc, 0x19b},  {0x10d50, 0x10d65, 0x10d70},
    {0x16ea0, 0x16eb8, 0x16ebb},
};

bool IsInert(CodePoint c) {
  const auto* range = std::lower_bound(std::begin(kInert), std::end(kInert), c,
                                       [](const Range& r, CodePoint point) { return r.last < point; });
  return range != std::end(kInert) && c >= range->first;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
}

bool Composes(NormalForm form) { return form == NormalForm::kNfc || form == NormalForm::kNfkc; }

// Appends the normal form of decomposed code points, none of them inert, and clears them.
void Finish(NormalForm form, std::vector<CodePoint>* points, std::string* out) {
  // A stable sort of every run of marks gives the canonical order. The loop of utf8proc takes quadratic time
  // on long runs.
  const auto combining = [](CodePoint c) { return utf8proc_get_property(c)->combining_class; };
  for (auto run = points->begin(); run != points->end();) {
    run = std::find_if(run, points->end(), [&](auto c) { return combining(c) != 0; });
    const auto end = std::find_if(run, points->end(), [&](auto c) { return combining(c) == 0; });
    std::stable_sort(run, end, [&](auto a, auto b) { return combining(a) < combining(b); });
    run = end;
  }
  auto count = static_cast<utf8proc_ssize_t>(points->size());
  if (Composes(form)) {
    count = utf8proc_normalize_utf32(points->data(), count,
                                     static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    PREFIXD_CHECK(count >= 0) << "normalisation failed: " << utf8proc_errmsg(count);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    AppendUtf8(out, static_cast<char32_t>((*points)[static_cast<size_t>(i)]));
  points->clear();
}

}  // namespace

std::string Normalize(NormalForm form, std::string_view text) {
  if (IsAscii(text)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::string out;
  out.reserve(text.size());
  std::vector<CodePoint> points;
  for (size_t at = 0; at < text.size(); at += Utf8Length(text[at])) {
    const auto point = static_cast<CodePoint>(Utf8At(&text[at]));
    if (IsInert(point)) {
      Finish(form, &points, &out);
      AppendUtf8(&out, static_cast<char32_t>(point));
      continue;
    }
    CodePoint parts[32];  // the longest decomposition has 18
    int last_boundary = 0;
    const auto count = utf8proc_decompose_char(point, parts, 32, options, &last_boundary);
    PREFIXD_CHECK(count > 0 && count <= 32) << "decomposition of " << count << " code points";
    points.insert(points.end(), parts, parts + count);
  }
  Finish(form, &points, &out);
  return out;
}

std::string LowerCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += Utf8Length(text[at])) {
    const auto point = static_cast<CodePoint>(Utf8At(&text[at]));
    if (point == 0x130) {  // the one letter that becomes two code points
      out += "i\xCC\x87";
      continue;
    }
    CodePoint lower = utf8proc_tolower(point);
    for (const LowerRange& range : kNewerLower) {
      if (point >= range.first && point <= range.last) lower = range.lower + (point - range.first);
    }
    AppendUtf8(&out, static_cast<char32_t>(lower));
  }
  return out;
}

}  // namespace prefixd
