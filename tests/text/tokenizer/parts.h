// A small tokenizer.json. A test may set any part of it.
#pragma once

#include <string>

namespace prefixd::testing_support {

struct TokenizerParts {
  std::string vocab = R"({"a":0,"b":1,"c":2,"ab":3,"abc":4,"bc":5," ":6,"x":7})";
  std::string merges = "[]";
  std::string model_options;  // each followed by a comma, as in R"("fuse_unk":true,)"
  std::string added_tokens = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string decoder = R"({"type":"Fuse"})";

  std::string Json() const {
    return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)" + added_tokens +
           R"(,"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer +
           R"(,"post_processor":)" + post_processor + R"(,"decoder":)" + decoder +
           R"(,"model":{"type":"BPE",)" + model_options + R"("vocab":)" + vocab + R"(,"merges":)" + merges +
           "}}";
  }
};

// One entry of added_tokens; `flags` are the names of those that are true.
inline std::string AddedToken(int id, const std::string& content, const std::string& flags = "") {
  std::string out = R"({"id":)" + std::to_string(id) + R"(,"content":")" + content + '"';
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
    const bool on = (" " + flags + " ").find(" " + std::string(flag) + " ") != std::string::npos;
    out += std::string(",\"") + flag + "\":" + (on ? "true" : "false");
  }
  return out + "}";
}

}  // namespace prefixd::testing_support
