// Where recorded vectors are.
#ifndef ATTND_TESTS_CONFORMANCE_VECTOR_FILES_H_
#define ATTND_TESTS_CONFORMANCE_VECTOR_FILES_H_

#include <string>
#include <vector>

namespace attnd {

// Directories given by the environment variable `name` (separated by colons), whether they are
// there or not, after `usual` if that is there. Each once.
std::vector<std::string> VectorDirectories(const std::string& usual, const char* name);

// The .safetensors files of a directory, sorted. None if it is not there.
std::vector<std::string> SafetensorsIn(const std::string& directory);

}  // namespace attnd

#endif  // ATTND_TESTS_CONFORMANCE_VECTOR_FILES_H_
