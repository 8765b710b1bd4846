// The results of a load test as text.
#ifndef ATTND_CLIENT_LOAD_REPORT_TABLE_H_
#define ATTND_CLIENT_LOAD_REPORT_TABLE_H_

#include <string>

#include "client/load/run_result.h"

namespace attnd::load {

// At most 100 columns wide, save for words that are longer: who was asked for what; a row per
// point with percentiles, throughput and errors, where runs at the same point become one row
// of means with 95 % confidence intervals; then phases, statuses, verification, cost,
// capacity, conditions and warnings.
std::string RenderTable(const LoadReport& report);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_REPORT_TABLE_H_
