// Parts of a report's text below its tables. Of this folder's sources only.
#ifndef ATTND_CLIENT_LOAD_REPORT_NOTES_H_
#define ATTND_CLIENT_LOAD_REPORT_NOTES_H_

#include <string>
#include <vector>

#include "client/load/run_result.h"

namespace attnd::load {

// Columns of a report's text.
inline constexpr int kReportWidth = 100;

// The runs at one point, in their order.
struct PointRuns {
  std::string name;
  std::vector<const RunResult*> runs;
};
// In the order in which points first come. `report` must outlive the result.
std::vector<PointRuns> RunsByPoint(const LoadReport& report);

// What was sent to whom.
std::string DescribeSetup(const LoadReport& report);
// Each empty if there is nothing to tell.
std::string DescribeStatuses(const std::vector<PointRuns>& points);
std::string DescribeArrivals(const std::vector<PointRuns>& points);
std::string DescribeVerification(const LoadReport& report);
std::string DescribeCapacity(const LoadReport& report);
std::string DescribeConditions(const LoadReport& report);
// One of each kind, and how often there are more.
std::string DescribeWarnings(const LoadReport& report);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_REPORT_NOTES_H_
