"use strict";

// What response time and service time are, in the numbers of a run.

// A paragraph of lines; what is between asterisks is strong.
function paragraph(...lines) {
  const parts = lines.join(" ").split("*");
  return node("p", {}, ...parts.map((part, i) => (i % 2 === 1 ? node("strong", {}, part) : part)));
}

function explainClosed(run) {
  const response = run.response_seconds;
  const callers = run.point.concurrency === 1 ? "was one" : `were ${count(run.point.concurrency)}`;
  return [
    paragraph(
        "*Response time* counts from when a call was due to be sent, *service time* from when it was. In this",
        "closed loop a call is due as soon as the one before is answered, so the two are alike: half of the calls took",
        `at most ${time(response.p50)}, 99 % at most ${time(response.p99)}.`),
    paragraph(
        `They hold for callers who wait for each answer before they ask again; here there ${callers} of them.`,
        "While the server stalls such callers ask nothing, and the calls that others would have made in that time are",
        `neither sent nor counted: that is *coordinated omission*. The longest call, ${time(response.max)}, was one`,
        "value here; of traffic that comes by itself it would have delayed all calls that were due in that time. A run",
        "at a given rate of calls counts them."),
  ];
}

function explainOpen(run) {
  const response = run.response_seconds;
  const service = run.service_seconds;
  const delay = time(run.send_delay_seconds.p99);
  const retried = run.retries > 0 ? ", by pauses before it was sent again" : "";
  const lead = paragraph(
      `*Response time* counts from when a call was due by the schedule of ${run.point.text}, *service time* from when`,
      `it was in fact sent. Of the calls answered here, 99 % had a response time of at most ${
          time(response.p99)} and a`,
      `service time of at most ${time(service.p99)}; the largest were ${time(response.max)} and ${time(service.max)}.`);
  if (response.p99 > 1.1 * service.p99) {
    const times = digits(response.p99 / service.p99);
    return [
      lead,
      paragraph(
          `The p99 that users would see is ${times} times that of the service time. The difference was spent before`,
          `sending: one call in a hundred was sent ${delay} or more after it was due, held up by calls that were not`,
          `answered yet${retried}, or by the client's own machine, of which there would be a warning. A tester that`,
          "starts its clock at the send leaves this wait out, most of all when the server stalls: that is",
          `*coordinated omission*, and it would have reported ${time(service.p99)}.`),
    ];
  }
  return [
    lead,
    paragraph(
        `The two agree: calls were sent when they were due, 99 % of them with a delay of at most ${delay}, so nothing`,
        "hides in between. Where they part, calls waited to be sent behind others, and a tester that starts its clock",
        "at the send would leave that wait out: *coordinated omission*."),
  ];
}

function explain(host, run) {
  const measured = isNumber(run.response_seconds.p99);
  host.replaceChildren(...(!measured ? [] : isOpen(run) ? explainOpen(run) : explainClosed(run)));
}
