"use strict";

// What is shown of one run at a time.
const Runs = (() => {
  function showFigures(run) {
    const verified = run.verification.against_oracle + run.verification.against_first + run.verification.against_local;
    const figures = [
      ["answered", rate(run.throughput_per_second)],
      ["response p50", time(run.response_seconds.p50)],
      ["response p99", time(run.response_seconds.p99)],
      ["largest response", time(run.response_seconds.max)],
      ["failed", percent(run.error_share)],
      verified > 0 ? ["wrong answers", count(run.verification.failures)] : ["answers not verified", "–"],
    ];
    element("figures").replaceChildren(...figures.map(
        ([label, value]) =>
            node("div", {}, node("span", {class: "value"}, value), node("span", {class: "label"}, label))));
  }

  function showPercentiles(run) {
    // The maximum, at 100 %, stands where the next nine would begin to matter.
    const largest = Math.max(run.response_seconds.count, run.service_seconds.count, 10);
    const end = Math.log10(largest) + 0.15;
    const place = (share) => (share >= 1 ? end : Math.min(end, -Math.log10(1 - share)));
    const nines = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999].filter((s) => place(s) < end - 0.3);
    const series = (name, tone, times, dash) => ({
      name,
      tone,
      dash,
      points: times.curve.map(
          (p) => ({x: place(p.share), y: p.seconds, heading: p.share === 1 ? "100 % (max)" : exactPercent(p.share)}))
    });
    const all = [
      series("response time, from when a call was due", "response", run.response_seconds),
      series("service time, from when it was sent", "service", run.service_seconds, "6 4")
    ];
    Charts.lines(element("percentiles"), {
      label: "Latency by percentile of calls",
      x: {
        scale: {at: (x) => x / end, ticks: [...nines.map(place), end]},
        title: "share of calls that took no longer",
        format: (x) => (x === end ? "max" : exactPercent(1 - Math.pow(10, -x))),
        tip: () => ""
      },
      y: latencyAxis("latency", all),
      series: all
    });
  }

  // Percentiles are told apart by how far they are from 100 %.
  function exactPercent(share) {
    const left = 100 * (1 - share);
    const decimals = left >= 10 || left <= 0 ? 0 : Math.min(8, 1 - Math.floor(Math.log10(left) + 1e-9));
    return (100 - left).toFixed(decimals).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "") + " %";
  }

  const overTime = (run) => ({
    scale: Charts.linearScale(0, Math.max(run.measured_seconds, run.intervals.length, 1), 8),
    title: "seconds since the start of the measurement",
    format: short(number),
    tip: (x) => `second ${short(number)(x - 0.5)} to ${short(number)(x + 0.5)}`
  });

  function showOverTime(run) {
    const middle = (interval) => interval.begin_seconds + 0.5;
    const latency = (name, tone, times, key, dash) =>
        ({name, tone, dash, points: run.intervals.map((i) => ({x: middle(i), y: i[times][key]}))});
    const all = [
      latency("response p99", "response", "response_seconds", "p99"),
      latency("service p99", "service", "service_seconds", "p99", "6 4"),
      latency("response p50", "gather", "response_seconds", "p50", "2 4"),
      latency("response max", "max", "response_seconds", "max", "1 4")
    ];
    Charts.lines(element("latency"), {
      label: "Latency of the calls that were due in each second",
      x: overTime(run),
      y: latencyAxis("latency of calls due in each second", all),
      series: all,
      empty: "The run was too short for latencies by second."
    });
    const counts = run.intervals.flatMap((i) => [i.answered, i.failed]);
    Charts.lines(element("throughput"), {
      label: "Calls answered and failed in each second",
      x: overTime(run),
      y: {
        scale: Charts.linearScale(0, 1.1 * Math.max(...counts, 1)),
        title: "calls in each second",
        format: short(number),
        tip: count
      },
      series: [
        {
          name: "failed",
          tone: "bad",
          bars: true,
          box: true,
          format: count,
          points: run.intervals.map((i) => ({x: middle(i), y: i.failed}))
        },
        {
          name: "answered",
          tone: "response",
          format: count,
          points: run.intervals.map((i) => ({x: middle(i), y: i.answered}))
        }
      ],
      empty: "The run was too short for counts by second."
    });
  }

  const phases = [
    ["queue_seconds", "queue"], ["gather_seconds", "gather"], ["compute_seconds", "compute"], ["rest_seconds", "rest"]
  ];

  function showPhases() {
    const measured = runs.filter((run) => isNumber(run.phases.compute_seconds.mean));
    element("phases-section").hidden = measured.length === 0;
    if (measured.length === 0) return;
    Charts.stackedBars(
        element("phases"),
        measured.map((run) => ({name: nameOf(run), values: phases.map(([key]) => run.phases[key].mean || 0)})),
        phases.map(([, name]) => ({name, tone: name})), time, "Mean service time by phase");
  }

  function showPhaseNumbers(run) {
    const keys = ["mean", "p50", "p90", "p99", "max"];
    const rows = [...phases.map(([key, name]) => [name, run.phases[key]]), ["service time", run.service_seconds]];
    table(
        element("phase-numbers"), [nameOf(run), ...keys],
        rows.map(
            ([name, times]) => node(
                "tr", {class: "first"}, node("th", {scope: "row"}, name),
                ...keys.map((key) => cell(times[key], time)))));
  }

  function show(run) {
    showNumbers(run);
    showFigures(run);
    showPercentiles(run);
    explain(element("explanation"), run);
    showOverTime(run);
    showPhaseNumbers(run);
    showDetails(element("details"), run);
  }

  function start() {
    if (runs.length === 0) return;
    showPhases();
    const choice = element("run");
    runs.forEach((run, i) => choice.append(node("option", {value: String(i)}, nameOf(run))));
    choice.addEventListener("change", () => show(runs[Number(choice.value)]));
    element("chooser").hidden = runs.length < 2;
    // Of a search for capacity the last run at it, otherwise the first.
    const wanted = report.capacity ?
        runs.findLastIndex((run) => run.point.rate_per_second === report.capacity.rate_per_second) :
        0;
    choice.value = String(Math.max(0, wanted));
    show(runs[Number(choice.value)]);
  }

  return {start};
})();
