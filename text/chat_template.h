// The messages of a conversation to the prompt that the model was trained on: a Jinja template, and the
// changes that fit a request to it.
//
// Parse finds out what the template accepts by probing: it renders small conversations and compares the
// results. A template may need a system message, tools or several turns; a probe tries conversations with and
// without them. Render then changes the messages to match, in this order:
//   1. Reasoning that a message gives as `reasoning`, `thinking` or `reasoning_content` is made available as
//      both `thinking` and `reasoning_content`.
//   2. The role `developer` becomes `system` when the template does not know it. `function` becomes `tool`.
//   3. A list of text parts becomes one string, joined by newlines, unless the template renders a list with
//      one part as it renders the text of that part. This is decided for each role. Where the template shows
//      only lists, a string becomes a list with one part.
//   4. Content that is null or absent becomes "" when the template does not accept null, else null.
//   5. Arguments of a tool call become an object when the template requires one, and a JSON text when it
//      accepts no objects, spelled as Python's json.dumps(ensure_ascii=False) spells it. An empty text
//      becomes an empty object. When no probe shows arguments, Render passes texts, and objects if the
//      template does not show the texts.
//   6. A system message is put in front of the next user message when the template has no system role.
//
// Immutable after Parse. Any number of threads may call const members at once.
#pragma once

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/marked_text.h"
#include "base/status.h"
#include "text/jinja/budget.h"

namespace prefixd {

namespace jinja {
class Template;
}

class ChatTemplate {
 public:
  struct Options {
    std::string bos_token, eos_token;  // empty: the tokenizer has none; undefined in the template
    std::vector<std::pair<std::string, std::string>> special_tokens;  // others: "pad_token", "<pad>"
    std::string tool_use;  // source of the template for requests with tools; empty: one template for all
    jinja::Limits limits;  // of each rendering
  };

  struct Input {
    boost::json::array messages;
    boost::json::value tools;      // null when there are none
    boost::json::value documents;  // null when there are none
    bool add_generation_prompt = true;
    boost::json::object extra;  // chat_template_kwargs: further variables
    int64_t unix_seconds = 0;   // the current time; strftime_now prints it in local time
  };

  // What reaches the template as the content of a message that has text.
  enum class Content {
    kText,        // a string
    kTextOrList,  // as the request has it: a list is rendered like its text
    kList,        // a list of parts: strings are dropped by the template
    kDropped,     // a string, and the template shows neither form
  };
  enum class Role { kSystem, kUser, kAssistant, kTool };

  // What the template accepts and shows, found by probing.
  struct Caps {
    std::array<Content, 4> content{};        // by Role
    bool accepts_content_lists = false;      // content of a user message may be a list of parts
    bool requires_non_null_content = false;  // null content fails or prints "None"
    bool shows_arguments = false;            // a probe found which form of tool call arguments is shown
    bool needs_object_arguments = false;     // requires tool call arguments as an object, not as JSON text
    bool accepts_object_arguments = false;
    bool supports_system_role = true;
    bool knows_developer_role = false;
    bool supports_tools = false;                // shows the tools of the request
    bool supports_tool_calls = false;           // shows the tool calls of an assistant message
    bool supports_parallel_tool_calls = false;  // more than one in a message
    bool emits_bos = false;                     // prompts begin with bos_token
    bool shows_date = false;                    // the prompt changes from day to day
  };

  // A place where the rendering of a conversation is not a prefix of the rendering of the same conversation
  // with more messages. The cached blocks of the shorter conversation are useful to the longer one only up to
  // that place.
  struct Rewrite {
    enum class Kind {
      kHistory,     // between a conversation up to an answer and the same with the next turn
      kGeneration,  // between the prompt for an answer and the conversation with it, or the next prompt
    };
    std::string conversation;  // which probe found it: "a plain conversation", ...
    Kind kind = Kind::kHistory;
    size_t turn = 0;               // of the answer, counted from 1
    size_t kept_bytes = 0;         // length of the common prefix
    size_t bytes = 0;              // length of the shorter rendering
    std::string Describe() const;  // one sentence for the log, with the consequence
  };

  // Fails with kUnsupported when the template uses a tag, filter, test, function or method that is not
  // supported, with kInvalidArgument on a syntax error. Both messages contain the line and column.
  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string_view source, Options options);
  ~ChatTemplate();

  // Returns the prompt. Fails with kInvalidArgument when the template rejects the conversation (the message
  // is the text of the template) or fails on it, or when a message is malformed (the message names it). Fails
  // with kResourceExhausted when a limit of Options is reached.
  Result<std::string> Render(const Input& input) const;
  // The same, with marks on the text that came from the request: messages, tools, documents and `extra`. The
  // special tokens and the names of roles are the template's own.
  Result<MarkedText> RenderMarked(const Input& input) const;

  // Returns whether `prompt` begins with bos_token.
  bool BeginsWithBos(std::string_view prompt) const {
    return !options_.bos_token.empty() && prompt.starts_with(options_.bos_token);
  }

  const Caps& caps() const { return caps_; }
  // What the template was parsed from, with the one for requests with tools.
  const std::string& source() const { return source_; }
  // The first rewrite of each kind in each probed conversation. Empty when the template is append-only.
  const std::vector<Rewrite>& rewrites() const { return rewrites_; }
  bool append_only() const { return rewrites_.empty(); }

 private:
  ChatTemplate(std::string source, std::unique_ptr<const jinja::Template> parsed, Options options);

  Result<MarkedText> RenderFitted(const Input& input, const Caps& caps) const;
  // Renders `messages` without changes.
  Result<MarkedText> RenderAsIs(const Input& input, const boost::json::array& messages,
                                const jinja::Limits& limits) const;
  // The same with lower limits, so that probing an expensive template ends soon.
  Result<std::string> Try(const Input& input, const boost::json::array& messages) const;
  void AddToolUse(std::unique_ptr<const ChatTemplate> tool_use);
  void Probe();
  void ProbeContent(Role role);
  void ProbeToolCalls();
  void ProbeGrowth();
  void ProbeGrowth(const std::string& conversation, Input input);

  const std::string source_;
  const std::unique_ptr<const jinja::Template> template_;
  const Options options_;
  boost::json::object tokens_;  // special tokens by name
  Caps caps_;
  std::vector<Rewrite> rewrites_;
  std::unique_ptr<const ChatTemplate> tool_use_;  // for requests with tools; may be null
};

// Applies the rules above for a template with `caps`. The error, kInvalidArgument, names the malformed
// message.
Result<boost::json::array> FitMessages(const boost::json::array& messages, const ChatTemplate::Caps& caps);

}  // namespace prefixd
