#include "bench/arguments.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"

namespace prefixd::bench {

Arguments::Arguments(std::string program, std::string summary, std::vector<OptionSpec> options)
    : program_(std::move(program)), summary_(std::move(summary)), options_(std::move(options)) {}

const OptionSpec* Arguments::Find(std::string_view name) const {
  for (const OptionSpec& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

const OptionSpec& Arguments::Declared(std::string_view name) const {
  const OptionSpec* option = Find(name);
  PREFIXD_CHECK(option != nullptr) << name << " is not declared";
  return *option;
}

Status Arguments::Parse(int argc, const char* const* argv) {
  given_.clear();
  std::vector<std::string> positional;
  for (const OptionSpec& option : options_) {
    if (!option.name.starts_with("--")) positional.push_back(option.name);
  }
  size_t next = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.starts_with("--")) {
      if (next == positional.size())
        return InvalidArgument("unexpected argument '" + argument + "'; see --help");
      given_[positional[next++]] = argument;
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const OptionSpec* option = Find(name);
    if (option == nullptr) return InvalidArgument("unknown option '" + name + "'; see --help");
    if (option->value_name.empty()) {
      if (equals != argument.npos) return InvalidArgument(name + " takes no value");
      given_[name] = "true";
    } else if (equals != argument.npos) {
      given_[name] = argument.substr(equals + 1);
    } else if (++i < argc) {
      given_[name] = argv[i];
    } else {
      return InvalidArgument(name + " needs a value: " + name + " " + option->value_name);
    }
  }
  if (next < positional.size()) return InvalidArgument(positional[next] + " is missing; see --help");
  return Status::Ok();
}

void Arguments::ParseOrExit(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") {
      std::fputs(Usage().c_str(), stdout);
      std::exit(0);
    }
  }
  if (const Status status = Parse(argc, argv); !status.ok()) Fail(status);
}

void Arguments::Fail(const Status& status) const {
  std::fprintf(stderr, "%s: %s\n", program_.c_str(), status.message().c_str());
  std::exit(2);
}

const std::string& Arguments::Text(std::string_view name) const {
  const OptionSpec& option = Declared(name);
  const auto it = given_.find(name);
  return it != given_.end() ? it->second : option.default_value;
}

bool Arguments::Given(std::string_view name) const {
  (void)Declared(name);
  return given_.contains(name);
}

Result<int64_t> Arguments::Integer(std::string_view name, int64_t low, int64_t high) const {
  const std::string& text = Text(name);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) return value;
  return InvalidArgument(std::string(name) + " '" + text + "': a whole number from " + std::to_string(low) +
                         " to " + std::to_string(high) + " is expected");
}

Result<double> Arguments::Positive(std::string_view name) const {
  const std::string& text = Text(name);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value > 0)
    return value;
  return InvalidArgument(std::string(name) + " '" + text + "': a number above 0 is expected");
}

Result<std::string> Arguments::OneOf(std::string_view name, const std::vector<std::string>& choices) const {
  std::string list;
  for (const std::string& choice : choices) {
    if (Text(name) == choice) return choice;
    list += (list.empty() ? "" : ", ") + choice;
  }
  return InvalidArgument(std::string(name) + " '" + Text(name) + "': one of " + list + " is expected");
}

int64_t Arguments::IntegerOrExit(std::string_view name, int64_t low, int64_t high) const {
  const Result<int64_t> value = Integer(name, low, high);
  if (!value.ok()) Fail(value.status());
  return *value;
}

double Arguments::PositiveOrExit(std::string_view name) const {
  const Result<double> value = Positive(name);
  if (!value.ok()) Fail(value.status());
  return *value;
}

std::string Arguments::Usage() const {
  std::string usage = "usage: " + program_, lines;
  for (const OptionSpec& option : options_) {
    if (!option.name.starts_with("--")) usage += " " + option.name;
    std::string head = "  " + option.name + (option.value_name.empty() ? "" : " " + option.value_name);
    head.resize(std::max<size_t>(head.size() + 2, 26), ' ');
    lines += head + option.help;
    if (!option.default_value.empty()) lines += " (default " + option.default_value + ")";
    lines += "\n";
  }
  lines += "  --help                  print this text\n";
  return usage + " [OPTION]...\n" + summary_ + "\n\n" + lines;
}

}  // namespace prefixd::bench
