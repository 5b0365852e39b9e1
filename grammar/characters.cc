#include "grammar/characters.h"

#include <algorithm>
#include <string>
#include <vector>

#include "grammar/json_text.h"

namespace prefixd::grammar {

ExprId Characters::OneOf(const CodePointSet& set) const {
  if (in_ == In::kText) return to_.CodePoints(set);
  CodePointSet plain;
  std::vector<ExprId> choice;
  for (CodePointRange range : set) {
    for (; range.first <= std::min<uint32_t>(range.last, '\\'); ++range.first) {
      const auto c = static_cast<char>(range.first);
      if (range.first >= 0x20 && c != '"' && c != '\\') {
        plain.push_back({range.first, range.first});
        continue;
      }
      const std::string quoted = JsonText::Quoted({&c, 1});
      choice.push_back(to_.Text(std::string_view(quoted).substr(1, quoted.size() - 2)));
    }
    if (range.first <= range.last) plain.push_back(range);
  }
  if (!plain.empty()) choice.push_back(to_.CodePoints(Normal(plain)));
  return choice.size() == 1 ? choice[0] : to_.Choice(std::move(choice));
}

ExprId Characters::Literal(std::string_view utf8) const {
  if (in_ == In::kText) return to_.Text(utf8);
  const std::string quoted = JsonText::Quoted(utf8);
  return to_.Text(std::string_view(quoted).substr(1, quoted.size() - 2));
}

}  // namespace prefixd::grammar
