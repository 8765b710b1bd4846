"use strict";

// One head with names along its sides.
const large = { head: undefined, cell: { width: 1, height: 1 }, left: 0, top: 0, cursor: undefined };

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const fontOf = (size) => `${size}px system-ui, "DejaVu Sans", sans-serif`;

function shorten(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  const characters = [...text];
  while (characters.length > 0 && context.measureText(characters.join("") + "…").width > room) characters.pop();
  return characters.join("") + "…";
}

// The least of 1, 2, 5, 10, 20, ... that is at least `step`.
function roundStep(step) {
  const power = 10 ** Math.floor(Math.log10(Math.max(step, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= step);
}

// Texts and their places in pixels along one side.
function marksOf(context, tokens, pooled, cells, length, size, across) {
  const textSize = Math.min(Math.max(0.8 * size, 10), 13);
  context.font = fontOf(textSize);
  if (!pooled && tokens.length > 0) {
    const step = Math.ceil((textSize + 1) / size);
    const marks = [];
    for (let i = 0; i < Math.min(cells, tokens.length); i += step)
      marks.push({ text: shorten(context, tokens[i].trim(), 130), at: (i + 0.5) * size });
    const widest = Math.max(...marks.map((mark) => context.measureText(mark.text).width));
    return { marks, textSize, upward: across && (step > 1 || widest > size - 6), widest };
  }
  const count = pooled ? length : cells;
  const one = (cells * size) / count;
  const room = (across ? context.measureText(count).width : textSize) + 8;
  const step = roundStep(Math.max(size >= 10 ? room : Math.max(room, 48), one) / one);
  const marks = [];
  for (let i = 0; i < count; i += step) marks.push({ text: String(i), at: (i + 0.5) * one });
  return { marks, textSize, upward: false, widest: Math.max(...marks.map((mark) => context.measureText(mark.text).width)) };
}

function hatch(context) {
  const tile = document.createElement("canvas");
  tile.width = 6;
  tile.height = 6;
  const lines = tile.getContext("2d");
  lines.strokeStyle = color("--hatch");
  lines.stroke(new Path2D("M-1,1l2,-2M0,6l6,-6M5,7l2,-2"));
  return context.createPattern(tile, "repeat");
}

function drawSides(context, rows, columns) {
  context.fillStyle = color("--quiet");
  context.textBaseline = "middle";
  context.font = fontOf(rows.textSize);
  context.textAlign = "right";
  for (const mark of rows.marks) context.fillText(mark.text, large.left - 7, large.top + mark.at);
  context.font = fontOf(columns.textSize);
  context.textAlign = columns.upward ? "left" : "center";
  for (const mark of columns.marks) {
    context.save();
    context.translate(large.left + mark.at, large.top - (columns.upward ? 7 : 12));
    if (columns.upward) context.rotate(-Math.PI / 2);
    context.fillText(mark.text, 0, 0);
    context.restore();
  }
}

// Cells one by one, with gaps and maybe weights: there are few.
function drawLargeCells(context, head) {
  const { width, height } = large.cell;
  const values = Math.min(width, height) >= 34 && Math.max(head.rows, head.columns) <= 16;
  const weights = weightsOf(head);
  const page = color("--page");
  context.font = fontOf(Math.min(0.28 * width, 13));
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = 0; i < weights.length; ++i) {
    if (Number.isNaN(weights[i])) continue;
    const x = large.left + (i % head.columns) * width;
    const y = large.top + Math.floor(i / head.columns) * height;
    const shown = colorAt(position(weights[i]));
    context.fillStyle = page;
    context.fillRect(x, y, width, height);
    context.fillStyle = `rgb(${shown.join(" ")})`;
    context.fillRect(x, y, width - 1, height - 1);
    if (!values) continue;
    context.fillStyle = inkOn(shown);
    context.fillText(weights[i].toFixed(2), x + (width - 1) / 2, y + height / 2);
  }
}

function drawLarge() {
  const head = large.head;
  if (!head || !hasCells(head)) return;
  const canvas = element("large-cells");
  const context = canvas.getContext("2d");
  // What the window has; at least a pixel per cell, or two where only the height has to scroll.
  const cells = Math.max(head.rows, head.columns);
  const window = Math.min(innerWidth - 220, Math.max(innerHeight - 300, 400));
  large.cell = fitCells(head, Math.max(window, 2 * cells <= innerWidth - 220 ? 2 * cells : cells), 56);
  const { width, height } = large.cell;
  const rows = marksOf(context, map.queryTokens, head.pooled, head.rows, map.queries, height, false);
  const columns = marksOf(context, map.keyTokens, head.pooled, head.columns, map.keys, width, true);
  large.left = Math.ceil(rows.widest) + 12;
  large.top = columns.upward ? Math.ceil(columns.widest) + 12 : 22;
  const all = { width: large.left + head.columns * width + 24, height: large.top + head.rows * height + 2 };
  // Browsers have limits, and sharpness beyond them is not worth an empty picture.
  const density = Math.max(all.width, all.height) > 8000 ? 1 : devicePixelRatio || 1;
  canvas.width = Math.ceil(all.width * density);
  canvas.height = Math.ceil(all.height * density);
  canvas.style.width = `${all.width}px`;
  canvas.style.height = `${all.height}px`;
  context.scale(density, density);
  const box = [large.left, large.top, head.columns * width, head.rows * height];
  context.fillStyle = hatch(context);
  context.fillRect(...box);
  context.imageSmoothingEnabled = false;
  if (Math.min(width, height) >= 12) drawLargeCells(context, head);
  else context.drawImage(drawCells(document.createElement("canvas"), head), ...box);
  context.strokeStyle = color("--line");
  context.strokeRect(box[0] - 0.5, box[1] - 0.5, box[2] + 1, box[3] + 1);
  drawSides(context, rows, columns);
}

// Marks a cell and says what it is; none hides the mark.
function pointAt(cell, x, y) {
  large.cursor = cell;
  const cursor = element("cursor");
  cursor.hidden = !cell;
  element("readout").textContent = cell ? describe(large.head, cell.row, cell.column).join(", ") : "";
  if (!cell) return hideTip();
  const { width, height } = large.cell;
  const canvas = element("large-cells");
  cursor.style.left = `${canvas.offsetLeft + large.left + cell.column * width}px`;
  cursor.style.top = `${canvas.offsetTop + large.top + cell.row * height}px`;
  cursor.style.width = `${width}px`;
  cursor.style.height = `${height}px`;
  const at = cursor.getBoundingClientRect();
  showTip(describe(large.head, cell.row, cell.column), x ?? at.right, y ?? at.bottom);
}

function followPointer(event) {
  const box = element("large-cells").getBoundingClientRect();
  const { head, cell } = large;
  if (!head || !hasCells(head)) return;
  const x = event.clientX - box.left - large.left;
  const y = event.clientY - box.top - large.top;
  pointAt(cellAt(head, x, y, head.columns * cell.width, head.rows * cell.height), event.clientX, event.clientY);
}

function followKeys(event) {
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const move = moves[event.key];
  if (!move || !large.head || !hasCells(large.head)) return;
  event.preventDefault();
  const from = large.cursor || { row: -move[0], column: -move[1] };
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  pointAt({ row: within(from.row + move[0], large.head.rows), column: within(from.column + move[1], large.head.columns) });
}
