#include "tests/support/expected_summaries.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention/diagnostics.h"
#include "core/attention/reference.h"
#include "tests/support/oracle_figures.h"
#include "tests/support/random.h"
#include "tests/support/run_request.h"

namespace attnd {
namespace {

using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

AttentionOutputs OnlyWeights() {
  AttentionOutputs outputs;
  outputs.dtype = DataType::kFloat32;
  outputs.weights.emplace();
  return outputs;
}

// A head's classification hangs on comparisons; whether some of them are too near to tell.
bool TooNearToTell(const PatternMasses& m, double off) {
  const std::vector<std::pair<double, double>> compared = {
      {m.self, .5},           {m.previous, .5},  {m.next, .5},       {m.column, .5},
      {m.evenness, .95},      {m.evenness, .85}, {m.window, .5},     {m.window, 2 * m.window_share},
      {m.self, m.previous},   {m.self, m.next},  {m.self, m.column}, {m.previous, m.next},
      {m.previous, m.column}, {m.next, m.column}};
  return std::any_of(compared.begin(), compared.end(),
                     [off](const auto& pair) { return std::abs(pair.first - pair.second) <= off; });
}

class Checker {
 public:
  Checker(const RequestCase& c, const AttentionResult& result) : c_(c), result_(result) {
    RequestCase plain = c;
    plain.outputs = OnlyWeights();
    oracle_ = ReferenceAttention<double>(BuildRequest(plain));
    off_ = Expect(plain).weights_tolerance;
    for (int64_t b = 0; b < c.dims.batch; ++b) total_queries_ += c.QueryCount(b);
  }

  AssertionResult Run() {
    int64_t row = 0;
    int64_t pair = 0;
    for (int64_t b = 0; b < c_.dims.batch; ++b) {
      for (int64_t h = 0; h < c_.dims.heads; ++h) {
        std::vector<OracleRow> rows;
        for (int64_t q = 0; q < c_.QueryCount(b); ++q, ++row, pair += c_.KeyCount(b)) rows.push_back(RowAt(b, q, pair));
        for (const auto check : {&Checker::CheckTopK, &Checker::CheckDiagnostics, &Checker::CheckHeatmap}) {
          if (AssertionResult same = (this->*check)(b, h, rows); !same) {
            return AssertionFailure() << "entry " << b << ", head " << h << ": " << same.message();
          }
        }
      }
      start_ += c_.QueryCount(b);
    }
    return AssertionSuccess();
  }

 private:
  [[nodiscard]] OracleRow RowAt(int64_t b, int64_t q, int64_t pair) const {
    const AttentionOptions& options = c_.options;
    const auto at = [b](const std::vector<int64_t>& list) {
      return list.empty() ? 0 : list[list.size() == 1 ? 0 : static_cast<size_t>(b)];
    };
    int64_t shift = 0;
    if (options.alignment == Alignment::kBottomRight) shift = c_.KeyEnd(b) - c_.QueryEnd(b);
    if (options.alignment == Alignment::kOffset) shift = at(options.q_offset) - at(options.k_offset);
    return {oracle_.weights.data() + pair, oracle_.scores.data() + pair, c_.KeyCount(b), q < c_.QueryEnd(b), q + shift};
  }

  [[nodiscard]] int64_t LseAt(int64_t b, int64_t h, int64_t q) const {
    return c_.packed() ? h * total_queries_ + start_ + q : (b * c_.dims.heads + h) * c_.dims.q_len + q;
  }

