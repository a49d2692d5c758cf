"use strict";
// The charts of a study, and the trial that is looked at.

const data = JSON.parse(document.getElementById("data").textContent);
const trials = new Map(data.trials.map((trial) => [trial.number, trial]));
const range = document.getElementById("range");
let selected = data.selected;

function told(trial) {
  const words = { failed: "failed", stopped: "stopped early", repeated: "repeated", running: "running" };
  const more = data.front.includes(trial.number) ? "on the front" : words[trial.state];
  const pairs = [...trial.facts];
  if (trial.repeats !== null) pairs.push(["repeats", `trial ${trial.repeats}`]);
  if (trial.reason) pairs.push(["reason", trial.reason]);
  return { title: `Trial ${trial.number}${more ? `, ${more}` : ""}`, changes: trial.changes, pairs };
}

function select(number) {
  selected = number;
  for (const mark of document.querySelectorAll(".mark[data-trial]"))
    mark.setAttribute("aria-pressed", Number(mark.dataset.trial) === number);
  showTrial(trials.get(number));
}

function trialMark(trial, kind) {
  return svg("g", {
    class: `mark ${kind}`, "data-trial": trial.number, "aria-pressed": trial.number === selected,
  });
}

// The front: every measured trial, the steps of the front, the baseline and the peers.

function drawFront(holder, width) {
  const shown = data.measured.map((number) => trials.get(number));
  const extras = [data.baseline, ...data.peers.filter((peer) => peer.quality != null && peer.latency)];
  const least = range.value ? -range.value * data.metric.hundredth : -Infinity;
  const inside = [...shown, ...extras].filter((point) => point.gain >= least);
  note(shown.filter((point) => point.gain < least).length, shown.length);

  const heights = inside.map(heightOf);
  const [bottom, top] = [Math.min(...heights), Math.max(...heights)];
  const room = 0.05 * (top - bottom) || 0.05 * Math.abs(top) || 0.05;
  const x = { low: 0, high: 1.04 * Math.max(...inside.map((point) => point.latency.high_ms)) };
  const y = { low: bottom - room, high: top + room };
  x.ticks = ticks(x.low, x.high, width < 500 ? 4 : 8);
  y.ticks = ticks(y.low, y.high, 8);
  x.title = "latency in ms";
  y.title = data.metric.axis;
  const height = Math.round(Math.max(320, Math.min(460, 0.5 * width)));
  const chart = frame(holder, width, height, `${data.metric.name} against latency`, x, y);

  const corners = data.steps.map((number) => trials.get(number)).filter((trial) => trial.gain >= least);
  drawSteps(chart, corners.map((trial) => [trial.latency.median_ms, heightOf(trial)]));
  const entries = inside.map((point) => frontEntry(chart, point));
  // Later ones lie on top: what is on the front is never hidden.
  const above = (entry) => ["other", "peer", "baseline", "front"].findIndex((kind) => entry.mark.classList.contains(kind));
  chart.layer.append(...[...entries].sort((a, b) => above(a) - above(b)).map((entry) => entry.mark));
  nameThem(chart, entries, extras);
  entries.sort((a, b) => a.point.latency.median_ms - b.point.latency.median_ms);
  connect(entries, Math.max(0, entries.findIndex((entry) => entry.point.number === selected)));
}

function heightOf(point) {
  return data.metric.scale * point.quality;
}

function note(below, all) {
  document.getElementById("front-note").textContent = below
    ? `${below} of ${all} measured trials are worse than what is shown.` : "";
}

function drawSteps({ layer, at }, points) {
  const path = points.map(([x, y], i) => (i ? `H${at.x(x)}V${at.y(y)}` : `M${at.x(x)},${at.y(y)}`));
  layer.append(svg("path", { class: "steps", d: path.join("") || "M0,0" }));
}

function frontEntry({ at }, point) {
  const [x, y] = [at.x(point.latency.median_ms), at.y(heightOf(point))];
  const isTrial = point.number !== undefined;
  const onFront = isTrial && data.front.includes(point.number);
  const kind = onFront ? "front" : isTrial ? "other" : point === data.baseline ? "baseline" : "peer";
  const mark = isTrial ? trialMark(point, kind) : svg("g", { class: `mark ${kind}` });
  const [low, high] = [at.x(point.latency.low_ms), at.x(point.latency.high_ms)];
  const dot = {
    front: () => svg("circle", { class: "dot", cx: x, cy: y, r: 5.5 }),
    other: () => svg("circle", { class: "dot", cx: x, cy: y, r: 4 }),
    baseline: () => svg("path", { class: "dot", d: `M${x - 7},${y}l7,-7l7,7l-7,7z` }),
    peer: () => svg("rect", { class: "dot", x: x - 4.5, y: y - 4.5, width: 9, height: 9 }),
  }[kind]();
  mark.append(
    svg("path", { class: "whisker", d: `M${low},${y}H${high}M${low},${y - 3}v6M${high},${y - 3}v6` }),
    svg("circle", { class: "hit", cx: x, cy: y, r: 12 }), dot,
    svg("circle", { class: "ring", cx: x, cy: y, r: 10 }),
  );
  const chosen = isTrial ? () => select(point.number) : undefined;
  return { mark, point, x, y, span: [low, high], chosen, told: isTrial ? told(point) : { title: point.name, pairs: point.facts } };
}

