#include "daemon/admin/live_command.h"

#include <unistd.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>

#include "base/status.h"
#include "daemon/admin/admin_client.h"
#include "daemon/admin/documents.h"
#include "daemon/admin/live_text.h"
#include "daemon/command_output.h"
#include "daemon/serve_plan.h"

namespace prefixd {
namespace {

namespace json = boost::json;

bool OnTerminal() { return isatty(STDOUT_FILENO) == 1; }

// See no-color.org.
bool UsesColor() {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return OnTerminal() && (no_color == nullptr || *no_color == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

std::string PathOf(const LiveOptions& options) {
  if (options.what == "request") return "/admin/requests/" + PercentEncoded(options.id);
  return "/admin/" + options.what;
}

// The message of an error of the API, or the body.
std::string MessageOf(const AdminAnswer& answer) {
  boost::system::error_code wrong;
  const json::value body = json::parse(answer.body, wrong);
  const json::value* const message = wrong ? nullptr : body.find_pointer("/error/message", wrong);
  return message != nullptr && message->is_string()
             ? std::string(message->as_string())
             : "the answer has the status " + std::to_string(answer.status);
}

std::string AsText(const LiveOptions& options, const json::object& document) {
  const bool color = UsesColor();
  if (options.what == "ready") return ReadyAsText(document, color);
  if (options.what == "requests") return RequestsAsText(document);
  return options.what == "request" ? RequestAsText(document) : StatusAsText(document, color);
}

// The document, as it is or as text; an error when it is none of this program's.
Result<std::string> Rendered(const LiveOptions& options, const std::string& body) {
  try {
    const json::value document = json::parse(body);
    const int64_t schema = document.at("schema").to_number<int64_t>();
    if (schema != kAdminSchema) {
      return Unsupported("the daemon has documents of schema " + std::to_string(schema) +
                         ", and this program reads " + std::to_string(kAdminSchema) +
                         "; use the prefixd of the same version");
    }
    return options.json ? body + "\n" : AsText(options, document.as_object());
  } catch (const std::exception&) {
    return Corrupt("what answers at " + options.address + " is no admin listener of prefixd");
  }
}

// Asks once. Prints the document or the failure.
ExitCode Ask(const LiveOptions& options, const std::string& key, bool clear) {
  const Result<AdminAnswer> answer = GetFromDaemon(options.address, PathOf(options), key);
  if (!answer.ok()) {
    const bool usage = answer.status().code() == Code::kInvalidArgument;
    return PrintFailure(options.json, usage ? kExitUsage : kExitFailed, answer.status().message());
  }
  const bool not_ready = options.what == "ready" && answer->status == 503;
  if (answer->status != 200 && !not_ready) return PrintFailure(options.json, kExitFailed, MessageOf(*answer));
  const Result<std::string> text = Rendered(options, answer->body);
  if (!text.ok()) return PrintFailure(options.json, kExitFailed, text.status().message());
  Print((clear ? "\x1b[H\x1b[2J" : "") + *text);
  if (std::fflush(stdout) != 0) return kExitFailed;  // nobody reads any more
  return not_ready ? kExitFailed : kExitOk;
}

}  // namespace

ExitCode InspectLive(const LiveOptions& options) {
  std::string key;
  if (!options.key_file.empty()) {
    const Result<std::string> first = ReadClientKey("--key-file", options.key_file);
    if (!first.ok()) return PrintFailure(options.json, kExitUsage, first.status().message());
    key = *first;
  }
  const bool clear = options.watch_seconds > 0 && OnTerminal() && !options.json;
  while (true) {
    const ExitCode code = Ask(options, key, clear);
    if (options.watch_seconds == 0 || code != kExitOk) return code;
    std::this_thread::sleep_for(std::chrono::seconds(options.watch_seconds));
    if (!clear && !options.json) Print("\n");
  }
}

}  // namespace prefixd
