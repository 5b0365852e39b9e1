#include "text/output/python_call.h"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>

#include "base/utf8.h"
#include "text/output/json_scanner.h"

namespace prefixd {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool Call(std::string* name, std::string* arguments) {
    *name = Name();
    if (name->empty() || !Eat('(')) return false;
    *arguments = "{";
    for (bool first = true; !Eat(')'); first = false) {
      if (!first && !Eat(',')) return false;
      if (!first && Eat(')')) break;  // a comma at the end
      const std::string key = Name();
      if (key.empty() || !Eat('=')) return false;
      arguments->append(first ? "\"" : ", \"").append(key).append("\": ");
      if (!Literal(arguments)) return false;
    }
    arguments->push_back('}');
    return at_ == text_.size();
  }

 private:
  void Skip() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Eat(char c) {
    Skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string Name() {
    Skip();
    const size_t begin = at_;
    while (at_ < text_.size() && IsNameByte(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  // The depth is that of the scanner at most.
  bool Literal(std::string* out) {
    Skip();
    if (at_ == text_.size()) return false;
    const char c = text_[at_];
    if (c == '"' || c == '\'') return String(out);
    if (c == '[' || c == '(') return List(c == '[' ? ']' : ')', out);
    if (c == '{') return Dictionary(out);
    const size_t begin = at_;
    while (at_ < text_.size() && (IsNameByte(text_[at_]) || text_[at_] == '+')) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (word == "True" || word == "true") return Append("true", out);
    if (word == "False" || word == "false") return Append("false", out);
    if (word == "None" || word == "null") return Append("null", out);
    return IsJson(word) && Append(word, out);
  }

  static bool Append(std::string_view text, std::string* out) {
    out->append(text);
    return true;
  }

  bool List(char close, std::string* out) {
    ++at_;
    out->push_back('[');
    for (bool first = true; !Eat(close); first = false) {
      if (!first && !Eat(',')) return false;
      if (!first && Eat(close)) break;
      if (!first) out->append(", ");
      if (!Literal(out)) return false;
    }
    out->push_back(']');
    return true;
  }

  bool Dictionary(std::string* out) {
    ++at_;
    out->push_back('{');
    for (bool first = true; !Eat('}'); first = false) {
      if (!first && !Eat(',')) return false;
      if (!first && Eat('}')) break;
      if (!first) out->append(", ");
      Skip();
      if (at_ == text_.size() || (text_[at_] != '"' && text_[at_] != '\'') || !String(out) || !Eat(':'))
        return false;
      out->append(": ");
      if (!Literal(out)) return false;
    }
    out->push_back('}');
    return true;
  }

  bool String(std::string* out) {
    const char quote = text_[at_++];
    std::string value;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] != '\\') {
        value.push_back(text_[at_]);
      } else if (++at_ == text_.size() || !Escape(&value)) {
        return false;
      }
    }
    if (at_ == text_.size()) return false;
    ++at_;
    out->append(boost::json::serialize(boost::json::string(value)));
    return true;
  }

  // The escape whose letter is at at_. What Python leaves alone stays.
  bool Escape(std::string* value) {
    constexpr std::string_view kLetters = "nrtbf\\'\"\n", kMeanings = "\n\r\t\b\f\\'\"";
    const char letter = text_[at_];
    if (letter == 'x' || letter == 'u' || letter == 'U') return HexEscape(letter, value);
    const size_t known = kLetters.find(letter);
    if (known == std::string_view::npos) {
      value->append({'\\', letter});
    } else if (known < kMeanings.size()) {  // a line feed continues the line
      value->push_back(kMeanings[known]);
    }
    return true;
  }

  bool HexEscape(char letter, std::string* value) {
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (++at_ == text_.size()) return false;
      const size_t digit = std::string_view("0123456789abcdef0123456789ABCDEF").find(text_[at_]);
      if (digit == std::string_view::npos) return false;
      code = code * 16 + static_cast<uint32_t>(digit % 16);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    AppendUtf8(value, static_cast<char32_t>(code));
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

bool PythonCallScanner::Push(char c) {
  if (quote_ != 0) {
    if (!escaped_ && c == quote_) quote_ = 0;
    escaped_ = !escaped_ && c == '\\';
    return false;
  }
  if (c == '"' || c == '\'') {
    if (open_.empty()) faulty_ = true;
    quote_ = c;
  } else if (c == '(' || c == '[' || c == '{') {
    if (open_.size() == kMostDepth || (open_.empty() && c != '(')) faulty_ = true;
    if (!faulty_) open_.push_back(c);
  } else if (c == ')' || c == ']' || c == '}') {
    const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (open_.empty() || open_.back() != open) {
      faulty_ = true;
    } else {
      open_.pop_back();
      return open_.empty();
    }
  } else if (open_.empty() && !IsNameByte(c)) {
    faulty_ = true;
  }
  return false;
}

bool ReadPythonCall(std::string_view text, std::string* name, std::string* arguments) {
  return Reader(text).Call(name, arguments);
}

}  // namespace prefixd
