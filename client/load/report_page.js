"use strict";

// Everything that is shown is of this document.
const report = JSON.parse(document.getElementById("report").textContent);
const runs = report.runs;

const element = (id) => document.getElementById(id);

// node("p", { class: "note" }, "text", otherNode)
function node(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Numbers: three significant digits, as in the program's own text.

const isNumber = (value) => typeof value === "number";

function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.9995 || size === 0) return value.toFixed(2);
  return size < 1e-6 ? value.toExponential(2) : value.toPrecision(3);
}

function inUnits(value, units, space) {
  let chosen = units[0];
  for (const unit of units)
    if (Math.abs(value) >= 0.9995 * unit[0]) chosen = unit;
  return digits(value / chosen[0]) + space + chosen[1];
}

const timeUnits = [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"]];
const countUnits = [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]];
const byteUnits = [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]];

const time = (s) => (!isNumber(s) ? "–" : s === 0 ? "0 s" : inUnits(s, timeUnits, "\u00a0"));
const number = (n) =>
    (!isNumber(n)             ? "–" :
         n === 0              ? "0" :
         Math.abs(n) < 9999.5 ? digits(n) :
                                inUnits(n, countUnits, ""));
const rate = (n) => (isNumber(n) ? number(n) + "/s" : "–");
const bytes = (n) =>
    (!isNumber(n)            ? "–" :
         Math.abs(n) < 999.5 ? n.toFixed(0) + "\u00a0B" :
                               inUnits(n, byteUnits, "\u00a0"));
const count = (n) => (isNumber(n) ? n.toLocaleString("en-US") : "–");
const percent = (share) => {
  if (!isNumber(share)) return "–";
  const value = 100 * share;
  return (value === 0 || value === 100 ? String(value) : String(Number(value.toPrecision(value > 99 ? 5 : 2)))) +
      "\u00a0%";
};
// Marks on axes, without the zeros that fill up digits.
const short = (format) => (value) => format(value).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

// Upright, for all series of a plot.
const latencyAxis = (title, series) => ({
  scale: Charts.latencyScale(series.flatMap((s) => s.points.map((p) => p.y))),
  title,
  format: short(time),
  tip: time
});

const isOpen = (run) => run.point.model !== "closed";
const many = (amount, one, more) => `${count(amount)} ${amount === 1 ? one : more}`;

function nameOf(run) {
  const repeated = runs.filter((other) => other.point.text === run.point.text).length > 1;
  return run.point.text + (repeated ? `, run ${run.repetition + 1}` : "");
}

// A cell whose exact value shows on hover.
const cell = (value, format) => node("td", isNumber(value) ? {title: String(value)} : {}, format(value));

function table(target, titles, rows) {
  const head = node("tr", {}, ...titles.map((title) => node("th", {scope: "col"}, title)));
  target.replaceChildren(node("thead", {}, head), node("tbody", {}, ...rows));
}

function facts(target, pairs) {
  for (const [name, ...values] of pairs) target.append(node("dt", {}, name), node("dd", {}, ...values));
  return target;
}

// What is true of all runs.

function showSetup() {
  const points = [...new Set(runs.map((run) => run.point.text))];
  const at = points.length === 0 ? "no run" : points.length === 1 ? points[0] : `${points.length} points`;
  const targets = report.targets.map((t) => t.address).join(", ");
  element("title").textContent = `${at}${targets ? " to " + targets : ""}`;
  document.title = `${at} – attnctl load`;
  const pairs = [];
  for (const target of report.targets) {
    const told = [
      target.version && `attnd ${target.version}`, target.isa,
      target.workers > 0 && many(target.workers, "worker", "workers"), target.numerics_id
    ];
    pairs.push(["Server", [target.address, ...told.filter(Boolean)].join(" · ")]);
  }
  for (const work of report.works) pairs.push(["Request", work]);
  if (report.command) pairs.push(["Command", node("code", {}, report.command)]);
  pairs.push(["Started", report.started]);
  if (report.machine) pairs.push(["Client", report.machine]);
  facts(element("setup"), pairs.filter((pair) => pair[1]));
  element("made").textContent = `attnctl ${report.version}. The JSON that these numbers come from is at the end of ` +
      "this file, in the element with the id “report”.";
  element("precision").textContent = report.percentile_precision.text;
}

function showNotices() {
  const host = element("notices");
  const add = (kind, text) => host.append(node("p", {class: `notice ${kind}`}, text.replace(/ %/g, "\u00a0%")));
  for (const run of runs) {
    const wrong = run.verification.failures;
    if (wrong > 0) {
      add("bad",
          `Wrong answers at ${nameOf(run)}: ${many(wrong, "check", "checks")} failed. The first: ` +
              run.verification.first_failure);
    }
  }
  for (const condition of report.conditions) {
    add(condition.failed ? "bad" : "good",
        `${condition.failed ? "Failed" : "Passed"}: fail if ${condition.text}. ${condition.detail}.`);
  }
  const capacity = report.capacity;
  if (capacity) {
    const held = capacity.rate_per_second > 0;
    const failed = isNumber(capacity.failed_rate_per_second);
    const above = failed ? `, ${rate(capacity.failed_rate_per_second)} did not` : ", and no rate failed";
    const early = capacity.finished === false ? "the search ended early; at least " : "";
    const text = held ? `Capacity: ${early}${rate(capacity.rate_per_second)} held ${capacity.objective}${above}` :
                        `Capacity: no rate${failed ? " down to " + rate(capacity.failed_rate_per_second) : ""} held ${
                            capacity.objective}`;
    add(held ? "good" : "bad", `${text} (${many(capacity.probes, "probe", "probes")}).`);
  }
  for (const run of runs.filter((one) => one.interrupted)) {
    add("", `The run at ${nameOf(run)} was interrupted: it shows what there was until then.`);
  }
  showWarnings(add);
}

