// A file that was never written: bytes as a reader gets them.
#ifndef ATTND_TESTS_SUPPORT_FILE_CONTENTS_H_
#define ATTND_TESTS_SUPPORT_FILE_CONTENTS_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "core/runtime/file.h"

namespace attnd {

inline FileContents Contents(const std::string& text) {
  auto data = std::make_unique<std::byte[]>(text.size());
  std::memcpy(data.get(), text.data(), text.size());
  return {std::move(data), text.size()};
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_FILE_CONTENTS_H_
