"use strict";

// What there is to say of a run beside its plots.

// Lengths of runs, which are round numbers.
const seconds = (value) => `${Number(value.toPrecision(4))} s`;

function showDetails(host, run) {
  host.replaceChildren();
  const range = (times) => `p50 ${time(times.p50)}, p99 ${time(times.p99)}, max ${time(times.max)}`;
  const add = (title, pairs) =>
      host.append(node("div", {}, node("h3", {}, title), facts(node("dl", {class: "facts"}), pairs)));
  if (run.warnings.length > 0) add("Warnings", run.warnings.map((text, i) => [String(i + 1), text]));
  const message = (status) => (status.first_message ? `; the first: ${status.first_message}` : "");
  add("Statuses", Object.entries(run.statuses).map(([name, status]) => [name, count(status.calls) + message(status)]));
  add("Calls", [
    [
      "Measured",
      `${count(run.calls)} in ${seconds(run.measured_seconds)}, after ${seconds(run.warm_up_seconds)} of warm-up`
    ],
    ["Retries", count(run.retries)],
    ["Told to come back", count(run.pushbacks)],
    ["Computed", isNumber(run.gflop_per_second) ? `${number(run.gflop_per_second)} GFLOP/s` : "–"],
    ["Sent", `${bytes(run.request_bytes_per_second)}/s`],
    ["Received", `${bytes(run.response_bytes_per_second)}/s`],
    ["Send delay", range(run.send_delay_seconds)],
  ]);
  const v = run.verification;
  add("Answers", [
    [
      "Against float64",
      `${count(v.against_oracle)}, ${count(v.oracle_failures)} out of tolerance` +
          (v.against_oracle > 0 ? `; largest error ${number(v.worst_error_tolerances)} of the tolerance` : "")
    ],
    ["Against the first", `${count(v.against_first)}, ${count(v.identity_failures)} of other bits`],
    ["Against local", `${count(v.against_local)}, ${count(v.local_failures)} of other bits`],
    ...(v.first_failure ? [["First failure", node("span", {class: "bad-text"}, v.first_failure)]] : [])
  ]);
  const server = run.server;
  add("Cost", [
    [
      "Client CPU",
      `${time(run.client.cpu_seconds_per_call)} per call; busiest thread ${
          percent(run.client.busiest_thread_share)} of the time`
    ],
    ["Taken by the host", `${percent(run.client.stolen_share)} of the CPU time of the client's machine`],
    [
      "Server CPU",
      server ? `${time(server.cpu_seconds_per_request)} per request; ${bytes(server.resident_bytes)} resident` :
               "not known: no metrics were read"
    ],
    ...(server ? [["Server ended", `${count(server.handled)} requests, ${count(server.refused)} refused for load`]] :
                 [])
  ]);
  const stable = run.stability;
  add("Steadiness", [
    ["Stable", stable.reached ? "yes: three windows in a row within 10 %" : "no"],
    [
      "Last 3 windows",
      isNumber(stable.throughput_spread) ?
          `throughput within ${percent(stable.throughput_spread)}, median within ${percent(stable.latency_spread)}` :
          "the run was too short"
    ]
  ]);
  const sent = run.arrivals;
  if (sent) {
    const kept = sent.distance <= sent.distance_limit ? "kept" : "not kept";
    const limit = sent.distance_limit;
    add("Send times", [
      ["Rate", `${rate(sent.rate_wanted_per_second)} wanted, ${rate(sent.rate_sent_per_second)} sent`],
      [
        "Schedule",
        run.point.model === "poisson" ?
            `${kept}: Kolmogorov–Smirnov distance ${number(sent.distance)}, limit ${number(limit)}` :
            `${kept}: ${percent(sent.distance)} of gaps more than a tenth late, limit ${percent(limit)}`
      ],
      ["Variation of gaps", number(sent.variation)]
    ]);
  }
  if (run.works.length > 1) {
    add("Response time by request",
        run.works.map((work) => [work.name, `${count(work.calls)} calls; ${range(work.response_seconds)}`]));
  }
}
