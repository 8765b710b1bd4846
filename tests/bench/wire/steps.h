// What is measured of the wire, request by request.
#ifndef ATTND_TESTS_BENCH_WIRE_STEPS_H_
#define ATTND_TESTS_BENCH_WIRE_STEPS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/peers.h"
#include "tests/bench/wire/services.h"

namespace attnd::bench {

// A line of the table.
struct Line {
  std::string name;
  std::string measure;
  double value = 0;
  // 0: none is set.
  double target = 0;
  bool met = false;
  // What it was computed from, for people.
  std::string parts;
};

// What takes turns. All but the last two are there.
struct Bench {
  std::unique_ptr<GrpcService> attnd;
  std::unique_ptr<GrpcService> echo;
  std::unique_ptr<TcpService> tcp;
  // PyTorch behind Python's gRPC, and in a process without any.
  std::unique_ptr<GrpcService> torch_service;
  Peer* torch = nullptr;
  int rounds = 0;
};

// The servers; nullptr if one does not start.
std::unique_ptr<GrpcService> StartAttnd();
std::unique_ptr<GrpcService> StartEcho();

// One kind of request.
struct Step {
  std::string name;
  std::function<void(std::vector<Line>&)> run;
};

// In the order of the table. `bench` must outlive them.
std::vector<Step> StepsOf(Bench& bench);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_WIRE_STEPS_H_
