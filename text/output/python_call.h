// The calls that some models write as Python: NAME(key=literal, ...). Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

// Finds the end of such a call, byte by byte: the ')' that closes it.
class PythonCallScanner {
 public:
  // Returns true with the last byte of the call.
  bool Push(char c);
  // No call goes on like this: brackets that do not match, or more than kMostDepth of them.
  bool faulty() const { return faulty_; }
  static constexpr size_t kMostDepth = 128;

 private:
  std::string open_;  // brackets
  char quote_ = 0;
  bool escaped_ = false, faulty_ = false;
};

// Reads a whole call. *arguments is a JSON object whose values are the literals: strings, numbers, True,
// False, None, lists, tuples and dictionaries with keys that are strings. False where the text is something
// else; *name and *arguments are then unspecified.
bool ReadPythonCall(std::string_view text, std::string* name, std::string* arguments);

}  // namespace prefixd
