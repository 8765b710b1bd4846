// Files of weights for tests of pictures.
#ifndef ATTND_TESTS_UNIT_HEATMAP_FILES_H_
#define ATTND_TESTS_UNIT_HEATMAP_FILES_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/attnctl/heatmap/map_from_file.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {

// Equal weights 1/8, 2/8, ...: every element tells where it is.
inline std::vector<float> Eighths(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 9) / 8;
  return values;
}

inline StoredTensor F32(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  return {name, StoredType::kF32, std::move(shape), std::as_bytes(std::span(values))};
}

inline std::string NpyOf(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
  std::string path = TempPath(name);
  EXPECT_THAT(WriteNpy(path, shape, values), IsOk());
  return path;
}

inline std::string FileOf(const std::string& name, const std::vector<StoredTensor>& tensors,
                          const std::map<std::string, std::string>& metadata = {}) {
  std::string path = TempPath(name);
  EXPECT_THAT(WriteSafetensors(path, tensors, metadata), IsOk());
  return path;
}

inline std::string FileContentsOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline MapFile From(const std::string& path) {
  MapFile file;
  file.path = path;
  return file;
}

inline const std::vector<float>& Four() {
  static const std::vector<float> values = {0.5F, 0.5F, 0.25F, 0.75F};
  return values;
}

}  // namespace attnd::attnctl

#endif  // ATTND_TESTS_UNIT_HEATMAP_FILES_H_
