// Messages of a conversation to the prompt that the model was trained on: a Jinja template, and what fits
// requests to it.
//
// What a template takes is found out by probing it when it is loaded: small conversations are rendered, and
// the results compared. Render then brings the messages into that form, in this order of rules:
//   0. reasoning that a message calls `reasoning`, `thinking` or `reasoning_content` is found under the last
//   two
//   1. role `developer` becomes `system` where the template does not know it; `function` becomes `tool`
//   2. lists of text parts become one string, joined by newlines, where the template does not take lists
//   3. content that is null or absent becomes "" where the template does not take null, else null
//   4. tool call arguments, a JSON text, become an object where the template wants one; an empty text is an
//   empty object
//   5. a system message goes in front of the first user message where the template has no system role
//
// Immutable after Parse; const members may be called by any number of threads at once.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/jinja/budget.h"

namespace prefixd {

namespace jinja {
class Template;
}

class ChatTemplate {
 public:
  struct Options {
    std::string bos_token, eos_token;  // empty: the tokenizer has none, and the template finds it undefined
    std::vector<std::pair<std::string, std::string>> special_tokens;  // others, by name: "pad_token", "<pad>"
    std::string tool_use;  // source of the template for requests with tools; empty: the same for all
    jinja::Limits limits;  // of each rendering
  };

  struct Input {
    boost::json::array messages;
    boost::json::value tools;      // null when there are none
    boost::json::value documents;  // null when there are none
    bool add_generation_prompt = true;
    boost::json::object extra;  // chat_template_kwargs: further variables
    int64_t unix_seconds = 0;   // now, for strftime_now, which prints it in local time
  };

  // What the template takes and shows, as found by probing.
  struct Caps {
    bool accepts_content_lists = false;      // content may be a list of parts
    bool requires_non_null_content = false;  // null content fails, or prints "None"
    bool needs_object_arguments = false;     // tool call arguments as an object, not as JSON text
    bool accepts_object_arguments = false;
    bool supports_system_role = true;
    bool knows_developer_role = false;
    bool supports_tools = false;                // shows the tools that a request offers
    bool supports_tool_calls = false;           // shows the tool calls of an assistant message
    bool supports_parallel_tool_calls = false;  // more than one of a message
    bool emits_bos = false;                     // prompts begin with bos_token
    bool shows_date = false;                    // the prompt changes from day to day
  };

  // Where a longer conversation is not rendered as a continuation of the shorter one: the text of the shorter
  // is no prefix of the longer's. What the cache keeps of the shorter serves the longer only up to that
  // place.
  struct Rewrite {
    enum class Kind {
      kHistory,     // a conversation up to an answer, and the same with the next turn behind it
      kGeneration,  // the prompt for an answer, and the conversation with that answer, or the next prompt
    };
    std::string conversation;  // which of those that were tried: "a plain conversation", ...
    Kind kind = Kind::kHistory;
    size_t turn = 0;               // of the answer, from 1
    size_t kept_bytes = 0;         // of the shorter rendering
    size_t bytes = 0;              // length of the shorter rendering
    std::string Describe() const;  // one sentence, with the consequence
  };

  // kUnsupported: the template uses a tag, filter, test, function or method that prefixd lacks;
  // kInvalidArgument: a syntax error. Both name the line and column.
  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string_view source, Options options);
  ~ChatTemplate();

  // The prompt. kInvalidArgument: the template refuses the conversation (its own text), fails on it, or a
  // message is malformed (which is named). kResourceExhausted: the template needs more steps, depth or output
  // than a rendering may have.
  Result<std::string> Render(const Input& input) const;

  // Whether `prompt` begins with bos_token, so that the tokenizer must not add another.
  bool BeginsWithBos(std::string_view prompt) const {
    return !options_.bos_token.empty() && prompt.starts_with(options_.bos_token);
  }

  const Caps& caps() const { return caps_; }
  // The first rewrite in each of the conversations that were tried, for each kind; empty where the template
  // is append-only.
  const std::vector<Rewrite>& rewrites() const { return rewrites_; }
  bool append_only() const { return rewrites_.empty(); }

 private:
  ChatTemplate(std::unique_ptr<const jinja::Template> parsed, Options options);

  // Renders messages as they are.
  Result<std::string> RenderAsIs(const Input& input, const boost::json::array& messages,
                                 const jinja::Limits& limits) const;
  // The same with limits that keep the probing of a costly template short.
  Result<std::string> Try(const Input& input, const boost::json::array& messages) const;
  void AddToolUse(std::unique_ptr<const ChatTemplate> tool_use);
  void Probe();
  void ProbeToolCalls();
  void ProbeGrowth();
  void ProbeGrowth(const std::string& conversation, Input input);

  const std::unique_ptr<const jinja::Template> template_;
  const Options options_;
  boost::json::object tokens_;  // special tokens by name
  Caps caps_;
  std::vector<Rewrite> rewrites_;
  std::unique_ptr<const ChatTemplate> tool_use_;  // for requests with tools; may be null
};

// The rules above, for templates of these caps. kInvalidArgument names the message that is malformed.
Result<boost::json::array> FitMessages(const boost::json::array& messages, const ChatTemplate::Caps& caps);

}  // namespace prefixd
