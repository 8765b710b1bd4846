// Other libraries on the same shapes in the same run, each a process that takes turns with us.
#ifndef ATTND_TESTS_BENCH_PEERS_H_
#define ATTND_TESTS_BENCH_PEERS_H_

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/rows.h"

namespace attnd::bench {

// A running peers/peer.py. Thread-compatible.
class Peer {
 public:
  // Takes over `pid` and the two ends of its pipes, of which the first line has been read.
  Peer(std::string name, std::string version, std::string isa, int pid, std::FILE* questions, std::FILE* answers);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Key of the JSON report, such as "torch".
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& version() const { return version_; }
  [[nodiscard]] const std::string& isa() const { return isa_; }

  // Turns to a row and warms it up; false if the library has nothing for it.
  bool Open(const Row& row);
  // Seconds per run of as many runs as take `least_seconds`; negative if the process is gone.
  // Thread time if the row has one worker. REQUIRES: Open was true.
  double Turn(double least_seconds);

 private:
  const std::string name_;
  const std::string version_;
  const std::string isa_;
  const int pid_;
  std::FILE* const questions_;
  std::FILE* const answers_;
};

struct Peers {
  std::vector<std::unique_ptr<Peer>> started;
  // Why others did not start and what to do about it, a line each.
  std::string missing;
};

// Starts those that are installed where the environment variable ATTND_PEERS_PYTHON says, or
// for `python3`. With `isa` "avx2" only those that can be held to it.
Peers StartPeers(const std::string& isa);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_PEERS_H_
