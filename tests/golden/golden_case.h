// What expected.json of a golden checkpoint says: token ids and logits that another implementation gave for
// it. Checkpoints lie in golden/ of the shared data, and in tests/golden/variants, which make_variants.py
// made.
#pragma once

#include <boost/json/array.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "base/types.h"

namespace prefixd::testing_support {

struct GoldenPrompt {
  std::string name;  // "prompts[1]", "text", "chat"
  std::vector<TokenId> ids;
  std::vector<TokenId> greedy;
};

struct GoldenLogits {
  int prompt, position;  // of prompts
  std::vector<float> row;
};

struct GoldenCase {
  std::string name;  // of its folder
  std::filesystem::path folder;
  std::vector<GoldenPrompt> prompts;  // prompts[0..2]; of shared data text and chat too
  std::vector<GoldenLogits> logits;
  float max_abs = 0;                 // of all expected logits
  std::string text_prompt;           // becomes the ids of `text`
  boost::json::array chat_messages;  // become chat_rendered, and that the ids of `chat`
  std::string chat_rendered;
};

GoldenCase ReadGoldenCase(const std::filesystem::path& folder);

// The variants and, where shared data is at hand, its checkpoints.
std::vector<GoldenCase> AllGoldenCases();

// Folders below `golden` that hold a checkpoint, sorted.
std::vector<std::filesystem::path> GoldenFolders(const std::filesystem::path& golden);

}  // namespace prefixd::testing_support
