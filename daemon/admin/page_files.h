// The files of the page of the admin listener (daemon/admin/page), as they were when the program was built.
// Constants; any thread.
#pragma once

#include <span>
#include <string_view>

namespace prefixd {

struct PageFile {
  std::string_view path;  // of its route: "/" for the document, "/NAME" for the others
  std::string_view content_type;
  std::string_view text;
};

std::span<const PageFile> PageFiles();

}  // namespace prefixd
