// The only file that includes PCRE2.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer/pretokenizer_regex.h"

#include <pcre2.h>

#include <algorithm>

#include "base/check.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

struct Free {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

constexpr uint32_t kOptions =
    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
// The most steps of one match: more than common patterns need for a long run (a few steps per byte).
constexpr size_t kMatchLimit = 1'000'000, kMatchLimitPerByte = 16;
constexpr size_t kJitStack = 1 << 20;

// The match state of a thread. It is reused, because matches are many and short.
struct Matcher {
  Owned<pcre2_match_data> data{pcre2_match_data_create(1, nullptr)};
  Owned<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
  Owned<pcre2_jit_stack> stack{pcre2_jit_stack_create(32 << 10, kJitStack, nullptr)};

  Matcher() {
    PREFIXD_CHECK(data && context && stack) << "out of memory";
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Code {
  Owned<pcre2_code> code;
  std::string pattern;    // as it was given
  bool compiled = false;  // to machine code
};

Result<Regex> Regex::Create(std::string_view pattern) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string translated, Translate(pattern));
  Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->pattern = pattern;
  code->code.reset(
      pcre2_compile(Units(translated), translated.size(), kOptions, &error, &offset, context.get()));
  if (code->code == nullptr) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof message);
    return Corrupt("regex \"" + std::string(pattern) + "\": " + reinterpret_cast<const char*>(message));
  }
  // Without JIT, which a machine may not have, matching is slower with the same result.
  code->compiled = pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE) == 0;
  uint32_t matches_empty = 0;
  PREFIXD_CHECK(pcre2_pattern_info(code->code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty) == 0);
  return Regex(std::move(code), matches_empty != 0);
}

Status Regex::ForEachMatch(std::string_view text,
                           const std::function<void(const TextRange&)>& on_match) const {
  thread_local const Matcher matcher;
  const size_t limit = kMatchLimit + kMatchLimitPerByte * std::min<size_t>(text.size(), 1 << 27);
  pcre2_set_match_limit(matcher.context.get(), static_cast<uint32_t>(limit));
  const auto interpret = [&](size_t at) {
    return pcre2_match(code_->code.get(), Units(text), text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       matcher.data.get(), matcher.context.get());
  };
  const auto match = [&](size_t at) {  // the fast path, because most pieces are a few bytes long
    return pcre2_jit_match(code_->code.get(), Units(text), text.size(), at, 0, matcher.data.get(),
                           matcher.context.get());
  };
  size_t end_before = std::string_view::npos;
  for (size_t at = 0; at <= text.size();) {
    int found = code_->compiled ? match(at) : interpret(at);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = interpret(at);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      PCRE2_UCHAR message[160];
      pcre2_get_error_message(found, message, sizeof message);
      return InvalidArgument("regex \"" + code_->pattern + "\" needs too many steps for a text of " +
                             std::to_string(text.size()) +
                             " bytes: " + reinterpret_cast<const char*>(message));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(matcher.data.get());
    if (range[0] == range[1] && range[0] == end_before) {
      at += at < text.size() ? Utf8Length(text[at]) : 1;
      continue;
    }
    at = end_before = range[1];
    on_match({range[0], range[1]});
  }
  return Status::Ok();
}

}  // namespace prefixd
