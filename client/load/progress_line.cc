#include "client/load/progress_line.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

constexpr size_t kWidth = 79;
constexpr double kSecondsBetweenLines = 5;
constexpr char kEraseLine[] = "\r\x1b[K";
constexpr char kRed[] = "\x1b[31m";
constexpr char kPlain[] = "\x1b[0m";

// "01:23".
std::string FormatClock(double seconds) {
  const auto whole = static_cast<int64_t>(std::max(0.0, seconds));
  return absl::StrFormat("%02d:%02d", whole / 60, whole % 60);
}

std::string FormatFailed(int64_t failed) { return FormatCount(failed) + " failed"; }

}  // namespace

std::string DescribeProgress(const Progress& progress) {
  std::string text =
      absl::StrCat(Describe(progress.point), "  ", progress.warming_up ? "warm-up" : FormatClock(progress.seconds),
                   "  ", FormatNumber(progress.rate), "/s");
  if (progress.p99 > 0) {
    absl::StrAppend(&text, "  p50 ", FormatSeconds(progress.p50), "  p99 ", FormatSeconds(progress.p99));
  }
  absl::StrAppend(&text, "  ", FormatFailed(progress.failed), "  ", FormatClock(std::ceil(progress.seconds_left)),
                  " left");
  return text.substr(0, kWidth);
}

void ProgressLine::Show(const Progress& progress) {
  std::string text = DescribeProgress(progress);
  if (terminal_) {
    const std::string failed = FormatFailed(progress.failed);
    const size_t at = text.find(failed);
    if (progress.failed > 0 && at != std::string::npos) {
      text.insert(at + failed.size(), kPlain);
      text.insert(at, kRed);
    }
    *out_ << kEraseLine << text << std::flush;
    shown_ = true;
    return;
  }
  const std::string point = Describe(progress.point);
  const bool another_run =
      point != last_point_ || progress.warming_up != last_warming_up_ || progress.seconds < last_seconds_;
  // What a run shows at its very start is nothing yet.
  if (another_run) last_seconds_ = 0;
  last_point_ = point;
  last_warming_up_ = progress.warming_up;
  if (progress.seconds - last_seconds_ < kSecondsBetweenLines) return;
  last_seconds_ = progress.seconds;
  *out_ << text << '\n' << std::flush;
}

void ProgressLine::Clear() {
  if (!shown_) return;
  *out_ << kEraseLine << std::flush;
  shown_ = false;
}

}  // namespace attnd::load
