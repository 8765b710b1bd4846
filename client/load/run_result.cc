#include "client/load/run_result.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace attnd::load {

std::string NameOf(LoadModel model) {
  switch (model) {
    case LoadModel::kClosed:
      return "closed";
    case LoadModel::kConstant:
      return "constant";
    case LoadModel::kPoisson:
      return "poisson";
    case LoadModel::kRamp:
      return "ramp";
  }
  return "unknown";
}

std::string Describe(const LoadPoint& point) {
  // Six digits, so that points of a fine sweep stay apart.
  switch (point.model) {
    case LoadModel::kClosed:
      return absl::StrCat(point.concurrency, " in flight");
    case LoadModel::kConstant:
    case LoadModel::kPoisson:
      return absl::StrFormat("%.6g/s %s", point.rate, NameOf(point.model));
    case LoadModel::kRamp:
      return absl::StrFormat("%.6g to %.6g/s", point.rate, point.end_rate);
  }
  return "unknown";
}

}  // namespace attnd::load
