// Files that a test writes and nobody has to clear away.
#ifndef ATTND_TESTS_SUPPORT_TEMP_PATH_H_
#define ATTND_TESTS_SUPPORT_TEMP_PATH_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace attnd {

// `name` in a directory that belongs to this process and goes when it exits. Thread-safe.
inline std::string TempPath(const std::string& name) {
  struct Directory {
    std::string path = ::testing::TempDir() + "attnd_test_XXXXXX";
    Directory() { EXPECT_NE(mkdtemp(path.data()), nullptr); }
    ~Directory() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
  };
  static const Directory directory;
  return directory.path + "/" + name;
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_TEMP_PATH_H_
