"use strict";
// The charts of a job: its variants beside their peers, and where the time of each goes.

const data = JSON.parse(document.getElementById("data").textContent);

function kindOf(point) {
  if (point.runtime !== "hwopt") return "peer";
  return point.variant === data.best ? "front" : point.variant === data.baseline ? "baseline" : "other";
}

function drawVariants(holder, width) {
  const points = data.points.filter((point) => point.quality !== null);
  if (!points.length) return holder.replaceChildren("No variant has a quality.");
  const heights = points.map((point) => data.metric.scale * point.quality);
  const [bottom, top] = [Math.min(...heights), Math.max(...heights)];
  const room = 0.15 * (top - bottom) || 0.02 * Math.abs(top) || 0.05;
  const x = { low: 0, high: 1.05 * Math.max(...points.map((point) => point.high)), title: "latency in ms" };
  const y = { low: bottom - room, high: top + room, title: data.metric.axis };
  x.ticks = ticks(x.low, x.high, width < 500 ? 4 : 8);
  y.ticks = ticks(y.low, y.high, 6);
  const chart = frame(holder, width, 320, `${data.metric.name} against latency`, x, y);
  const entries = points.map((point) => variantEntry(chart, point));
  entries.sort((a, b) => a.point.ms - b.point.ms);
  chart.layer.append(...entries.map((entry) => entry.mark));
  for (const { point, x, y } of entries.filter((entry) => entry.point.runtime === "hwopt")) {
    const text = chart.layer.appendChild(svg("text", { class: "name", x, y: y - 12, "text-anchor": "middle" }, point.variant));
    const half = text.getComputedTextLength() / 2;
    text.setAttribute("x", Math.min(chart.right - half, Math.max(chart.left + half, x)));
  }
  connect(entries);
}

function variantEntry({ at }, point) {
  const [x, y] = [at.x(point.ms), at.y(data.metric.scale * point.quality)];
  const kind = kindOf(point);
  const [low, high] = [at.x(point.low), at.x(point.high)];
  const dot = kind === "peer"
    ? svg("rect", { class: "dot", x: x - 4.5, y: y - 4.5, width: 9, height: 9 })
    : svg("circle", { class: "dot", cx: x, cy: y, r: 5.5 });
  const mark = svg("g", { class: `mark ${kind}` },
    svg("path", { class: "whisker", d: `M${low},${y}H${high}M${low},${y - 3}v6M${high},${y - 3}v6` }),
    svg("circle", { class: "hit", cx: x, cy: y, r: 12 }), dot, svg("circle", { class: "ring", cx: x, cy: y, r: 10 }));
  return { mark, point, x, y, told: { title: `${point.variant}, ${point.runtime}`, pairs: point.facts } };
}

// A row a variant, a block a kernel, as wide as its time; those of one road have one colour.
function drawKernels(holder, width) {
  const rows = data.kernels.map(([name, kernels]) => [name, kernels.filter((one) => one.us !== null)]);
  const sum = (kernels) => kernels.reduce((us, one) => us + one.us, 0);
  const most = Math.max(...rows.map(([, kernels]) => sum(kernels)));
  if (!most) return holder.replaceChildren("No kernel was measured by itself: none has more than one schedule, or kernel_trials is 0.");
  const x = { low: 0, high: most, title: "µs, each kernel measured by itself", ticks: ticks(0, most, width < 500 ? 4 : 8) };
  const chart = frame(holder, width, 74 + 58 * rows.length, "Time by kernel", x, { low: rows.length, high: 0, title: "", ticks: [] });
  const entries = rows.flatMap(([name, kernels], row) => {
    chart.layer.append(svg("text", { class: "name", x: chart.left, y: chart.at.y(row + 0.3) }, name));
    let at = 0;
    return kernels.map((kernel) => {
      const box = { x: chart.at.x(at), y: chart.at.y(row + 0.42), width: Math.max(0.5, chart.at.x(at + kernel.us) - chart.at.x(at)), height: 24 };
      at += kernel.us;
      const road = kernel.road.split(":")[0];
      const mark = svg("g", { class: `mark block ${road}` }, svg("rect", { class: "dot", ...box }), svg("rect", { class: "ring", ...box }));
      chart.layer.append(mark);
      const pairs = [["road", kernel.road], ["time", `${kernel.us.toFixed(1)} µs, ${Math.round((100 * kernel.us) / sum(kernels))} % of ${name}`], ["calls", String(kernel.calls)]];
      if (kernel.gigamacs) pairs.push(["speed", `${kernel.gigamacs.toFixed(1)} GMAC/s`]);
      return { mark, told: { title: kernel.name, pairs } };
    });
  });
  connect(entries);
}

document.documentElement.classList.add("scripted");
drawByWidth(document.getElementById("variants"), drawVariants);
drawByWidth(document.getElementById("kernels"), drawKernels);
