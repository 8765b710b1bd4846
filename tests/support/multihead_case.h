// Random valid requests for multi-head attention, and ways to run them.
#ifndef ATTND_TESTS_SUPPORT_MULTIHEAD_CASE_H_
#define ATTND_TESTS_SUPPORT_MULTIHEAD_CASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/linear/multihead_job.h"
#include "core/linear/multihead_reference.h"
#include "core/linear/multihead_request.h"
#include "core/linear/projection_weights.h"
#include "tests/support/random.h"

namespace attnd {

// Owns what request and weights refer to. Copies share it.
struct MultiHeadCase {
  MultiHeadRequest request;
  ProjectionWeights weights;
  std::vector<std::shared_ptr<const void>> owners;

  // One line for SCOPED_TRACE.
  [[nodiscard]] std::string ToString() const;
  // Aborts the test if they are refused.
  [[nodiscard]] WeightShapes Shapes() const;
  [[nodiscard]] MultiHeadPlan Plan() const;
};

// A tensor of normal numbers times `factor`, each of which `dtype` holds.
TensorView RandomTensor(Random& random, DataType dtype, std::vector<int64_t> shape, float factor,
                        std::vector<std::shared_ptr<const void>>& owners);

// The same case for the same seed.
MultiHeadCase RandomMultiHeadCase(uint64_t seed);

// The elements of a result.
std::vector<float> FloatsOf(const ResultTensor& tensor);

// Runs the request as the server does, with so many worker threads (0: on this one). Result
// memory holds NaN before.
absl::StatusOr<MultiHeadResult> RunMultiHead(const MultiHeadCase& c, int workers = 0);

// Runs requests with equal weights together.
absl::StatusOr<std::vector<MultiHeadResult>> RunShared(const std::vector<MultiHeadCase>& cases);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_MULTIHEAD_CASE_H_
