// The tokenizers of the reference data, each with a chat template that writes contents as they are, and what
// their ids decode to.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/check.h"
#include "tests/support/shared_data.h"
#include "text/chat_template.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::testing_support {

struct Family {
  const char *folder, *chat, *end;
  bool marked;  // a control token follows each answer
};
inline const Family kFamilies[] = {
    {"qwen2", "", "<|im_end|>", true},  // with its own template
    {"llama3",
     "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
     "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
     "<|eot_id|>", true},
    {"spm",
     "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
     "{% elif m.role == 'assistant' %}{{ m.content }}</s>{% else %}<s>{{ m.content }}</s>{% endif %}"
     "{% endfor %}",
     "</s>", true},
    {"spm",
     "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
     "{% if add_generation_prompt %}assistant:{% endif %}",
     "</s>", false},
};

inline std::unique_ptr<Tokenizer> TokenizerOf(const Family& family) {
  const auto file = SharedDir() / "golden/tokenizers" / family.folder / "tokenizer.json";
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(ReadFileOrDie(file));
  PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
  return *std::move(tokenizer);
}

inline std::unique_ptr<ChatTemplate> ChatOf(const Family& family) {
  const auto own = SharedDir() / "golden/tokenizers" / family.folder / "chat_template.jinja";
  const std::string chat = *family.chat != 0 ? family.chat : ReadFileOrDie(own);
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(chat, {});
  PREFIXD_CHECK(parsed.ok()) << parsed.status().ToString();
  return *std::move(parsed);
}

// What Decode of prompt and ids adds to Decode of the prompt.
inline std::string DecodeAfter(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                               std::span<const TokenId> ids) {
  Detokenizer stream(tokenizer, /*skip_special_tokens=*/false, PromptTail(tokenizer, prompt));
  std::string text;
  for (const TokenId id : ids) text += stream.Push(id);
  return text += stream.Flush();
}

}  // namespace prefixd::testing_support
