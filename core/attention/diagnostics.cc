#include "core/attention/diagnostics.h"

#include <algorithm>
#include <utility>

namespace attnd {
namespace {

constexpr double kDecisive = 0.5;
constexpr double kUniform = 0.95;
constexpr double kBroad = 0.85;
// Times the share that equal weights have.
constexpr double kLocalGain = 2;

HeadPattern Found(Pattern pattern, double score) { return {pattern, static_cast<float>(score)}; }

}  // namespace

std::string_view NameOf(Statistic statistic) {
  constexpr std::array<std::string_view, kStatistics> kNames = {"entropy",   "evenness",   "distance",
                                                                "largest",   "self_mass",  "previous_mass",
                                                                "next_mass", "first_mass", "window_mass"};
  return kNames[static_cast<size_t>(statistic)];
}

std::string_view NameOf(Pattern pattern) {
  constexpr std::string_view kNames[] = {"empty",  "diagonal", "previous", "next",  "sink",
                                         "column", "uniform",  "broad",    "local", "mixed"};
  return kNames[static_cast<size_t>(pattern)];
}

HeadPattern ClassifyHead(const PatternMasses& masses) {
  if (masses.empty) return {};
  const Pattern column = masses.column_is_first ? Pattern::kSink : Pattern::kColumn;
  const std::array candidates = {std::pair{Pattern::kDiagonal, masses.self},
                                 std::pair{Pattern::kPrevious, masses.previous}, std::pair{Pattern::kNext, masses.next},
                                 std::pair{column, masses.column}};
  const auto& [pattern, mass] = *std::max_element(candidates.begin(), candidates.end(),
                                                  [](const auto& a, const auto& b) { return a.second < b.second; });
  if (mass > kDecisive) return Found(pattern, mass);
  if (masses.evenness >= kUniform) return Found(Pattern::kUniform, masses.evenness);
  if (masses.evenness >= kBroad) return Found(Pattern::kBroad, masses.evenness);
  if (masses.window > kDecisive && masses.window >= kLocalGain * masses.window_share) {
    return Found(Pattern::kLocal, masses.window);
  }
  return Found(Pattern::kMixed, mass);
}

}  // namespace attnd
