#include "grammar/json_formats.h"

namespace prefixd::grammar {
namespace {

// There is no year 0. February has 29 days in the years that four divides, but for most centuries.
#define PREFIXD_YEAR "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
#define PREFIXD_BY_4 "(0[48]|[2468][048]|[13579][26])"
#define PREFIXD_DAY                                                           \
  "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|" \
  "30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define PREFIXD_DATE "(" PREFIXD_YEAR "-" PREFIXD_DAY "|([0-9]{2}" PREFIXD_BY_4 "|" PREFIXD_BY_4 "00)-02-29)"
#define PREFIXD_TIME \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define PREFIXD_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define PREFIXD_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

struct Format {
  std::string_view name, regex;
};
constexpr Format kFormats[] = {
    {"date", PREFIXD_DATE},
    {"time", PREFIXD_TIME},
    {"date-time", PREFIXD_DATE "T" PREFIXD_TIME},
    {"duration",
     "P([0-9]{1,9}W|([0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}D)"
     "(T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))?|"
     "T([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S))"},
    {"email", "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,30})?@(" PREFIXD_LABEL "\\.){1,3}[A-Za-z]{2,24}"},
    {"hostname", PREFIXD_LABEL "(\\." PREFIXD_LABEL "){0,3}"},
    {"ipv4", PREFIXD_OCTET "(\\." PREFIXD_OCTET "){3}"},
    {"ipv6",
     "([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|"
     "([0-9a-fA-F]{1,4}:){1,6}:|::([0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4}|::"},
    {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
};

}  // namespace

std::string_view RegexOfFormat(std::string_view format) {
  for (const Format& one : kFormats)
    if (one.name == format) return one.regex;
  return "";
}

}  // namespace prefixd::grammar
