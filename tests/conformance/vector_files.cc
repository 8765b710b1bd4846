#include "tests/conformance/vector_files.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace attnd {

namespace fs = std::filesystem;

std::vector<std::string> VectorDirectories(const std::string& usual, const char* name) {
  std::vector<std::string> directories;
  if (fs::is_directory(usual)) directories.push_back(usual);
  const char* named = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::istringstream list(named != nullptr ? named : "");
  for (std::string directory; std::getline(list, directory, ':');) {
    const bool again = std::any_of(directories.begin(), directories.end(), [&](const std::string& other) {
      return fs::weakly_canonical(other) == fs::weakly_canonical(directory);
    });
    if (!directory.empty() && !again) directories.push_back(directory);
  }
  return directories;
}

std::vector<std::string> SafetensorsIn(const std::string& directory) {
  std::vector<std::string> files;
  if (!fs::is_directory(directory)) return files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace attnd
