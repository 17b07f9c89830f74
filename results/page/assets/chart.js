// Lines over whole numbers, such as losses over epochs: one SVG, told apart by colour and dashes.
const [WIDE, HIGH] = [440, 220];
const EDGE = { left: 46, right: 10, top: 10, bottom: 24 };
const STYLES = 7;

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A figure: `series` of {name, points: [[x, y or null], ...]}; `whole` from 0 to 100, else as far
 * as the values go; `ends` says each one's first and last value. */
function chart({ title, series, whole = false, ends = false }) {
  const points = series.flatMap((one) => one.points).filter(([, y]) => y !== null);
  const caption = el("figcaption", {}, title);
  if (!points.length) return el("figure", {}, caption, el("p", {}, "No numbers."));
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const across = scale(least(xs), most(xs), EDGE.left, WIDE - EDGE.right);
  const low = whole ? 0 : Math.min(0, least(ys));
  const down = scale(low, whole ? 100 : most(ys), HIGH - EDGE.bottom, EDGE.top);
  const drawn = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chart", role: "img",
    "aria-label": `${title}: ${series.map((one) => one.name).join(", ")}` });
  drawn.append(...axes(across, down));
  series.forEach((one, i) => drawn.append(...line(one, i, across, down)));
  const listed = series.map((one, i) => el("li", {},
    svg("svg", { class: `swatch s${i % STYLES}`, viewBox: "0 0 28 8", "aria-hidden": "true" },
      svg("path", { d: "M0,4H28" })), one.name, ends ? endsOf(one) : ""));
  return el("figure", {}, caption, drawn, el("ul", { class: "legend" }, ...listed));
}

function least(values) {
  return values.reduce((a, b) => Math.min(a, b));
}

function most(values) {
  return values.reduce((a, b) => Math.max(a, b));
}

/** From values to places on the page. */
function scale(low, high, from, to) {
  const size = high - low || 1;
  const place = (value) => from + ((value - low) / size) * (to - from);
  return Object.assign(place, { low, high: low + size });
}

function axes(across, down) {
  const [left, bottom] = [EDGE.left, HIGH - EDGE.bottom];
  const parts = [svg("path", { class: "axis", d: `M${left},${EDGE.top}V${bottom}H${WIDE - EDGE.right}` })];
  for (const value of ticks(down.low, down.high)) {
    const y = down(value);
    parts.push(svg("path", { class: "axis", d: `M${left - 4},${y}H${WIDE - EDGE.right}` }));
    parts.push(svg("text", { x: left - 7, y: y + 4, "text-anchor": "end" }, neat(value)));
  }
  for (const value of ticks(across.low, across.high).filter(Number.isInteger)) {
    parts.push(svg("text", { x: across(value), y: HIGH - 7, "text-anchor": "middle" }, neat(value)));
  }
  return parts;
}

/** About five round values from low to high. */
function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

function neat(value) {
  return String(Number(value.toPrecision(4)));
}

function line(one, i, across, down) {
  let pen = "M";
  let path = "";
  for (const [x, y] of one.points) {
    if (y !== null) path += `${pen}${across(x).toFixed(1)},${down(y).toFixed(1)}`;
    pen = y === null ? "M" : "L";
  }
  const shape = svg("path", { class: `line s${i % STYLES}`, d: path });
  // one epoch alone is a point, which a line would not show
  const alone = one.points.length === 1 && one.points[0][1] !== null;
  const [x, y] = one.points[0] || [];
  const dot = alone ? [svg("circle", { cx: across(x), cy: down(y), r: 3, class: `s${i % STYLES}` })] : [];
  return [shape, ...dot];
}

function endsOf(one) {
  const values = one.points.map(([, y]) => y).filter((y) => y !== null);
  if (!values.length) return ": no numbers";
  const [first, last] = [values[0], values[values.length - 1]];
  return values.length > 1 ? `: ${neat(first)} → ${neat(last)}` : `: ${neat(first)}`;
}
