"use strict";
// Shows the values at the step under the pointer. The charts are complete without it.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function element(name, className) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", className);
  return made;
}

function nearest(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle;
    else high = middle;
  }
  return Math.abs(xs[high] - x) < Math.abs(xs[low] - x) ? high : low;
}

function shown(value) {
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const series = data[svg.dataset.chart];
  const [left, right, top, bottom, last] =
      ["left", "right", "top", "bottom", "last"].map(name => Number(svg.dataset[name]));
  const pointer = element("line", "pointer");
  pointer.setAttribute("y1", top);
  pointer.setAttribute("y2", bottom);
  const reading = element("text", "reading");
  reading.setAttribute("y", top + 14);

  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const wanted = (Math.min(right, Math.max(left, at)) - left) / (right - left) * last;
    const step = series[0].x[nearest(series[0].x, wanted)];
    const parts = ["step " + step.toLocaleString("en")];
    for (const line of series) {
      const i = nearest(line.x, step);
      const where = line.x[i] === step ? "" : " (step " + line.x[i].toLocaleString("en") + ")";
      parts.push(line.name + " " + shown(line.y[i]) + where);
    }
    const x = left + step / last * (right - left);
    pointer.setAttribute("x1", x);
    pointer.setAttribute("x2", x);
    const before = x > (left + right) / 2;
    reading.setAttribute("x", before ? x - 8 : x + 8);
    reading.setAttribute("text-anchor", before ? "end" : "start");
    reading.textContent = parts.join("   ");
    svg.append(pointer, reading);
  });
  svg.addEventListener("pointerleave", () => {
    pointer.remove();
    reading.remove();
  });
}
