// One head of a problem with every intermediate, cut out of what the server explains.
#ifndef ATTND_CLIENT_ATTNCTL_EXPLAIN_HEAD_H_
#define ATTND_CLIENT_ATTNCTL_EXPLAIN_HEAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/case.h"
#include "core/attention/plan.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// Row-major.
struct Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;

  [[nodiscard]] float at(int64_t row, int64_t column) const {
    return values[static_cast<size_t>(row * columns + column)];
  }
};

// A batch entry (in the layout PACKED a sequence) and a query head.
struct HeadChoice {
  int64_t batch = 0;
  int64_t head = 0;
};

// Queries and keys are rows; from `unscaled` to `weights` there is a row for each query and a
// column for each key.
struct ExplainedHead {
  HeadChoice choice;
  int64_t kv_head = 0;
  // The first ones are computed.
  int64_t queries_used = 0;
  Matrix query;
  Matrix key;
  Matrix value;
  Matrix unscaled;
  Matrix scaled;
  // With a softcap.
  std::optional<Matrix> capped;
  Matrix biased;
  Matrix visible;
  Matrix weights;
  Matrix output;
  // One for each row; different ones.
  std::vector<std::string> query_names;
  std::vector<std::string> key_names;

  [[nodiscard]] bool Sees(int64_t q, int64_t k) const { return visible.at(q, k) != 0; }
  // What biases are added to.
  [[nodiscard]] const Matrix& unbiased() const { return capped.has_value() ? *capped : scaled; }
};

// Names of `count` rows: tokens, with "[i]" behind those of which there are several; or, without
// tokens, "query 0" and so on, by `what`.
std::vector<std::string> RowNames(const std::vector<std::string>& tokens, const char* what, int64_t count);

// Fails if there is no such head, or if it has more queries, keys or features than anybody reads.
absl::Status CheckReadable(const AttentionPlan& plan, const HeadChoice& choice);

// Fails with kInternal if the reply is not what was asked for. REQUIRES: `plan` is the plan of
// the case, CheckReadable is OK, and the reply was asked to explain.
absl::StatusOr<ExplainedHead> PickHead(const Case& input, const AttentionPlan& plan, const codec::AttendReply& reply,
                                       const HeadChoice& choice);

// A query and a key.
struct Cell {
  int64_t query = 0;
  int64_t key = 0;
};

// Reads "QUERY,KEY": indices, names of rows, or tokens of which there is one.
absl::StatusOr<Cell> ReadCell(const std::string& text, const std::vector<std::string>& query_names,
                              const std::vector<std::string>& key_names);

// The last query that is used, and the key that weighs most for it. REQUIRES: there is a query
// and a key.
Cell StrongestCell(const ExplainedHead& head);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXPLAIN_HEAD_H_
