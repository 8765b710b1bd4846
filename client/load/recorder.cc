#include "client/load/recorder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace attnd::load {
namespace {

std::string NameOf(const grpc::Status& status) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
}

Interval IntervalNumber(size_t i) {
  Interval interval;
  interval.begin = static_cast<double>(i);
  return interval;
}

void Resize(std::vector<Interval>* intervals, size_t size) {
  while (intervals->size() < size) intervals->push_back(IntervalNumber(intervals->size()));
}

void AddTo(StatusCount* sum, const StatusCount& more) {
  sum->calls += more.calls;
  if (sum->first_message.empty()) sum->first_message = more.first_message;
}

}  // namespace

Recorder::Recorder(const std::vector<Work>& works, Time measured_begin, std::optional<Duration> good_latency,
                   size_t max_arrivals)
    : works_(works), begin_(measured_begin), good_latency_(good_latency), max_arrivals_(max_arrivals) {
  for (const Work& work : works) {
    request_bytes_.push_back(static_cast<double>(work.message.Length()));
    sums_.works.push_back({work.name, 0, {}});
  }
  if (good_latency.has_value()) sums_.good = 0;
}

void Recorder::Record(const CallRecord& call) {
  RecordLive(call);
  if (!call.measured) return;
  ++sums_.calls;
  ++sums_.works[call.work].calls;
  sums_.retries += call.retries;
  sums_.pushbacks += call.pushbacks;
  AddTo(&sums_.statuses[NameOf(call.status)], {1, call.status.error_message()});
  if (arrivals_.size() < max_arrivals_) arrivals_.push_back({call.intended - begin_, call.first_sent - begin_});
  if (call.status.ok()) {
    RecordAnswer(call);
    RecordResponse(call);
    return;
  }
  ++IntervalAt(call.done)->failed;
  // Without it, the calls that took longest would be those that no percentile shows.
  if (call.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) RecordResponse(call);
}

void Recorder::RecordGivenUp(Duration waited) {
  ++sums_.given_up;
  sums_.longest_given_up = std::max(sums_.longest_given_up, Seconds(waited));
}

void Recorder::RecordResponse(const CallRecord& call) {
  const Duration response = call.done - call.intended;
  sums_.response.Record(response);
  sums_.works[call.work].response.Record(response);
  IntervalAt(call.intended)->response.Record(response);
}

void Recorder::RecordAnswer(const CallRecord& call) {
  const Duration response = call.done - call.intended;
  const Duration service = call.done - call.sent;
  ++sums_.answered;
  if (good_latency_.has_value() && response <= *good_latency_) ++*sums_.good;
  sums_.flops += works_[call.work].flops;
  sums_.request_bytes += request_bytes_[call.work];
  sums_.response_bytes += static_cast<double>(call.response_bytes);
  sums_.service.Record(service);
  sums_.send_delay.Record(call.first_sent - call.intended);
  if (call.timings.has_value()) RecordTimings(*call.timings, service);
  ++IntervalAt(call.done)->answered;
  IntervalAt(call.intended)->service.Record(service);
  stability_.Record(call.done - begin_, response);
  last_answer_ = std::max(last_answer_, call.done - begin_);
}

void Recorder::RecordTimings(const ServerTimings& timings, Duration service) {
  sums_.queue.Record(timings.queue);
  sums_.gather.Record(timings.gather);
  sums_.compute.Record(timings.compute);
  sums_.rest.Record(std::max(Duration(0), service - timings.queue - timings.gather - timings.compute));
}

Interval* Recorder::IntervalAt(Time time) {
  const auto i = static_cast<size_t>(std::max(Duration(0), time - begin_) / std::chrono::seconds(1));
  Resize(&sums_.intervals, i + 1);
  return &sums_.intervals[i];
}

void Recorder::RecordLive(const CallRecord& call) {
  const std::lock_guard lock(live_mutex_);
  if (call.status.ok()) {
    ++live_.answered;
    live_.response.Record(call.done - call.intended);
  } else {
    ++live_.failed;
  }
}

LiveCounts Recorder::TakeLive() {
  const std::lock_guard lock(live_mutex_);
  return {live_.answered, live_.failed, std::exchange(live_.response, {})};
}

void Recorder::Add(const Recorder& other) {
  const RunResult& more = other.sums_;
  const std::pair<LatencyHistogram*, const LatencyHistogram*> histograms[] = {
      {&sums_.response, &more.response}, {&sums_.service, &more.service}, {&sums_.send_delay, &more.send_delay},
      {&sums_.queue, &more.queue},       {&sums_.gather, &more.gather},   {&sums_.compute, &more.compute},
      {&sums_.rest, &more.rest},
  };
  for (const auto& [sum, part] : histograms) sum->Add(*part);
  for (const auto& [name, count] : more.statuses) AddTo(&sums_.statuses[name], count);
  sums_.calls += more.calls;
  sums_.given_up += more.given_up;
  sums_.longest_given_up = std::max(sums_.longest_given_up, more.longest_given_up);
  sums_.answered += more.answered;
  if (more.good.has_value()) sums_.good = sums_.good.value_or(0) + *more.good;
  sums_.retries += more.retries;
  sums_.pushbacks += more.pushbacks;
  sums_.flops += more.flops;
  sums_.request_bytes += more.request_bytes;
  sums_.response_bytes += more.response_bytes;
  Resize(&sums_.intervals, more.intervals.size());
  for (size_t i = 0; i < more.intervals.size(); ++i) {
    sums_.intervals[i].answered += more.intervals[i].answered;
    sums_.intervals[i].failed += more.intervals[i].failed;
    sums_.intervals[i].response.Add(more.intervals[i].response);
    sums_.intervals[i].service.Add(more.intervals[i].service);
  }
  for (size_t i = 0; i < more.works.size(); ++i) {
    sums_.works[i].calls += more.works[i].calls;
    sums_.works[i].response.Add(more.works[i].response);
  }
  last_answer_ = std::max(last_answer_, other.last_answer_);
  stability_.Add(other.stability_);
  arrivals_.insert(arrivals_.end(), other.arrivals_.begin(), other.arrivals_.end());
}

RunResult Recorder::Result(double seconds) const {
  RunResult result = sums_;
  result.seconds = seconds;
  const auto intervals = static_cast<size_t>(std::ceil(seconds));
  Resize(&result.intervals, intervals);
  // What came after the end is part of the sums alone.
  result.intervals.resize(intervals);
  return result;
}

}  // namespace attnd::load
