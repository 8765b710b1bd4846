// The table for people and the JSON for tools.
#ifndef ATTND_TESTS_BENCH_REPORT_H_
#define ATTND_TESTS_BENCH_REPORT_H_

#include <map>
#include <string>
#include <vector>

#include "tests/bench/budget.h"
#include "tests/bench/measure.h"
#include "tests/bench/peers.h"

namespace attnd::bench {

// All that was found out.
struct Report {
  EngineKind engine = EngineKind::kOnednn;
  MachineResult machine;
  Peers peers;
  std::vector<RowResult> rows;
  // By row.
  std::map<std::string, Budget> budgets;
};

// Lines of the table, printed as results come.
std::string MachineLines(const Report& report);
std::string TableHead();
std::string TableLine(const RowResult& result);

// Rows that a peer can compute, beside it: machine, versions and a table in Markdown.
std::string PeerTable(const Report& report);

// Cycles per visible pair, in Markdown.
std::string BudgetTable(const Report& report);

// The whole report as JSON text.
std::string Json(const Report& report);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_REPORT_H_
