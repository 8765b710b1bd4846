"use strict";

// Drawing cells, and finding them again under a pointer.

// A canvas with one pixel per cell; hidden ones are transparent.
function drawCells(canvas, head) {
  const weights = weightsOf(head);
  canvas.width = head.columns;
  canvas.height = head.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(head.columns, head.rows);
  const colors = pixelsOfScale(4096);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < weights.length; ++i) {
    if (!Number.isNaN(weights[i])) pixels[i] = colors[Math.round(position(weights[i]) * (colors.length - 1))];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

const hasCells = (head) => head.rows > 0 && head.columns > 0;

// Pixels of a cell's sides, so that the larger side of [rows, columns] takes at most `room`
// and the smaller one can be seen.
function fitCells(head, room, largest) {
  const exact = Math.min(room / Math.max(head.rows, head.columns), largest);
  const size = exact >= 1 ? Math.floor(exact) : exact;
  return { width: Math.max(size, 36 / head.columns), height: Math.max(size, 36 / head.rows) };
}

const tip = element("tip");

function showTip(lines, x, y) {
  tip.textContent = lines.join("\n");
  // Above everything, which is inside an open dialog.
  (element("dialog").open ? element("dialog") : document.body).append(tip);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const beside = x + 16 + width > innerWidth ? x - 12 - width : x + 16;
  const below = y + 18 + height > innerHeight ? y - 12 - height : y + 18;
  tip.style.transform = `translate(${Math.max(beside, 4)}px, ${Math.max(below, 4)}px)`;
}

function hideTip() {
  tip.hidden = true;
}

// The cell at a place in a box with all cells; undefined beyond them.
function cellAt(head, x, y, width, height) {
  const column = Math.floor((x / width) * head.columns);
  const row = Math.floor((y / height) * head.rows);
  const inside = row >= 0 && row < head.rows && column >= 0 && column < head.columns;
  return inside ? { row, column } : undefined;
}