// Write the names of baseline and peers beside their marks, where they hide nothing.
function nameThem({ layer, left, right, top, bottom }, entries, extras) {
  const around = ({ x, y }) => ({ x1: x - 6, x2: x + 6, y1: y - 6, y2: y + 6 });
  const isOther = (entry) => entry.mark.classList.contains("other");
  const others = entries.filter(isOther).map(around);
  const taken = entries.filter((entry) => !isOther(entry)).map(around);
  for (const { span, y, point } of entries)
    if (extras.includes(point)) taken.push({ x1: span[0] - 8, x2: span[1] + 8, y1: y - 6, y2: y + 6 });
  const free = (box, boxes) =>
    box.x1 >= left && box.x2 <= right + 12 && box.y1 >= top - 12 && box.y2 <= bottom &&
    !boxes.some((other) => box.x1 < other.x2 && box.x2 > other.x1 && box.y1 < other.y2 && box.y2 > other.y1);
  for (const { point, x, y, span } of entries.filter((entry) => extras.includes(entry.point))) {
    const text = layer.appendChild(svg("text", { class: "name" }, point.name));
    const width = text.getComputedTextLength();
    const places = [[span[1] + 9, y], [x - width / 2, y - 14], [span[0] - 9 - width, y], [x - width / 2, y + 14]];
    const boxes = places.map(([x1, middle]) => ({ x1, x2: x1 + width, y1: middle - 7, y2: middle + 7 }));
    const clear = boxes.filter((box) => free(box, taken));
    const box = clear.find((box) => free(box, others)) || clear[0]; // grey points matter least
    if (!box) text.remove(); // its tooltip has the name
    else {
      text.setAttribute("x", box.x1);
      text.setAttribute("y", box.y2 - 3);
      taken.push(box);
    }
  }
}

// Hypervolume against measured trials.

function drawHypervolume(holder, width) {
  const points = data.hypervolume;
  if (!points.length) return holder.replaceChildren("Nothing has been measured yet.");
  const most = Math.max(...points.map(([count]) => count));
  const x = { low: 0, high: 1.02 * most, title: "measured trials", ticks: ticks(0, most, Math.min(most, 8)) };
  const y = { low: 0, high: 1.08 * Math.max(...points.map(([, value]) => value)) || 1, title: "hypervolume" };
  y.ticks = ticks(y.low, y.high, 5);
  const chart = frame(holder, width, 260, "Hypervolume against measured trials", x, y);
  drawSteps(chart, points);
  const r = Math.max(1.5, Math.min(3.5, (0.3 * width) / points.length));
  connect(points.map(([count, value]) => {
    const [cx, cy] = [chart.at.x(count), chart.at.y(value)];
    const mark = svg("g", { class: "mark front" }, svg("circle", { class: "hit", cx, cy, r: 12 }),
      svg("circle", { class: "dot", cx, cy, r }), svg("circle", { class: "ring", cx, cy, r: 8 }));
    chart.layer.append(mark);
    return { mark, told: { title: `${count} measured`, pairs: [["hypervolume", value.toFixed(3)]] } };
  }));
}

// The time line: a row a trial, a bar a stage.

function clock(seconds) {
  const unit = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"] : [3600, "h"];
  return seconds ? `${+(seconds / unit[0]).toFixed(1)} ${unit[1]}` : "0";
}

function timeTicks(end, count) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800];
  const step = steps.find((seconds) => end / seconds <= count) || end;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => ({ value: i * step, text: clock(i * step) }));
}

// Give every trial the first lane that is free when it starts.
function inLanes(started) {
  const ends = [];
  return started.map((trial) => {
    const end = Math.max(trial.at, ...trial.stages.map(({ at, seconds }) => at + seconds));
    const free = ends.findIndex((busy) => busy <= trial.at);
    const lane = free < 0 ? ends.length : free;
    ends[lane] = end;
    return { trial, lane, end };
  });
}