  AssertionResult CheckTopK(int64_t b, int64_t h, const std::vector<OracleRow>& rows) {
    const int64_t k = c_.outputs.top_k->k;
    const auto& listed = c_.outputs.top_k->rows;
    const float* weights = result_.weights->data.floats() + weights_at_;
    for (int64_t q = 0; q < static_cast<int64_t>(rows.size());
         ++q, weights += c_.KeyCount(b), weights_at_ += c_.KeyCount(b)) {
      int64_t slot = c_.packed() ? start_ + q : q;
      int64_t count = c_.packed() ? total_queries_ : c_.dims.q_len;
      if (!listed.empty()) {
        const auto found = std::find(listed.begin(), listed.end(), slot);
        if (found == listed.end()) continue;
        slot = found - listed.begin();
        count = static_cast<int64_t>(listed.size());
      }
      const int64_t at = (((c_.packed() ? 0 : b * c_.dims.heads) + h) * count + slot) * k;
      AssertionResult same = CheckTopRow(rows[static_cast<size_t>(q)], weights, at);
      if (!same) return AssertionFailure() << "top-k of row " << q << ": " << same.message();
    }
    return AssertionSuccess();
  }

  AssertionResult CheckTopRow(const OracleRow& row, const float* own, int64_t at) const {
    std::vector<int64_t> order;
    std::vector<double> exact;
    for (int64_t k = 0; k < row.keys; ++k) {
      if (!row.Sees(k)) continue;
      order.push_back(k);
      exact.push_back(row.weights[k]);
    }
    const bool nan = row.used && row.IsNan();
    if (nan) order.clear();
    std::stable_sort(order.begin(), order.end(), [own](int64_t x, int64_t y) { return own[x] > own[y]; });
    if (!nan) std::sort(exact.begin(), exact.end(), std::greater<>());
    for (int64_t i = 0; i < c_.outputs.top_k->k; ++i) {
      const float weight = result_.top_k->weights.data.floats()[at + i];
      const int64_t key = result_.top_k->keys[static_cast<size_t>(at + i)];
      const auto n = static_cast<size_t>(i);
      const int64_t expected_key = n < order.size() ? order[n] : -1;
      const float expected = n < order.size() ? own[order[n]] : 0;
      if (key != expected_key)
        return AssertionFailure() << "key " << i << " is " << key << ", expected " << expected_key;
      if (nan ? !std::isnan(weight) : weight != expected) {
        return AssertionFailure() << "weight " << i << " is " << weight << ", expected " << expected;
      }
      if (n < order.size() && std::abs(static_cast<double>(weight) - exact[n]) > off_) {
        return AssertionFailure() << "weight " << i << " is " << weight << ", the oracle's " << exact[n];
      }
    }
    return AssertionSuccess();
  }

  AssertionResult CheckDiagnostics(int64_t b, int64_t h, const std::vector<OracleRow>& rows) {
    if (std::any_of(rows.begin(), rows.end(), [](const OracleRow& row) { return row.MayVanish(); })) {
      return AssertionSuccess();
    }
    const DiagnosticsOutput& asked = *c_.outputs.diagnostics;
    const DiagnosticsResult& result = *result_.diagnostics;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::array<Figure, kStatistics> sums = {};
    double log_visible = 0;
    double window_share = 0;
    double counted = 0;
    Figure evenness_sum;
    for (int64_t q = 0; q < static_cast<int64_t>(rows.size()); ++q) {
      const OracleRow& row = rows[static_cast<size_t>(q)];
      std::optional<RowFigures> figures;
      const bool placed = c_.options.alignment != Alignment::kUnset || c_.QueryCount(b) == c_.KeyCount(b);
      if (row.Counts()) figures.emplace(row, asked, c_.KeyBegin(b), off_, placed);
      for (size_t i = 0; i < kStatistics; ++i) {
        if (figures) sums[i] += (*figures)[i];
        if (!asked.rows) continue;
        const float actual = (*result.rows)[i].data.floats()[LseAt(b, h, q)];
        AssertionResult same = Near(absl::StrCat(std::string(NameOf(static_cast<Statistic>(i))), " of row ", q), actual,
                                    figures ? (*figures)[i] : Figure{nan, 0});
        if (!same) return same;
      }
      if (!figures) continue;
      ++counted;
      log_visible += figures->log_visible();
      evenness_sum +=
          {figures->evenness().value * figures->log_visible(), figures->evenness().tolerance * figures->log_visible()};
      window_share += figures->window_share();
    }
    const auto evenness = static_cast<size_t>(Statistic::kEvenness);
    std::array<Figure, kStatistics> means = {};
    for (size_t i = 0; i < kStatistics; ++i) means[i] = counted > 0 ? sums[i].Over(counted) : Figure{nan, 0};
    if (counted > 0) means[evenness] = log_visible > 0 ? evenness_sum.Over(log_visible) : Figure{1, 0};
    const int64_t head = b * c_.dims.heads + h;
    for (size_t i = 0; i < kStatistics; ++i) {
      const float actual = result.heads[i].data.floats()[head];
      AssertionResult same = Near(std::string(NameOf(static_cast<Statistic>(i))), actual, means[i]);
      if (!same) return same;
    }
    if (counted == 0) {
      const bool empty = result.patterns[static_cast<size_t>(head)] == Pattern::kEmpty;
      return empty ? AssertionSuccess() : AssertionFailure() << "the pattern is not empty";
    }
    return CheckColumns(b, head, rows, counted, means, window_share / counted);
  }

