"use strict";

// The page around the cells.

function headName(i) {
  const row = map.rowTitles[Math.floor(i / map.gridColumns)];
  const column = map.columnTitles[i % map.gridColumns];
  return map.heads[i].title || [row, column].filter(Boolean).join(", ") || `head ${i}`;
}

function showLarge(i) {
  const head = map.heads[i];
  large.head = head;
  element("large-title").textContent = headName(i);
  element("large-caption").textContent = head.caption.join(" · ");
  element("stage").hidden = !hasCells(head);
  pointAt(undefined);
}

function openLarge(i) {
  showLarge(i);
  element("dialog").showModal();
  drawLarge();
}

function smallHead(head, i, room, titled) {
  const canvas = node("canvas", "cells");
  const button = node("button", "head");
  button.type = "button";
  button.setAttribute("aria-label", [headName(i), ...head.caption, "enlarge"].join(", "));
  if (!titled && head.title) button.append(node("span", "head-title", head.title));
  if (hasCells(head)) {
    const { width, height } = fitCells(head, room, 40);
    canvas.style.width = `${width * head.columns}px`;
    canvas.style.height = `${height * head.rows}px`;
    canvas.classList.toggle("shrunk", Math.min(width, height) < 1);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const cell = cellAt(head, event.clientX - box.left, event.clientY - box.top, box.width, box.height);
      if (cell) showTip(describe(head, cell.row, cell.column), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", hideTip);
    button.append(canvas);
  }
  for (const line of head.caption) button.append(node("span", "", line));
  button.style.width = `${Math.max(Math.ceil(parseFloat(canvas.style.width) || 0), room < 110 ? room : 110)}px`;
  button.addEventListener("click", () => openLarge(i));
  return { button, canvas, head };
}

const small = [];

function buildGrid() {
  const columns = Math.min(map.gridColumns, map.heads.length);
  const grid = element("grid");
  const rowTitles = map.rowTitles.length > 0;
  const titled = rowTitles && map.columnTitles.length > 0;
  const room = Math.min(Math.max((innerWidth - 110) / columns - 16, 96), 320);
  grid.style.gridTemplateColumns = `${rowTitles ? "auto " : ""}repeat(${columns}, max-content)`;
  if (map.columnTitles.length > 0) {
    if (rowTitles) grid.append(node("div"));
    for (let i = 0; i < columns; ++i) grid.append(node("div", "column-title", map.columnTitles[i] || ""));
  }
  map.heads.forEach((head, i) => {
    if (rowTitles && i % columns === 0) grid.append(node("div", "row-title", map.rowTitles[i / columns] || ""));
    small.push(smallHead(head, i, room, titled));
    grid.append(small[i].button);
  });
}

function drawLegend() {
  const { largest, root, words, anyVisible, anyHidden } = scale();
  element("legend").hidden = !anyVisible && !anyHidden;
  element("hidden-sample").hidden = !anyHidden;
  element("scale-name").textContent = !map.pooling ? "weight" : kind === "max" ? "largest weight" : "mean weight";
  element("scale-words").textContent = largest > 0 ? words : "";
  element("pooling").textContent = map.pooling;
  document.querySelector(".scale").hidden = !anyVisible;
  const bar = element("scale-bar");
  bar.width = 240;
  const context = bar.getContext("2d");
  for (let i = 0; i < bar.width; ++i) {
    context.fillStyle = `rgb(${colorAt(i / (bar.width - 1)).join(" ")})`;
    context.fillRect(i, 0, 1, 1);
  }
  const places = largest > 0 ? [0, 0.25, 0.5, 0.75, 1] : [0];
  const ticks = places.map((place) => node("span", "", String(Number(weightAt(place).toPrecision(2)))));
  element("scale-ticks").replaceChildren(...ticks);
}

function draw() {
  drawLegend();
  for (const { canvas, head } of small) if (hasCells(head)) drawCells(canvas, head);
  drawLarge();
}

function buildTheme() {
  const themes = ["auto", "light", "dark"];
  const button = element("theme");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    drawLarge();
  };
  button.addEventListener("click", () => {
    set(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawLarge);
  set("auto");
}

function buildLarge() {
  const canvas = element("large-cells");
  canvas.addEventListener("pointermove", followPointer);
  canvas.addEventListener("pointerdown", followPointer);
  canvas.addEventListener("pointerleave", () => pointAt(undefined));
  canvas.addEventListener("keydown", followKeys);
  canvas.addEventListener("blur", () => pointAt(undefined));
  element("close").addEventListener("click", () => element("dialog").close());
  // A click on what is behind.
  element("dialog").addEventListener("click", (event) => {
    if (event.target === element("dialog")) element("dialog").close();
  });
  element("dialog").addEventListener("close", () => {
    large.head = undefined;
    hideTip();
  });
  addEventListener("resize", () => {
    pointAt(undefined);
    drawLarge();
  });
}

function buildKinds() {
  element("kinds").hidden = !map.heads.some((head) => head.pooled);
  for (const input of document.querySelectorAll("input[name=kind]")) {
    input.addEventListener("change", () => {
      kind = input.value;
      draw();
    });
  }
}

function build() {
  const count = (n, one, several) => `${n.toLocaleString("en")} ${n === 1 ? one : several}`;
  document.title = map.title || "attention weights";
  element("title").textContent = map.title || "Attention weights";
  element("facts").textContent = [
    count(map.heads.length, "head", "heads"),
    count(map.queries, "query", "queries"),
    count(map.keys, "key", "keys"),
  ].join(" · ");
  const nothing = map.heads.length === 0 ? "There are no heads to show." : "There are no weights to show.";
  element("empty").hidden = map.scales.mean.anyVisible;
  element("empty").textContent = nothing;
  buildLarge();
  buildKinds();
  if (map.heads.length === 1) {
    element("grid").parentElement.replaceWith(element("large"));
    showLarge(0);
  } else if (map.heads.length > 1) {
    buildGrid();
  }
  buildTheme();
  draw();
}

build();
