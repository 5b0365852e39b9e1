#include "daemon/api/work.h"

#include <algorithm>
#include <new>
#include <utility>

#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

constexpr size_t kStep = 16 << 10;  // bytes that are reserved at once, so that small values share a step

// What malloc takes for an allocation: a header of 8 bytes, in steps of 16, at least 32.
size_t HeapBytes(size_t bytes) { return std::max<size_t>(32, (bytes + 8 + 15) / 16 * 16); }

// `Text` is a string or a MarkedText.
template <typename Text>
Parsed<std::vector<TokenId>> EncodeAny(const ApiContext& context, const Text& text,
                                       Tokenizer::EncodeOptions options, const std::string& param,
                                       Work& work) {
  const size_t needed = kEncodeBytes * text.size();
  if (!work.TryGrow(needed)) return NoRoomError(work.budget(), work.bytes() + needed);
  options.prefix_once = true;
  Result<std::vector<TokenId>> ids = context.tokenizer->Encode(text, options);
  const size_t kept = ids.ok() ? ids->capacity() * sizeof(TokenId) : 0;
  work.Shrink(needed - std::min(needed, kept));
  if (!ids.ok()) return BadParameter(param, ids.status().message(), "invalid_value");
  return *std::move(ids);
}

}  // namespace

void* WorkMemory::do_allocate(size_t bytes, size_t) {
  const size_t needed = HeapBytes(bytes);
  if (needed > free_) {
    const size_t step = std::max(kStep, needed);
    if (!work_->TryGrow(step)) {
      refused_ = work_->bytes() + step;
      throw std::bad_alloc();
    }
    free_ += step;
  }
  free_ -= needed;
  return ::operator new(bytes);
}

void WorkMemory::do_deallocate(void* at, size_t bytes, size_t) {
  ::operator delete(at);
  free_ += HeapBytes(bytes);
  if (free_ < 4 * kStep) return;
  work_->Shrink(free_ - kStep);
  free_ = kStep;
}

Parsed<std::vector<TokenId>> EncodeText(const ApiContext& context, const std::string& text,
                                        Tokenizer::EncodeOptions options, const std::string& param,
                                        Work& work) {
  return EncodeAny(context, text, options, param, work);
}

Parsed<std::vector<TokenId>> EncodeText(const ApiContext& context, const MarkedText& text,
                                        Tokenizer::EncodeOptions options, const std::string& param,
                                        Work& work) {
  return EncodeAny(context, text, options, param, work);
}

}  // namespace prefixd
