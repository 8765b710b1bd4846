// Statistics of one row of the float64 oracle's weights, and how far one in float32 may be
// from them.
#ifndef ATTND_TESTS_SUPPORT_ORACLE_FIGURES_H_
#define ATTND_TESTS_SUPPORT_ORACLE_FIGURES_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "core/attention/diagnostics.h"
#include "core/attention/request.h"

namespace attnd {

// What float32 adds to a figure beside what its weights are off.
inline constexpr double kRounding = 0x1p-20;

// One row of the oracle's weights.
struct OracleRow {
  const double* weights = nullptr;
  const double* scores = nullptr;
  int64_t keys = 0;
  // Whether lengths leave it.
  bool used = false;
  // The key at its position.
  int64_t position = 0;

  [[nodiscard]] bool Sees(int64_t k) const { return used && scores[k] != -std::numeric_limits<double>::infinity(); }
  [[nodiscard]] double Total() const { return std::accumulate(weights, weights + keys, 0.0); }
  [[nodiscard]] bool Counts() const { return used && Total() > 0; }
  [[nodiscard]] bool IsNan() const { return std::isnan(Total()); }
  // A sink outweighs its keys so far that float32 may not show them.
  [[nodiscard]] bool MayVanish() const { return Counts() && Total() < 0x1p-80; }
};

// A figure and how far one in float32 may be from it.
struct Figure {
  double value = 0;
  double tolerance = 0;

  Figure& operator+=(const Figure& other) {
    value += other.value;
    tolerance += other.tolerance;
    return *this;
  }
  [[nodiscard]] Figure Over(double n) const { return {value / n, tolerance / n}; }
};

inline testing::AssertionResult Near(const std::string& what, float actual, const Figure& expected) {
  if (std::isnan(expected.value)) {
    if (std::isnan(actual)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << what << " is " << actual << ", expected NaN";
  }
  const double tolerance = expected.tolerance + kRounding * std::abs(expected.value);
  if (std::abs(static_cast<double>(actual) - expected.value) <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << what << " is " << actual << ", expected " << expected.value << " +- "
                                     << tolerance;
}

// Figures of a row whose weights are off by `off` at most.
class RowFigures {
 public:
  RowFigures(const OracleRow& row, const DiagnosticsOutput& asked, int64_t first_key, double off, bool placed)
      : row_(row), off_(off) {
    for (int64_t k = 0; k < row.keys; ++k) {
      if (row.Sees(k)) ++visible_;
    }
    const int64_t window = asked.window.value_or(4);
    Add(Statistic::kEntropy, [](double w, int64_t) { return w > 0 ? -w * std::log(w) : 0; });
    Add(Statistic::kDistance, [&](double w, int64_t k) { return w * Distance(k); });
    Mass(Statistic::kSelf, row.position, row.position + 1);
    Mass(Statistic::kPrevious, row.position - 1, row.position);
    Mass(Statistic::kNext, row.position + 1, row.position + 2);
    Mass(Statistic::kFirst, first_key, first_key + asked.first_keys.value_or(4));
    in_window_ = Mass(Statistic::kWindow, row.position - window, row.position + window + 1);
    Set(Statistic::kLargest, {*std::max_element(row.weights, row.weights + row.keys), off});
    // -x ln x changes by no more than it is at the change.
    (*this)[Statistic::kEntropy].tolerance = static_cast<double>(visible_) * -off * std::log(off);
    (*this)[Statistic::kDistance].tolerance = 0;
    for (int64_t k = 0; k < row.keys; ++k) {
      if (row.Sees(k)) (*this)[Statistic::kDistance].tolerance += off * Distance(k);
    }
    // With a sum below 1, the entropy of the weights over it; each is off by as much more.
    const double total = row.Total();
    Figure entropy = (*this)[Statistic::kEntropy].Over(total);
    entropy.value += std::log(total);
    entropy.tolerance += static_cast<double>(visible_) * off / total * (1 + std::abs(std::log(total)) + entropy.value);
    Set(Statistic::kEvenness, visible_ > 1 ? entropy.Over(log_visible()) : Figure{1, 0});
    if (placed) return;
    for (const Statistic s :
         {Statistic::kDistance, Statistic::kSelf, Statistic::kPrevious, Statistic::kNext, Statistic::kWindow}) {
      Set(s, {std::numeric_limits<double>::quiet_NaN(), 0});
    }
  }

  Figure& operator[](Statistic s) { return figures_[static_cast<size_t>(s)]; }
  [[nodiscard]] const Figure& operator[](size_t i) const { return figures_[i]; }
  [[nodiscard]] const Figure& evenness() const { return figures_[static_cast<size_t>(Statistic::kEvenness)]; }
  [[nodiscard]] double log_visible() const { return std::log(static_cast<double>(visible_)); }
  [[nodiscard]] double window_share() const { return static_cast<double>(in_window_) / static_cast<double>(visible_); }

 private:
  [[nodiscard]] double Distance(int64_t k) const { return std::abs(static_cast<double>(row_.position - k)); }
  void Set(Statistic s, Figure figure) { (*this)[s] = figure; }
  void Add(Statistic s, const std::function<double(double, int64_t)>& term) {
    for (int64_t k = 0; k < row_.keys; ++k) (*this)[s].value += term(row_.weights[k], k);
  }
  // Returns the visible keys in the range.
  int64_t Mass(Statistic s, int64_t begin, int64_t end) {
    int64_t seen = 0;
    for (int64_t k = std::max<int64_t>(0, begin); k < std::min(end, row_.keys); ++k) {
      if (!row_.Sees(k)) continue;
      (*this)[s] += {row_.weights[k], off_};
      ++seen;
    }
    return seen;
  }

  const OracleRow& row_;
  double off_;
  int64_t visible_ = 0;
  int64_t in_window_ = 0;
  std::array<Figure, kStatistics> figures_ = {};
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_ORACLE_FIGURES_H_
