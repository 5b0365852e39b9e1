#include "daemon/convert_command.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "daemon/command_output.h"
#include "daemon/disk_report.h"
#include "daemon/progress_bar.h"
#include "engine/convert_model.h"
#include "model/gguf_model.h"

namespace prefixd {
namespace {

namespace json = boost::json;

volatile std::sig_atomic_t stopped = 0;

ExitCode Fail(const ConvertOptions& options, ExitCode code, const std::string& message) {
  return PrintFailure(options.json, code, message, code == kExitModelRefused ? "model refused: " : "");
}

ExitCode CodeOf(const Status& status) {
  switch (status.code()) {
    case Code::kInvalidArgument:
      return kExitUsage;
    case Code::kCorrupt:
    case Code::kUnsupported:
      return kExitModelRefused;
    default:
      return kExitFailed;
  }
}

std::string AsText(const ConvertOptions& options, const Conversion& made) {
  std::string types;
  for (const auto& [name, bytes] : made.BytesOfTypes())
    types += (types.empty() ? "" : ", ") + name + " " + FormatSize(bytes);
  std::string text = options.to + ": " + (made.to_gguf ? "a GGUF file" : "a Hugging Face folder") + " of " +
                     made.model_type + ", " + Grouped(static_cast<uint64_t>(made.parameters)) +
                     " parameters, weights of " + FormatSize(made.bytes) + " (" + types + ")\n";
  for (const std::string& loss : made.losses) text += "lost: " + PrintableLine(loss) + "\n";
  return text;
}

std::string AsJson(const ConvertOptions& options, const Conversion& made) {
  json::object types;
  for (const auto& [name, bytes] : made.BytesOfTypes()) types[name] = bytes;
  json::array lost;
  for (const std::string& loss : made.losses) lost.emplace_back(RepairUtf8(loss));
  return json::serialize(json::object{{"schema", 1},
                                      {"ok", true},
                                      {"from", RepairUtf8(options.from)},
                                      {"to", RepairUtf8(options.to)},
                                      {"format", made.to_gguf ? "gguf" : "folder"},
                                      {"model_type", made.model_type},
                                      {"parameters", made.parameters},
                                      {"tensors", made.tensors.size() + (made.divisors.empty() ? 0 : 1)},
                                      {"bytes", made.bytes},
                                      {"types", std::move(types)},
                                      {"lost", std::move(lost)}}) +
         "\n";
}

}  // namespace

ExitCode Convert(const ConvertOptions& options) {
  const bool to_gguf = !IsGgufPath(options.from);
  std::optional<StoredType> type;
  if (!options.type.empty()) {
    type = TypeOfConversion(options.type, to_gguf);
    if (!type)
      return Fail(options, kExitUsage,
                  "--type: '" + options.type + "' is no type of " + (to_gguf ? "a GGUF file" : "a folder") +
                      " that prefixd writes (expected: " + TypesOfConversion(to_gguf) + ")");
  }
  const auto conversion = PlanConversion(options.from, type);
  if (!conversion.ok()) return Fail(options, kExitModelRefused, conversion.status().message());
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = 1; });
  const SystemClock clock;
  std::optional<ProgressBar> bar;
  const Status status =
      RunConversion(*conversion, options.to, options.overwrite, [&](uint64_t done, uint64_t total) {
        if (!bar) bar.emplace(total, &clock);
        bar->Set(done);
        return stopped == 0;
      });
  bar.reset();
  if (!status.ok()) return Fail(options, CodeOf(status), status.message());
  Print(options.json ? AsJson(options, *conversion) : AsText(options, *conversion));
  return kExitOk;
}

}  // namespace prefixd
