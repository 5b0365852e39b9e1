// A tokenizer as a filter, for comparison with other implementations. It reads lines of JSON and answers each
// line with one line.
//   {"load": "path of a tokenizer.json"}                      -> {} or {"error": "..."}
//   {"folder": "path of a model"}  -> {"named": {"bos_token": "<s>", ...}, "contradictions": ["..."]}
//                                     or {"error": "..."}
//   {"encode": "text", "special": bool, "parse": bool}        -> {"ids": [...]} or {"error": "..."}
//   {"encode": [["text", bool], ...], "special": bool, "parse": bool}    true: the text came from a request
//   {"decode": [ids], "skip": bool}                           -> {"text": "...", "stream": "..."}
// `special` adds the ids of the post-processor. `parse` recognises special tokens in the text. `skip` leaves
// special tokens out. `stream` is the text of the same ids, decoded one by one with a Detokenizer.
#include <boost/json.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "base/check.h"
#include "base/utf8.h"
#include "engine/tokenizer_files.h"
#include "text/tokenizer/detokenizer.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

namespace json = boost::json;

json::object Error(const Status& status) { return {{"error", status.message()}}; }

json::object Load(const json::object& request, std::unique_ptr<Tokenizer>* tokenizer) {
  std::ifstream in(json::value_to<std::string>(request.at("load")), std::ios::binary);
  auto loaded = Tokenizer::FromJson(std::string(std::istreambuf_iterator<char>(in), {}));
  if (!loaded.ok()) return Error(loaded.status());
  *tokenizer = *std::move(loaded);
  return {};
}

json::object LoadFolder(const json::object& request, std::unique_ptr<Tokenizer>* tokenizer) {
  auto files = ReadTokenizerFiles(json::value_to<std::string>(request.at("folder")), "");
  if (!files.ok()) return Error(files.status());
  *tokenizer = std::move(files->tokenizer);
  json::object named;
  for (const NamedToken& token : files->named) named[token.name] = token.text;
  return {{"named", named}, {"contradictions", json::value_from(files->contradictions)}};
}

MarkedText Marked(const json::array& parts) {
  MarkedText text;
  for (const json::value& part : parts) {
    const auto bytes = json::value_to<std::string>(part.at(0));
    text += part.at(1).as_bool() ? MarkedText::Input(bytes) : MarkedText::Own(bytes);
  }
  return text;
}

json::object Encode(const json::object& request, const Tokenizer& tokenizer) {
  const Tokenizer::EncodeOptions options{.add_special_tokens = request.at("special").as_bool(),
                                         .parse_special = request.at("parse").as_bool()};
  const json::value& text = request.at("encode");
  const auto ids = text.is_array() ? tokenizer.Encode(Marked(text.as_array()), options)
                                   : tokenizer.Encode(json::value_to<std::string>(text), options);
  if (!ids.ok()) return Error(ids.status());
  return {{"ids", json::value_from(*ids)}};
}

json::object Decode(const json::object& request, const Tokenizer& tokenizer) {
  const auto ids = json::value_to<std::vector<TokenId>>(request.at("decode"));
  const bool skip = request.at("skip").as_bool();
  Detokenizer detokenizer(tokenizer, skip);
  std::string stream;
  for (const TokenId id : ids) {
    const std::string piece = detokenizer.Push(id);
    PREFIXD_CHECK(IsValidUtf8(piece)) << "a piece that is not UTF-8 at id " << id;
    stream += piece;
  }
  return {{"text", tokenizer.Decode(ids, skip)}, {"stream", stream + detokenizer.Flush()}};
}

}  // namespace
}  // namespace prefixd

int main() {
  using namespace prefixd;
  std::unique_ptr<Tokenizer> tokenizer;
  for (std::string line; std::getline(std::cin, line);) {
    const json::object request = json::parse(line).as_object();
    if (request.contains("load")) {
      std::cout << json::serialize(Load(request, &tokenizer)) << std::endl;
      continue;
    }
    if (request.contains("folder")) {
      std::cout << json::serialize(LoadFolder(request, &tokenizer)) << std::endl;
      continue;
    }
    PREFIXD_CHECK(tokenizer != nullptr) << "no tokenizer is loaded";
    std::cout << json::serialize(request.contains("encode") ? Encode(request, *tokenizer)
                                                            : Decode(request, *tokenizer))
              << std::endl;
  }
}
