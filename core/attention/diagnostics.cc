#include "core/attention/diagnostics.h"

namespace attnd {

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

}  // namespace attnd