function drawTime(holder, width) {
  const started = data.trials.filter((trial) => trial.at != null).sort((a, b) => a.at - b.at || a.number - b.number);
  if (!started.length) return holder.replaceChildren("No trial has started yet.");
  const bars = inLanes(started);
  const lanes = 1 + Math.max(...bars.map(({ lane }) => lane));
  const end = Math.max(1, ...bars.map((bar) => bar.end));
  const wide = Math.max(width, Math.round((16 * started.length) / lanes)); // scrolls, if that is more
  const x = { low: 0, high: 1.01 * end, title: "since the first start", ticks: timeTicks(end, wide / 120) };
  const numbers = Array.from({ length: lanes }, (_, lane) => ({ value: lane + 0.5, text: String(lane + 1) }));
  const y = { low: lanes, high: 0, title: "at the same time", ticks: numbers };
  const chart = frame(holder, wide, 70 + 34 * lanes, "Time line of the trials", x, y);
  chart.layer.style.width = `${wide}px`;
  connect(bars.map((bar) => {
    const { trial } = bar;
    const entry = { mark: timeBar(chart, bar), told: told(trial), chosen: () => select(trial.number) };
    entry.told.pairs = entry.told.pairs.concat(trial.stages.map(({ stage, seconds }) => [stage, clock(seconds)]));
    return entry;
  }));
}

function timeBar({ layer, at }, { trial, lane, end }) {
  const mark = trialMark(trial, "row");
  const middle = at.y(lane + 0.5);
  const stages = svg("g", { class: "dot" });
  for (const one of trial.stages) {
    const box = { x: at.x(one.at), y: middle - 8, width: at.x(one.at + one.seconds) - at.x(one.at), height: 16 };
    stages.append(svg("rect", { class: `stage ${one.stage}`, ...box }));
  }
  if (!stages.childNodes.length) stages.append(svg("circle", { class: "stage other", cx: at.x(end), cy: middle, r: 3 }));
  const [left, right] = [at.x(trial.at), at.x(end)];
  const around = { x: left - 1, y: middle - 11, width: right - left + 2, height: 22 };
  mark.append(svg("rect", { ...around, class: "hit" }), stages, svg("rect", { ...around, class: "ring" }));
  if (trial.state === "failed")
    mark.append(svg("path", { class: "cross", d: `M${right - 5},${middle - 16}l5,5m0,-5l-5,5` }));
  return layer.appendChild(mark);
}

// The trial that is looked at: what is known of it, and its kernels.

function showTrial(trial) {
  const { title, changes, pairs } = told(trial);
  document.getElementById("trial-title").textContent = title;
  const more = [];
  if (trial.notes.length) {
    const lines = trial.notes.map((note) => element("li", {}, note));
    more.push(["what they did", element("details", {}, element("summary", {}, `${lines.length} notes`), element("ul", {}, ...lines))]);
  }
  if (trial.artifact) more.push(["artefact", element("code", {}, trial.artifact)]);
  if (trial.command) more.push(["command", element("code", { class: "command" }, trial.command)]);
  const known = facts([["changes", element("code", {}, changes)], ...pairs, ...more]);
  document.getElementById("trial").replaceChildren(known, kernelTable(trial));
}

function kernelTable(trial) {
  if (!trial.kernels?.length) return element("p", { class: "quiet" }, "No kernels are known of this trial.");
  const total = (kernel) => (kernel.median_us == null ? 0 : kernel.median_us * kernel.calls);
  const sum = trial.kernels.reduce((us, kernel) => us + total(kernel), 0);
  const most = Math.max(...trial.kernels.map(total)) || 1;
  const body = trial.kernels.map((kernel) => element("tr", {},
    element("td", {}, kernel.name, element("span", { class: "bar", style: `width:${(100 * total(kernel)) / most}%` })),
    element("td", {}, kernel.road), element("td", {}, String(kernel.calls)),
    element("td", {}, kernel.median_us == null ? "–" : total(kernel).toFixed(1)),
    element("td", {}, kernel.median_us == null ? "–" : `${Math.round((100 * total(kernel)) / sum || 0)} %`)));
  const head = ["kernel, by itself", "road", "calls", "µs", "share"].map((title) => element("th", { scope: "col" }, title));
  const table = element("table", { id: "kernels" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  const sentence = `Kernels, each measured by itself: ${sum.toFixed(1)} µs together.`;
  return element("div", {}, element("p", { class: "quiet" }, sentence),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Kernels" }, table));
}

document.documentElement.classList.add("scripted");
for (const [name, draw] of [["front", drawFront], ["hypervolume", drawHypervolume], ["time", drawTime]])
  drawByWidth(document.getElementById(name), draw);
range.addEventListener("change", () => drawFront(document.getElementById("front"), document.getElementById("front").clientWidth));
for (const link of document.querySelectorAll("a[data-trial]"))
  link.addEventListener("click", () => select(Number(link.dataset.trial)));
if (selected !== null) select(selected);
else document.getElementById("trial").textContent = data.measured.length ? "No measured trial is within the limits." : "No trial has been measured yet.";
