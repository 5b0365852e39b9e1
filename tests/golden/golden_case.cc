#include "tests/golden/golden_case.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_to.hpp>
#include <cstring>

#include "base/check.h"
#include "tests/support/shared_data.h"

namespace prefixd::testing_support {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

GoldenPrompt ReadPrompt(std::string name, const bj::value& value) {
  return {std::move(name), bj::value_to<std::vector<TokenId>>(value.at("ids")),
          bj::value_to<std::vector<TokenId>>(value.at("greedy"))};
}

std::vector<GoldenLogits> ReadLogits(const fs::path& folder, const bj::value& value) {
  const std::string bytes = ReadFileOrDie(folder / bj::value_to<std::string>(value.at("file")));
  const auto shape = bj::value_to<std::vector<size_t>>(value.at("shape"));
  PREFIXD_CHECK(bytes.size() == shape[0] * shape[1] * sizeof(float)) << folder;
  std::vector<GoldenLogits> logits;
  for (const bj::value& row : value.at("rows").as_array()) {
    GoldenLogits& golden = logits.emplace_back();
    golden.prompt = bj::value_to<int>(row.at("prompt"));
    golden.position = bj::value_to<int>(row.at("position"));
    golden.row.resize(shape[1]);
    std::memcpy(golden.row.data(), bytes.data() + (logits.size() - 1) * shape[1] * sizeof(float),
                shape[1] * sizeof(float));
  }
  PREFIXD_CHECK(logits.size() == shape[0]) << folder;
  return logits;
}

}  // namespace

GoldenCase ReadGoldenCase(const fs::path& folder) {
  const bj::value expected = bj::parse(ReadFileOrDie(folder / "expected.json"));
  GoldenCase golden;
  golden.name = folder.filename().string();
  golden.folder = folder;
  for (const bj::value& prompt : expected.at("prompts").as_array()) {
    golden.prompts.push_back(ReadPrompt("prompts[" + std::to_string(golden.prompts.size()) + "]", prompt));
  }
  golden.logits = ReadLogits(folder, expected.at("logits"));
  golden.max_abs = bj::value_to<float>(expected.at("logits").at("max_abs"));
  if (expected.as_object().contains("text")) {
    for (const char* name : {"text", "chat"}) golden.prompts.push_back(ReadPrompt(name, expected.at(name)));
    golden.text_prompt = bj::value_to<std::string>(expected.at("text").at("prompt"));
    golden.chat_messages = expected.at("chat").at("messages").as_array();
    golden.chat_rendered = bj::value_to<std::string>(expected.at("chat").at("rendered"));
  }
  return golden;
}

std::vector<GoldenCase> AllGoldenCases() {
  std::vector<GoldenCase> cases;
  for (const fs::path& golden : {SourceDir() / "tests/golden/variants", SharedDir() / "golden"}) {
    if (!fs::exists(golden)) continue;
    for (const fs::path& folder : GoldenFolders(golden)) cases.push_back(ReadGoldenCase(folder));
  }
  return cases;
}

std::vector<fs::path> GoldenFolders(const fs::path& golden) {
  std::vector<fs::path> folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(golden)) {
    if (fs::exists(entry.path() / "expected.json")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace prefixd::testing_support
