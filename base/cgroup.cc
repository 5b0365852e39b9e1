#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

namespace prefixd {
namespace {

namespace fs = std::filesystem;

void AddFolders(int version, const fs::path& mount, fs::path group, std::vector<CgroupFolder>* folders) {
  for (; !group.empty(); group = group.parent_path()) folders->push_back({version, mount / group});
  folders->push_back({version, mount});
}

}  // namespace

std::vector<CgroupFolder> CgroupFolders(const fs::path& root, std::string_view controller) {
  std::vector<CgroupFolder> folders;
  const fs::path mounts = root / "sys/fs/cgroup";
  const std::string wanted = "," + std::string(controller) + ",";
  std::ifstream groups(root / "proc/self/cgroup");  // lines "0::/group" (v2) or "4:cpu,cpuacct:/group" (v1)
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    // The group of a process that was moved out of the root of its namespace. Its folder is not visible.
    if (std::ranges::find(group, fs::path("..")) != group.end()) group.clear();
    if (controllers.empty()) {
      AddFolders(2, mounts, group, &folders);
      AddFolders(2, mounts / "unified", group,
                 &folders);  // its place beside mounted hierarchies of version 1
    } else if (("," + controllers + ",").find(wanted) != std::string::npos) {
      // Most systems link "cpu" to "cpu,cpuacct"; some have only the folder with the whole list.
      std::error_code absent;
      const fs::path mount = mounts / controller;
      AddFolders(1, fs::exists(mount, absent) ? mount : mounts / controllers, group, &folders);
    }
  }
  return folders;
}

}  // namespace prefixd
