// The control groups of this process, version 2 and version 1: the folders with the limits of a controller.
//
// Threads: any. Every call reads files.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace prefixd {

struct CgroupFolder {
  int version;  // 1 or 2; the names of the files in the folder differ
  std::filesystem::path path;
};

// The folders of `controller`, as "cpu", from the group of this process up to the root, in every hierarchy
// that may have it. A limit of a group holds for all groups below it, so the lowest limit in these folders
// binds the process. Some may be absent: a container sees the paths of the host, but its own group at the
// root.
//
// `root` is "/"; tests create /proc and /sys below another folder.
std::vector<CgroupFolder> CgroupFolders(const std::filesystem::path& root, std::string_view controller);

}  // namespace prefixd