// One of each kind, "The run was not stable" of "The run was not stable: over its last ...";
// the details of a run have all of its own.
function showWarnings(add) {
  // Of a search's probes many are meant to be too much: what counts is the rate that was found.
  const found = report.capacity ? report.capacity.rate_per_second : 0;
  const kinds = new Map();
  for (const run of runs.filter((one) => !found || one.point.rate_per_second === found)) {
    for (const text of run.warnings) {
      const kind = text.split(":")[0];
      kinds.set(kind, [...(kinds.get(kind) || []), {text, name: nameOf(run)}]);
    }
  }
  for (const warnings of kinds.values()) {
    const more = warnings.length > 1 ? `; and so ${many(warnings.length - 1, "more run", "more runs")}` : "";
    add("", runs.length > 1 ? `${warnings[0].text} (${warnings[0].name}${more})` : warnings[0].text);
  }
}

const percentileKeys = [
  ["p50", "p50"], ["p90", "p90"], ["p95", "p95"], ["p99", "p99"], ["p99_9", "p99.9"], ["max", "max"], ["mean", "mean"]
];

function showNumbers(picked) {
  const rows = runs.flatMap((run) => {
    const classes = run === picked && runs.length > 1 ? "first picked" : "first";
    const line = (kind, times, name, ...rest) => node(
        "tr", {class: name ? classes : ""}, node("th", {scope: "row"}, name), node("td", {class: "kind"}, kind),
        ...percentileKeys.map(([key]) => cell(times[key], time)), ...rest);
    const cells =
        [cell(run.throughput_per_second, rate), cell(run.goodput_per_second, rate), cell(run.error_share, percent)];
    return [
      line("response", run.response_seconds, nameOf(run), ...cells),
      line("service", run.service_seconds, "", node("td"), node("td"), node("td"))
    ];
  });
  table(
      element("numbers"), ["", "", ...percentileKeys.map(([, title]) => title), "answered", "goodput", "errors"], rows);
}

function showSummary() {
  const repeated = report.summary.filter((point) => point.repetitions > 1);
  element("summary-section").hidden = repeated.length === 0;
  const columns = [
    ["throughput_per_second", "answered", rate], ["response_p50_seconds", "p50", time],
    ["response_p99_seconds", "p99", time], ["response_p99_9_seconds", "p99.9", time],
    ["service_p99_seconds", "service p99", time], ["error_share", "errors", percent]
  ];
  const both = (value, format) =>
      !value ? "–" : format(value.mean) + (isNumber(value.ci95) ? ` ± ${format(value.ci95)}` : "");
  table(
      element("summary"), ["", "runs", ...columns.map(([, title]) => title)],
      repeated.map(
          (point) => node(
              "tr", {class: "first"}, node("th", {scope: "row"}, point.point), cell(point.repetitions, count),
              ...columns.map(
                  ([key, , format]) =>
                      node("td", point[key] ? {title: String(point[key].mean)} : {}, both(point[key], format))))));
}

function showSweep() {
  const loads = new Map(runs.map((run) => [run.point.text, run.point.concurrency || run.point.rate_per_second]));
  element("sweep-section").hidden = loads.size < 2;
  if (loads.size < 2) return;
  // In the order of load, so that the line turns back where more load gets less done.
  const sorted = report.summary.filter((point) => point.throughput_per_second && point.response_p99_seconds)
                     .sort((a, b) => loads.get(a.point) - loads.get(b.point));
  const series = (name, tone, key, dash, marked) => ({
    name,
    tone,
    dash,
    dots: true,
    points: sorted.map((point) => ({
                         x: point.throughput_per_second.mean,
                         y: point[key].mean,
                         mark: marked ? point.point : undefined,
                         heading: `${point.point}: ${rate(point.throughput_per_second.mean)}`
                       }))
  });
  const all = [
    series("response p99", "response", "response_p99_seconds", "none", true),
    series("service p99", "service", "service_p99_seconds", "6 4"),
    series("response p50", "max", "response_p50_seconds", "2 4")
  ];
  Charts.lines(element("sweep"), {
    label: "Response time by throughput",
    x: {
      scale: Charts.linearScale(0, 1.05 * Math.max(...all[0].points.map((p) => p.x), 1)),
      title: "answered calls per second",
      format: short(number),
      tip: rate
    },
    y: latencyAxis("latency", all),
    series: all
  });
}

showSetup();
showNotices();
showSummary();
showSweep();
Runs.start();
