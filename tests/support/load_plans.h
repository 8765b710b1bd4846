// Short runs of the load driver against a fake server.
#ifndef ATTND_TESTS_SUPPORT_LOAD_PLANS_H_
#define ATTND_TESTS_SUPPORT_LOAD_PLANS_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "client/load/driver.h"
#include "client/load/run_result.h"
#include "client/load/work.h"

namespace attnd::load {

// A request that only a fake takes.
inline Work MakeWork(const std::string& name = "any", double weight = 1) {
  const grpc::Slice bytes("a request of which nobody reads a word");
  Work work;
  work.name = name;
  work.method = "/attnd.v1.AttentionService/Attend";
  work.message = grpc::ByteBuffer(&bytes, 1);
  work.weight = weight;
  work.flops = 1000;
  return work;
}

inline RunPlan ClosedLoop(int concurrency, Duration duration) {
  RunPlan plan;
  plan.point.concurrency = concurrency;
  plan.warm_up = Duration(0);
  plan.duration = duration;
  return plan;
}

inline RunPlan OpenLoop(LoadModel model, double rate, Duration duration) {
  RunPlan plan;
  plan.point.model = model;
  plan.point.rate = rate;
  plan.point.end_rate = rate;
  plan.warm_up = Duration(0);
  plan.duration = duration;
  return plan;
}

// Fails the test, and returns nothing of use, if there is no result.
inline RunResult RunLoad(const DriverOptions& options, const std::vector<Work>& works, const RunPlan& plan,
                         const std::atomic<bool>& stop = false,
                         const std::function<void(const Progress&)>& progress = nullptr) {
  Driver driver(options, works, nullptr);
  if (const auto connected = driver.Connect(stop); !connected.ok()) ADD_FAILURE() << connected;
  auto result = driver.Run(plan, stop, progress);
  if (result.ok()) return *std::move(result);
  ADD_FAILURE() << result.status();
  return {};
}

}  // namespace attnd::load

#endif  // ATTND_TESTS_SUPPORT_LOAD_PLANS_H_
