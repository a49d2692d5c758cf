"use strict";
// What the charts share: elements, ticks, a frame with axes, and marks that tell what they are
// where one points at them, taps them, or comes to them with the keyboard.

function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children); // texts stay texts: nothing here is read as HTML
  return made;
}

// About `count` round numbers from low to high, with the decimals that tell them apart.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(i * step);
  return values.map((value) => ({ value, text: value.toFixed(decimals) }));
}

// A chart with axes in a holder; x and y are {low, high, ticks, title}. Gives back the layer to
// draw on, and how values become places.
function frame(holder, width, height, label, x, y) {
  const edge = { left: 46, right: 14, top: 26, bottom: 44 };
  const at = {
    x: (value) => edge.left + ((value - x.low) / (x.high - x.low)) * (width - edge.left - edge.right),
    y: (value) => height - edge.bottom - ((value - y.low) / (y.high - y.low)) * (height - edge.top - edge.bottom),
  };
  const bottom = height - edge.bottom;
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": label });
  for (const { value, text } of y.ticks) {
    const place = at.y(value);
    layer.append(svg("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: place, y2: place }));
    layer.append(svg("text", { x: edge.left - 8, y: place + 4, "text-anchor": "end" }, text));
  }
  layer.append(svg("line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: bottom, y2: bottom }));
  for (const { value, text } of x.ticks) {
    layer.append(svg("line", { class: "axis", x1: at.x(value), x2: at.x(value), y1: bottom, y2: bottom + 4 }));
    layer.append(svg("text", { x: at.x(value), y: bottom + 18, "text-anchor": "middle" }, text));
  }
  layer.append(svg("text", { x: 0, y: 12 }, y.title));
  layer.append(svg("text", { x: width - edge.right, y: height - 6, "text-anchor": "end" }, x.title));
  holder.replaceChildren(layer);
  return { layer, at, left: edge.left, right: width - edge.right, top: edge.top, bottom };
}

// Draw again whenever the holder gets another width: letters keep their size on a phone.
function drawByWidth(holder, draw) {
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.round(holder.clientWidth);
    if (width && width !== last) draw(holder, (last = width));
  }).observe(holder);
}

const tooltip = document.getElementById("tooltip");

function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [name, text] of pairs) list.append(element("dt", {}, name), element("dd", {}, text));
  return list;
}

function showTooltip(mark, { title, changes, pairs }) {
  const parts = [element("b", {}, title)];
  if (changes) parts.push(element("p", {}, element("code", {}, changes)));
  tooltip.replaceChildren(...parts, facts(pairs));
  tooltip.hidden = false;
  const spot = (mark.querySelector(".dot") || mark).getBoundingClientRect();
  const size = tooltip.getBoundingClientRect();
  const room = document.documentElement.clientWidth - size.width - 8;
  const left = Math.max(8, Math.min(room, spot.x + spot.width / 2 - size.width / 2));
  const above = spot.y - size.height - 12;
  tooltip.style.left = `${left + scrollX}px`;
  tooltip.style.top = `${(above >= 4 ? above : spot.bottom + 12) + scrollY}px`;
}

function hideTooltip() {
  tooltip.hidden = true;
}

// Make marks of a chart one stop for the Tab key; arrow keys go from one to the next, in order.
// An entry is {mark, told, chosen?}: told is for the tooltip, chosen is called on click and Enter.
function connect(entries, first = 0) {
  entries.forEach(({ mark, told, chosen }, index) => {
    const words = [told.title, told.changes, ...told.pairs.map((pair) => pair.join(" "))];
    mark.setAttribute("aria-label", words.filter(Boolean).join(", "));
    mark.setAttribute("role", chosen ? "button" : "img");
    mark.setAttribute("tabindex", index === first ? 0 : -1);
    mark.addEventListener("pointerenter", () => showTooltip(mark, told));
    // A finger leaves at once; what it tapped has the focus, and tells until another is tapped.
    mark.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hideTooltip());
    mark.addEventListener("focus", () => showTooltip(mark, told));
    mark.addEventListener("blur", hideTooltip);
    mark.addEventListener("click", () => chosen?.());
    mark.addEventListener("keydown", (event) => {
      const last = entries.length - 1;
      const next = {
        ArrowRight: Math.min(last, index + 1), ArrowDown: Math.min(last, index + 1),
        ArrowLeft: Math.max(0, index - 1), ArrowUp: Math.max(0, index - 1), Home: 0, End: last,
      }[event.key];
      if (next !== undefined) {
        for (const entry of entries) entry.mark.setAttribute("tabindex", -1);
        entries[next].mark.setAttribute("tabindex", 0);
        entries[next].mark.focus();
      } else if (event.key === "Enter" || event.key === " ") chosen?.();
      else if (event.key === "Escape") hideTooltip();
      else return;
      event.preventDefault();
    });
  });
}

// Buttons that copy a text of the page.
for (const button of document.querySelectorAll("button[data-copies]"))
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "copied";
    } catch { // not over plain http: then it is selected, for the keyboard to copy
      getSelection().selectAllChildren(source);
      button.textContent = "selected";
    }
  });