  AssertionResult CheckColumns(int64_t b, int64_t head, const std::vector<OracleRow>& rows, double counted,
                               const std::array<Figure, kStatistics>& means, double window_share) const {
    const DiagnosticsResult& result = *result_.diagnostics;
    std::vector<double> masses(static_cast<size_t>(c_.KeyCount(b)));
    for (const OracleRow& row : rows) {
      for (int64_t k = 0; k < row.keys && row.Counts(); ++k) masses[static_cast<size_t>(k)] += row.weights[k] / counted;
    }
    std::vector<double> sorted = masses;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const int64_t columns = c_.outputs.diagnostics->columns.value_or(4);
    const int64_t used = c_.KeyEnd(b) - c_.KeyBegin(b);
    for (int64_t i = 0; i < columns; ++i) {
      const int64_t key = result.column_keys[static_cast<size_t>(head * columns + i)];
      const float mass = result.column_mass.data.floats()[head * columns + i];
      if (i >= used) {
        if (key != -1 || mass != 0) return AssertionFailure() << "there is no column " << i << ", but one came";
        continue;
      }
      if (key < c_.KeyBegin(b) || key >= c_.KeyEnd(b)) return AssertionFailure() << "column " << i << " is key " << key;
      for (const double expected : {masses[static_cast<size_t>(key)], sorted[static_cast<size_t>(i)]}) {
        if (AssertionResult same = Near(absl::StrCat("column ", i), mass, {expected, off_}); !same) return same;
      }
    }
    // Without positions, what goes by them decides nothing.
    const auto mean = [&](Statistic s) {
      const double value = means[static_cast<size_t>(s)].value;
      return std::isnan(value) ? 0 : value;
    };
    const auto strongest = std::max_element(masses.begin(), masses.end());
    const PatternMasses exact{.self = mean(Statistic::kSelf),
                              .previous = mean(Statistic::kPrevious),
                              .next = mean(Statistic::kNext),
                              .column = *strongest,
                              .column_is_first = strongest - masses.begin() == c_.KeyBegin(b),
                              .evenness = mean(Statistic::kEvenness),
                              .window = mean(Statistic::kWindow),
                              .window_share = window_share};
    const HeadPattern expected = ClassifyHead(exact);
    const Pattern actual = result.patterns[static_cast<size_t>(head)];
    const double doubt = means[static_cast<size_t>(Statistic::kEvenness)].tolerance +
                         means[static_cast<size_t>(Statistic::kWindow)].tolerance + kRounding;
    if (actual != expected.pattern && !TooNearToTell(exact, doubt)) {
      return AssertionFailure() << "the pattern is " << NameOf(actual) << ", expected " << NameOf(expected.pattern);
    }
    if (actual != expected.pattern) return AssertionSuccess();
    return Near("pattern score", result.pattern_scores.data.floats()[head],
                {static_cast<double>(expected.score), doubt});
  }

