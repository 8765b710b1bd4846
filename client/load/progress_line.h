// What a load test is doing right now, for who waits for it.
#ifndef ATTND_CLIENT_LOAD_PROGRESS_LINE_H_
#define ATTND_CLIENT_LOAD_PROGRESS_LINE_H_

#include <ostream>
#include <string>

#include "client/load/driver.h"

namespace attnd::load {

// "500/s poisson  00:04  498/s  p50 1.23 ms  p99 4.5 ms  0 failed  00:06 left", at most 79
// characters.
std::string DescribeProgress(const Progress& progress);

// On a terminal one line that is written over and over, elsewhere a line every five seconds
// of a run and none of color. Thread-compatible.
class ProgressLine {
 public:
  // `out` must outlive it.
  ProgressLine(std::ostream* out, bool terminal) : out_(out), terminal_(terminal) {}
  // Clears the line.
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const Progress& progress);

  // Makes way for other text: on a terminal the line goes, until it is next shown.
  void Clear();

 private:
  std::ostream* out_;
  bool terminal_;
  bool shown_ = false;
  // Of the last line that was written elsewhere than on a terminal.
  std::string last_point_;
  bool last_warming_up_ = false;
  double last_seconds_ = 0;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_PROGRESS_LINE_H_
