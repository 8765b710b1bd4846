"use strict";

// All that is shown: what DrawHtml wrote into the page. Its texts are only ever set as text.
const map = JSON.parse(document.getElementById("data").textContent);

const element = (id) => document.getElementById(id);

// node("p", "class", "text", otherNode)
function node(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Which weights are shown: "mean" or "max".
let kind = "mean";

const decoded = new Map();

// Of [rows, columns]; NaN where nothing is visible.
function weightsOf(head, which = kind) {
  const text = which === "max" && head.pooled ? head.max : head.mean;
  if (!decoded.has(text)) decoded.set(text, decode(text));
  return decoded.get(text);
}

function decode(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; ++i) bytes[i] = binary.charCodeAt(i);
  if (map.encoding === "float32") return new Float32Array(bytes.buffer);
  // The upper halves of float32.
  const halves = new Uint16Array(bytes.buffer);
  const whole = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; ++i) whole[i] = halves[i] << 16;
  return new Float32Array(whole.buffer);
}

const scale = () => map.scales[kind] || map.scales.mean;

// Where on the color scale, from 0 to 1.
function position(weight) {
  const { largest, root } = scale();
  if (!(weight > 0) || largest <= 0) return 0;
  return Math.min(weight / largest, 1) ** (1 / root);
}

const weightAt = (place) => scale().largest * place ** scale().root;

// [red, green, blue] at a place on the scale.
function colorAt(place) {
  const steps = map.anchors.length - 1;
  const step = Math.min(Math.max(place, 0), 1) * steps;
  const below = Math.min(Math.floor(step), steps - 1);
  return map.anchors[below].map((from, i) => Math.round(from + (step - below) * (map.anchors[below + 1][i] - from)));
}

// Colors along the scale as pixels, whose bytes are red, green, blue and opacity.
function pixelsOfScale(count) {
  const pixels = new Uint8ClampedArray(4 * count);
  for (let i = 0; i < count; ++i) pixels.set([...colorAt(i / (count - 1)), 255], 4 * i);
  return new Uint32Array(pixels.buffer);
}

// Black or white, whichever is easier to read on the color.
function inkOn(color) {
  const [red, green, blue] = color.map((channel) => {
    const value = channel / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

// Half of float32 has two digits.
const number = (value) => String(Number(value.toPrecision(map.encoding === "float32" ? 3 : 2)));

// Queries or keys that a cell covers, in words.
function side(one, several, pooled, i, cells, length, tokens) {
  const first = pooled ? Math.floor((i * length) / cells) : i;
  const last = pooled ? Math.max(Math.floor(((i + 1) * length) / cells), first + 1) - 1 : i;
  if (last > first) return `${several} ${first} to ${last}`;
  return first < tokens.length ? `${one} ${first} “${tokens[first]}”` : `${one} ${first}`;
}

// Lines about one cell.
function describe(head, row, column) {
  const cell = row * head.columns + column;
  const mean = weightsOf(head, "mean")[cell];
  const lines = [
    side("query", "queries", head.pooled, row, head.rows, map.queries, map.queryTokens),
    side("key", "keys", head.pooled, column, head.columns, map.keys, map.keyTokens),
  ];
  if (Number.isNaN(mean)) return [...lines, "not visible"];
  if (!head.pooled) return [...lines, `weight ${number(mean)}`];
  return [...lines, `mean weight ${number(mean)}`, `largest ${number(weightsOf(head, "max")[cell])}`];
}