  AssertionResult CheckHeatmap(int64_t b, int64_t /*h*/, const std::vector<OracleRow>& rows) {
    const int64_t most = c_.outputs.heatmap->cells.value_or(512);
    const int64_t q_len = c_.QueryCount(b);
    const int64_t kv_len = c_.KeyCount(b);
    const int64_t down = std::min(most, q_len);
    const int64_t across = std::min(most, kv_len);
    for (int64_t cell = 0; cell < down * across; ++cell, ++cells_at_) {
      const int64_t i = cell / across;
      const int64_t j = cell % across;
      double sum = 0;
      double max = 0;
      double pairs = 0;
      for (int64_t q = i * q_len / down; q < (i + 1) * q_len / down; ++q) {
        const OracleRow& row = rows[static_cast<size_t>(q)];
        if (!row.used || row.IsNan()) continue;
        for (int64_t k = j * kv_len / across; k < (j + 1) * kv_len / across; ++k) {
          if (!row.Sees(k)) continue;
          sum += row.weights[k];
          max = std::max(max, row.weights[k]);
          ++pairs;
        }
      }
      const double nan = std::numeric_limits<double>::quiet_NaN();
      const std::string what = absl::StrCat("cell ", i, ", ", j);
      AssertionResult same = Near("mean of " + what, result_.heatmap->mean.data.floats()[cells_at_],
                                  {pairs > 0 ? sum / pairs : nan, off_});
      if (!same) return same;
      same = Near("max of " + what, result_.heatmap->max.data.floats()[cells_at_], {pairs > 0 ? max : nan, off_});
      if (!same) return same;
    }
    return AssertionSuccess();
  }

  const RequestCase& c_;
  const AttentionResult& result_;
  ReferenceResult<double> oracle_;
  // How far a weight may be off.
  double off_ = 0;
  int64_t total_queries_ = 0;
  // Rows of the entries before, and elements that have been looked at.
  int64_t start_ = 0;
  int64_t weights_at_ = 0;
  int64_t cells_at_ = 0;
};

}  // namespace

void AskForSummaries(uint64_t seed, RequestCase& c) {
  Random random(seed ^ 0x5eed);
  const auto between = [&](int64_t low, int64_t high) { return low + random.Below(high - low + 1); };
  c.outputs = OnlyWeights();
  TopKOutput& top_k = c.outputs.top_k.emplace();
  top_k.k = between(1, std::max<int64_t>(1, c.dims.kv_len));
  if (random.Below(2) == 0) top_k.k = std::min<int64_t>(top_k.k, 3);
  int64_t queries = c.dims.q_len;
  if (c.packed()) {
    queries = 0;
    for (int64_t b = 0; b < c.dims.batch; ++b) queries += c.QueryCount(b);
  }
  for (int64_t q = 0; q < queries && random.Below(3) == 0; ++q) top_k.rows.insert(top_k.rows.begin(), q);
  DiagnosticsOutput& diagnostics = c.outputs.diagnostics.emplace();
  diagnostics.rows = random.Below(2) == 0;
  if (random.Below(2) == 0) diagnostics.first_keys = between(1, 6);
  if (random.Below(2) == 0) diagnostics.window = between(0, 9);
  if (random.Below(2) == 0) diagnostics.columns = between(0, 9);
  c.outputs.heatmap.emplace();
  if (random.Below(4) != 0) c.outputs.heatmap->cells = between(1, 12);
}

AssertionResult SummariesMatch(const RequestCase& c, const AttentionResult& result) {
  if (!result.top_k || !result.diagnostics || !result.heatmap || !result.weights) {
    return AssertionFailure() << "not all came";
  }
  return Checker(c, result).Run();
}

}  // namespace attnd
