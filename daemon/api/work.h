// The memory of a request while it is worked on: its parsed body, its texts and its token ids. All of it is
// reserved from the byte budget before it is allocated, so that no body can take a multiple of its size
// beyond the limit.
//
// Threads: one at a time, that of the handler.
//
// Invariants
//   1. JSON values are reserved as they are allocated, with what the allocator adds.
//   2. The values are reserved twice, because handlers copy the parts that they use.
//   3. Encoding a text is reserved with kEncodeBytes per byte, and rendering a conversation with kRenderBytes
//      per reserved byte of the body. Both are more than the largest that was measured on hostile texts.
#pragma once

#include <boost/json/memory_resource.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "daemon/http/byte_budget.h"

namespace prefixd {

using Work = ByteBudget::Reservation;  // of the use kWork

// Largest measured: 31, on a text of blanks with the SentencePiece tokenizer of Llama 2; words take 8 to 17.
inline constexpr size_t kEncodeBytes = 32;
// The largest measured is 8.9 per byte of the values, which are reserved twice: a text of one message with
// the template of Qwen2.5. Conversations of many short messages take 6.6.
inline constexpr size_t kRenderBytes = 5;

// What the record of a prompt takes per byte of its text until it is in the account of the inference: two
// traces of its code points, which grow by doubling, one of its ids, and its contents.
inline constexpr size_t kRecordBytes = 14;

// Allocates JSON values and reserves their bytes from `work`. An allocation that finds no room throws
// std::bad_alloc, which ParseJsonObject turns into an error. `work` outlives it, and it outlives the values.
class WorkMemory final : public boost::json::memory_resource {
 public:
  explicit WorkMemory(Work* work) : work_(work) {}
  WorkMemory(const WorkMemory&) = delete;
  WorkMemory& operator=(const WorkMemory&) = delete;
  // An allocation found no room; `refused` is what it and the values before it need.
  size_t refused() const { return refused_; }

 private:
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void* at, size_t bytes, size_t alignment) override;
  bool do_is_equal(const boost::json::memory_resource& other) const noexcept override {
    return this == &other;
  }

  Work* const work_;
  size_t free_ = 0;  // reserved and not allocated
  size_t refused_ = 0;
};

// Encodes a text that a client wrote, or a rendered conversation. `param` names it in errors. A BOS at the
// start of the text is not doubled. The ids stay reserved in `work`.
Parsed<std::vector<TokenId>> EncodeText(const ApiContext& context, const std::string& text,
                                        Tokenizer::EncodeOptions options, const std::string& param,
                                        Work& work);
Parsed<std::vector<TokenId>> EncodeText(const ApiContext& context, const MarkedText& text,
                                        Tokenizer::EncodeOptions options, const std::string& param,
                                        Work& work);

}  // namespace prefixd
