// Golden checkpoints: model folders with an expected.json, which holds token ids and logits computed by
// another implementation. They are in golden/ of the shared data and in tests/golden/variants (written by
// make_variants.py). Values and pure functions; any thread.
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
  int prompt;    // index into GoldenCase::prompts
  int position;  // in that prompt
  std::vector<float> row;
};

struct GoldenCase {
  std::string name;  // name of the folder
  std::filesystem::path folder;
  std::vector<GoldenPrompt> prompts;  // prompts[0..2]; then, in shared data, text and chat
  std::vector<GoldenLogits> logits;
  float max_abs = 0;                 // largest magnitude of the expected logits
  std::string text_prompt;           // its ids are those of the prompt `text`
  boost::json::array chat_messages;  // rendered as chat_rendered
  std::string chat_rendered;         // its ids are those of the prompt `chat`
};

// Reads a folder. Stops the process if a file is missing or malformed.
GoldenCase ReadGoldenCase(const std::filesystem::path& folder);

// Returns the variants and, where the shared data exists, its checkpoints.
std::vector<GoldenCase> AllGoldenCases();

// Returns the folders below `golden` that hold a checkpoint, sorted.
std::vector<std::filesystem::path> GoldenFolders(const std::filesystem::path& golden);

}  // namespace prefixd::testing_support
