// The part of expected_summaries.h that compares bits.
#include <cstring>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "core/attention/diagnostics.h"
#include "tests/support/expected_summaries.h"

namespace attnd {
namespace {

using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

AssertionResult SameTensor(const std::string& what, const ResultTensor& a, const ResultTensor& b) {
  const bool same = a.shape == b.shape && a.data.size() == b.data.size() &&
                    (a.data.size() == 0 || std::memcmp(a.data.data(), b.data.data(), a.data.size()) == 0);
  return same ? AssertionSuccess() : AssertionFailure() << what << " differs";
}

AssertionResult SameStatistics(const std::string& what, const StatisticTensors& a, const StatisticTensors& b) {
  for (size_t i = 0; i < kStatistics; ++i) {
    const std::string name = absl::StrCat(what, ".", std::string(NameOf(static_cast<Statistic>(i))));
    if (AssertionResult same = SameTensor(name, a[i], b[i]); !same) return same;
  }
  return AssertionSuccess();
}

}  // namespace

AssertionResult SameSummaries(const AttentionResult& actual, const AttentionResult& expected) {
  const DiagnosticsResult& a = *actual.diagnostics;
  const DiagnosticsResult& e = *expected.diagnostics;
  if (AssertionResult same = SameStatistics("heads", a.heads, e.heads); !same) return same;
  if (a.rows.has_value() != e.rows.has_value()) return AssertionFailure() << "rows came once";
  if (a.rows) {
    if (AssertionResult same = SameStatistics("rows", *a.rows, *e.rows); !same) return same;
  }
  for (const auto& [what, x, y] : {std::tuple{"column_mass", &a.column_mass, &e.column_mass},
                                   std::tuple{"pattern_scores", &a.pattern_scores, &e.pattern_scores},
                                   std::tuple{"top weights", &actual.top_k->weights, &expected.top_k->weights},
                                   std::tuple{"mean", &actual.heatmap->mean, &expected.heatmap->mean},
                                   std::tuple{"max", &actual.heatmap->max, &expected.heatmap->max}}) {
    if (AssertionResult same = SameTensor(what, *x, *y); !same) return same;
  }
  if (a.column_keys != e.column_keys) return AssertionFailure() << "column_keys differ";
  if (a.patterns != e.patterns) return AssertionFailure() << "patterns differ";
  if (actual.top_k->keys != expected.top_k->keys) return AssertionFailure() << "top keys differ";
  return AssertionSuccess();
}

}  // namespace attnd
