#include "daemon/manual.h"

#include <cctype>
#include <iterator>
#include <string_view>

#include "daemon/command_table.h"

namespace prefixd {
namespace {

constexpr size_t kWidth = 78;  // mandoc wants lines below 80
// The day on which the text of this file was last changed: a page must have one, and it is no day of a build.
constexpr std::string_view kDate = "2026-11-28";

// Text as roff reads it: a backslash, a hyphen that is one, and no control character at the start of a line.
std::string Escaped(std::string_view text) {
  std::string out = text.starts_with('.') || text.starts_with('\'') ? "\\&" : "";
  for (const char c : text) out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  return out;
}

// A paragraph, broken between words.
std::string Filled(std::string_view text) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    const size_t space = text.find_first_of(" \n");
    const std::string word = Escaped(text.substr(0, space));
    text = space == std::string_view::npos ? "" : text.substr(space + 1);
    if (column > 0 && column + 1 + word.size() > kWidth) column = 0;
    out += (out.empty() ? "" : column == 0 ? "\n" : " ") + word;
    column += word.size() + (column > 0 ? 1 : 0);
  }
  return out + "\n";
}

std::string Bold(std::string_view text) { return "\\fB" + Escaped(text) + "\\fR"; }
std::string Italic(std::string_view text) { return "\\fI" + Escaped(text) + "\\fR"; }

// A sentence from the text of a table, which begins in lower case and has no full stop.
std::string Sentence(std::string_view text) {
  std::string sentence(text);
  if (!text.starts_with('\''))
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return sentence + ".";
}

std::string FlagEntry(const OptionSpec& spec) {
  std::string text = ".TP\n" + Bold("--" + std::string(spec.name));
  if (!spec.value_name.empty()) text += " " + Italic(spec.value_name);
  std::string about = Sentence(spec.help);
  if (!spec.default_text.empty()) about += " Default: " + std::string(spec.default_text) + ".";
  if (const std::string allowed = AllowedValues(spec); !allowed.empty())
    about += " It takes " + allowed + ".";
  if (FindOption(spec.name) == &spec) about += " Variable: " + VariableName(spec.name) + ".";
  return text + "\n" + Filled(about);
}

std::string CommandSections() {
  std::string text = ".SH COMMANDS\n";
  for (const CommandSpec& command : CommandTable()) {
    if (command.summary.empty()) continue;
    text += ".SS " + std::string(command.name);
    if (!command.argument.empty()) text += " " + Italic(command.argument);
    text += "\n" + Filled(Sentence(command.summary));
    const std::vector<std::string> helps = WordsOf(command.argument_help, '|');
    for (size_t i = 0; const std::string& argument : WordsOf(command.argument, ' '))
      text += Italic(argument) + ": " + Filled(helps[i++] + ".");
    if (command.options) text += Filled("It takes the flags of OPTIONS.");
    for (const OptionSpec& flag : command.flags) text += FlagEntry(flag);
    if (!command.notes.empty()) text += ".PP\n" + Filled(command.notes);
  }
  return text;
}

std::string OptionSections() {
  std::string text = ".SH OPTIONS\n" + Filled(
                                           "Every option is a flag, a variable, and a key of the TOML file "
                                           "that --config names. A flag overrides a "
                                           "variable, a variable the file, and the file the default. Sizes "
                                           "are bytes, or numbers with KiB, MiB, GiB "
                                           "or TiB (powers of 1024), KB, MB, GB or TB (powers of 1000).");
  std::string_view group;
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.group != group) text += ".SS " + std::string(group = spec.group) + "\n";
    text += FlagEntry(spec);
  }
  return text;
}

}  // namespace

std::string ManualPage() {
  std::string text = ".TH PREFIXD 1 " + std::string(kDate) + " prefixd \"User Commands\"\n.SH NAME\n";
  text += "prefixd \\- serve a language model over HTTP and reuse cached prefixes\n.SH SYNOPSIS\n" +
          Bold("prefixd") + "\n" + Italic("COMMAND") + " [" + Italic("FLAGS") + "]\n";
  text +=
      ".SH DESCRIPTION\n" +
      Filled(
          "prefixd serves a language model through the OpenAI API and does not compute a prompt prefix again "
          "while it is in its cache.");
  text += CommandSections() + OptionSections();
  text += ".SH EXIT STATUS\n";
  constexpr std::string_view kCodes[] = {
      "Ended as requested.", "Failed while running.",
      "Wrong usage or configuration; every fault is listed with its origin.",
      "Model refused: missing, damaged, or unsupported."};
  for (size_t code = 0; code < std::size(kCodes); ++code)
    text += ".TP\n" + Bold(std::to_string(code)) + "\n" + Filled(kCodes[code]);
  text +=
      ".SH EXAMPLES\n.nf\nprefixd serve \\-\\-model ./model\n"
      "prefixd serve \\-\\-model ./model \\-\\-disk\\-cache\\-dir /var/cache/prefixd/kv\n"
      "prefixd inspect /var/cache/prefixd/kv\n.fi\n";
  return text;
}

}  // namespace prefixd
