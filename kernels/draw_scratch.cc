#include <new>
#include <string>

#include "base/check.h"
#include "kernels/draw_parts.h"
#include "kernels/sampling.h"

namespace prefixd {

using namespace sampling;

size_t DrawScratch::Bytes(int vocab) {
  PREFIXD_CHECK(vocab > 0) << vocab;
  const size_t tokens = static_cast<size_t>(vocab);
  const size_t candidates = MostKept(tokens) + MostEquals(tokens) + 2 * kSampleBlock;
  return (tokens + 2 * BlocksOf(tokens)) * sizeof(float) + candidates * sizeof(Candidate);
}

Status DrawScratch::Reserve(int vocab) {
  const size_t bytes = Bytes(vocab), tokens = static_cast<size_t>(vocab);
  if (tokens <= vocab_) return Status::Ok();
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[bytes]);
  if (memory == nullptr)
    return ResourceExhausted("no memory for " + std::to_string(bytes) + " bytes to draw tokens");
  memory_ = std::move(memory);
  vocab_ = tokens;
  changed_ = reinterpret_cast<float*>(memory_.get());
  largest_ = changed_ + tokens;
  sorted_ = largest_ + BlocksOf(tokens);
  kept_ = reinterpret_cast<Candidate*>(sorted_ + BlocksOf(tokens));
  equals_ = kept_ + MostKept(tokens) + kSampleBlock;
  return Status::Ok();
}

}  // namespace prefixd
