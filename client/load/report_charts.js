"use strict";

// Plots as SVG, drawn to the width they are given so that their text keeps its size. No state
// but what is on the page.
const Charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function make(name, attributes, ...children) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Scales take values to 0..1 and know where to put marks.
  function linearScale(low, high, marks = 5) {
    const span = high > low ? high - low : 1;
    const rough = span / marks;
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= low + span * (1 + 1e-9); ++i) ticks.push(i * step);
    return {at: (value) => (value - low) / span, ticks};
  }

  function logScale(low, high) {
    const bottom = Math.log10(low);
    const span = Math.max(Math.log10(high) - bottom, 1e-9);
    const steps = span > 3 ? [1] : span > 1.5 ? [1, 3] : [1, 2, 5];
    const ticks = [];
    for (let power = Math.floor(bottom); power <= Math.ceil(bottom + span); ++power) {
      for (const step of steps) {
        const tick = step * Math.pow(10, power);
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    }
    return {at: (value) => (Math.log10(Math.max(value, low)) - bottom) / span, ticks, log: true};
  }

  // From 0, or logarithmic where most values would lie on the floor otherwise.
  function latencyScale(values) {
    const positive = values.filter((v) => v > 0).sort((a, b) => a - b);
    if (positive.length === 0) return linearScale(0, 1);
    const high = positive[positive.length - 1];
    const low = positive[Math.floor(positive.length / 20)];
    if (high / low < 25) return linearScale(0, high * 1.05);
    const floor = Math.pow(10, Math.floor(Math.log10(positive[0]) * 2) / 2);
    return logScale(floor, high * 1.15);
  }

  function legend(series) {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const one of series) {
      const item = document.createElement("li");
      const sample = make("svg", {viewBox: "0 0 26 10", "aria-hidden": "true"});
      sample.append(
          one.box ? make("rect", {x: 6, y: 0, width: 12, height: 10, rx: 2, fill: `var(--${one.tone})`}) :
                    make("path", {
                      d: "M1 5H25",
                      class: "line",
                      stroke: `var(--${one.tone})`,
                      "stroke-width": 2,
                      "stroke-dasharray": one.dash || "none"
                    }));
      item.append(sample, one.name);
      list.append(item);
    }
    return list;
  }

  // Rows of [name, value] under a heading.
  function fillTip(tip, heading, rows) {
    const title = document.createElement("b");
    title.textContent = heading;
    const table = document.createElement("table");
    for (const [name, value] of rows) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = value;
    }
    tip.replaceChildren(title, table);
  }

  function placeTip(tip, host, x, y) {
    tip.hidden = false;
    const room = host.clientWidth - tip.offsetWidth;
    const left = x + 14 > room ? x - tip.offsetWidth - 14 : x + 14;
    tip.style.transform = `translate(${Math.max(0, Math.min(left, room))}px, ${Math.max(0, y)}px)`;
  }

  // Runs draw(width) now and whenever the width changes.
  function keepDrawn(host, draw) {
    if (host.observer) host.observer.disconnect();
    let width = 0;
    const redraw = () => {
      if (host.clientWidth === width || host.clientWidth === 0) return;
      width = host.clientWidth;
      draw(width);
    };
    host.observer = new ResizeObserver(redraw);
    host.observer.observe(host);
    redraw();
  }

  function frame(host, box, plot) {
    const root = make("svg", {
      viewBox: `0 0 ${box.width} ${box.height}`,
      height: box.height,
      role: "img",
      tabindex: 0,
      "aria-label": plot.label
    });
    const yTitle = plot.y.title + (plot.y.scale.log ? " (logarithmic)" : "");
    root.append(make("text", {x: 0, y: 12, class: "title"}, yTitle));
    for (const tick of plot.y.scale.ticks) {
      const y = box.y(tick);
      root.append(
          make("line", {x1: box.left, x2: box.right, y1: y, y2: y, class: "grid"}),
          make("text", {x: box.left - 8, y: y + 4, "text-anchor": "end"}, plot.y.format(tick)));
    }
    root.append(make("line", {x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis"}));
    let free = -Infinity;
    for (const tick of plot.x.scale.ticks) {
      const x = box.x(tick);
      const text = plot.x.format(tick);
      const half = text.length * 3.6;
      if (x - half < free) continue;
      free = x + half + 8;
      const last = x + half > box.width;
      root.append(
          make("line", {x1: x, x2: x, y1: box.bottom, y2: box.bottom + 5, class: "axis"}),
          make("text", {x: last ? box.width : x, y: box.bottom + 19, "text-anchor": last ? "end" : "middle"}, text));
    }
    root.append(make(
        "text", {x: (box.left + box.right) / 2, y: box.height - 4, "text-anchor": "middle", class: "title"},
        plot.x.title));
    host.append(root);
    return root;
  }

  function drawSeries(root, box, one) {
    const points = one.points.filter((p) => p.y !== null && p.y !== undefined);
    if (one.bars) {
      const width = Math.max(1, Math.min(14, (box.right - box.left) / Math.max(1, one.points.length) * 0.7));
      for (const p of points.filter((q) => q.y > 0)) {
        root.append(make("rect", {
          x: box.x(p.x) - width / 2,
          y: box.y(p.y),
          width,
          height: Math.max(2, box.bottom - box.y(p.y)),
          fill: `var(--${one.tone})`
        }));
      }
      return;
    }
    const path = points.map((p, i) => `${i ? "L" : "M"}${box.x(p.x).toFixed(1)} ${box.y(p.y).toFixed(1)}`).join("");
    root.append(
        make("path", {d: path, class: "line", stroke: `var(--${one.tone})`, "stroke-dasharray": one.dash || "none"}));
    if (one.dots || points.length === 1) {
      for (const p of points)
        root.append(make("circle", {cx: box.x(p.x), cy: box.y(p.y), r: 4.5, fill: `var(--${one.tone})`}));
    }
    // Above and to the left, where a rising line does not run; none on top of another.
    let free = -Infinity;
    for (const p of points.filter((q) => q.mark)) {
      const length = p.mark.length * 6.6;
      const right = Math.max(box.x(p.x) - 6, box.left + length);
      if (right - length < free) continue;
      free = right + 6;
      root.append(make("text", {x: right, y: box.y(p.y) - 8, class: "mark", "text-anchor": "end"}, p.mark));
    }
  }

  // Shows what is nearest to the pointer, or to the last place the arrow keys went to.
  function addHover(host, root, box, plot) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    host.append(tip);
    const guide = make("line", {y1: box.top, y2: box.bottom, class: "guide", visibility: "hidden"});
    root.append(guide);
    const xs = [...new Set(plot.series.flatMap((s) => s.points.map((p) => p.x)))].sort((a, b) => a - b);
    if (xs.length === 0) return;
    let current = -1;
    const show = (index) => {
      current = Math.max(0, Math.min(xs.length - 1, index));
      const x = xs[current];
      guide.setAttribute("x1", box.x(x));
      guide.setAttribute("x2", box.x(x));
      guide.setAttribute("visibility", "visible");
      const rows = [];
      let heading = plot.x.tip(x);
      for (const one of plot.series) {
        const point = one.points.find((p) => p.x === x);
        if (!point || point.y === null || point.y === undefined) continue;
        if (point.heading) heading = point.heading;
        rows.push([one.name, (one.format || plot.y.tip)(point.y)]);
      }
      fillTip(tip, heading, rows);
      placeTip(tip, host, box.x(x), root.offsetTop || host.querySelector(".legend").offsetHeight + 20);
    };
    const hide = () => {
      tip.hidden = true;
      guide.setAttribute("visibility", "hidden");
    };
    root.addEventListener("pointermove", (event) => {
      const x = event.clientX - root.getBoundingClientRect().left;
      let best = 0;
      xs.forEach((value, i) => {
        if (Math.abs(box.x(value) - x) < Math.abs(box.x(xs[best]) - x)) best = i;
      });
      show(best);
    });
    root.addEventListener("pointerleave", hide);
    root.addEventListener("blur", hide);
    root.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(current + step);
    });
  }

  // plot: label; x and y with scale, title and format, tip for what hovering shows (of x: the
  // heading); series with name, tone, points of x and y (null: a gap), and dash, dots or bars.
  function lines(host, plot) {
    host.replaceChildren();
    if (plot.series.every((s) => s.points.length === 0)) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = plot.empty || "Nothing was measured.";
      host.append(empty);
      return;
    }
    keepDrawn(host, (width) => {
      const height = width < 560 ? 270 : 320;
      const longest = Math.max(...plot.y.scale.ticks.map((t) => plot.y.format(t).length));
      const box = {width, height, left: longest * 7 + 10, right: width - 6, top: 26, bottom: height - 46};
      box.x = (value) => box.left + plot.x.scale.at(value) * (box.right - box.left);
      box.y = (value) => box.bottom - plot.y.scale.at(value) * (box.bottom - box.top);
      host.replaceChildren(legend(plot.series));
      const root = frame(host, box, plot);
      for (const one of plot.series) drawSeries(root, box, one);
      addHover(host, root, box, plot);
    });
  }

  // rows: name and parts in the order of `parts`, which have name and tone. One scale for all.
  function stackedBars(host, rows, parts, format, label) {
    const totals = rows.map((row) => row.values.reduce((sum, value) => sum + value, 0));
    const largest = Math.max(...totals);
    keepDrawn(host, (width) => {
      const step = 46;
      const height = rows.length * step + 4;
      host.replaceChildren(legend(parts.map((part) => ({...part, box: true}))));
      const root = make("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label});
      rows.forEach((row, i) => {
        const top = i * step;
        root.append(
            make("text", {x: 0, y: top + 13, class: "mark"}, row.name),
            make("text", {x: width, y: top + 13, "text-anchor": "end"}, format(totals[i])));
        let x = 0;
        row.values.forEach((value, part) => {
          const size = largest > 0 ? (value / largest) * width : 0;
          const box = make("rect", {x, y: top + 19, width: size, height: 16, fill: `var(--${parts[part].tone})`});
          box.append(make("title", {}, `${row.name}: ${parts[part].name} ${format(value)}`));
          root.append(box);
          x += size;
        });
      });
      host.append(root);
    });
  }

  return {lines, stackedBars, linearScale, latencyScale};
})();
