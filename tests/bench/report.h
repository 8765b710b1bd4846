// The table for people and the JSON for tools.
#ifndef ATTND_TESTS_BENCH_REPORT_H_
#define ATTND_TESTS_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "tests/bench/measure.h"

namespace attnd::bench {

// Lines of the table, printed as results come.
std::string MachineLines(const MachineResult& machine, EngineKind engine);
std::string TableHead();
std::string TableLine(const RowResult& result);

// Rows that a peer can compute, beside it: machine, versions and a table in Markdown.
std::string PeerTable(const Peers& peers, EngineKind engine, const std::vector<RowResult>& rows);

// The whole report as JSON text.
std::string Json(const MachineResult& machine, const Peers& peers, EngineKind engine,
                 const std::vector<RowResult>& rows);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_REPORT_H_
