"use strict";
// What all charts share. Texts are only ever set as text, never as HTML.
const chart = (() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const modeColour = (index) => colour(`--mode-${index % 6}`);
  const redraws = [];

  const element = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const thousands = (value, digits = 3) => {
    if (value === null || value === undefined) return "unknown";
    const decimals = value === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
    return value.toLocaleString("en-US", { maximumFractionDigits: Math.min(decimals, 9) });
  };
  const clock = (seconds) => (Math.abs(seconds) < 120 ? `${thousands(seconds, 4)} s` : stamp(seconds));
  const stamp = (seconds) => {
    const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    return `${hours ? `${hours}:${pad(Math.floor(whole / 60) % 60)}` : Math.floor(whole / 60)}:${pad(whole % 60)}`;
  };

  // A shape per mode beside its colour, so that colour is never the only sign.
  const shape = (path, index, x, y, r) => {
    const turn = (dx, dy, first) => path[first ? "moveTo" : "lineTo"](x + dx * r, y + dy * r);
    if (index % 4 === 0) { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); }
    else {
      const corners = [[[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]], [[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, -1.2], [1.2, 1], [-1.2, 1]]][index % 4 - 1];
      corners.forEach(([dx, dy], position) => turn(dx, dy, position === 0));
      path.closePath();
    }
  };
  const key = (label, index, line) => {
    const node = element("span", "key");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "-7 -7 14 14");
    svg.setAttribute("aria-hidden", "true");
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "path");
    if (line) { mark.setAttribute("d", "M-7,0H7"); mark.style.stroke = line; mark.style.strokeWidth = "2"; }
    else {
      const parts = [];
      shape({ moveTo: (x, y) => parts.push(`M${x},${y}`), lineTo: (x, y) => parts.push(`L${x},${y}`), closePath: () => parts.push("Z"),
        arc: (x, y, r) => parts.push(`A${r},${r} 0 1 1 ${x - r},${y}A${r},${r} 0 1 1 ${x + r},${y}`) }, index, 0, 0, 5);
      mark.setAttribute("d", parts.join(""));
      mark.style.fill = `var(--mode-${index % 6})`;
    }
    svg.append(mark);
    node.append(svg, element("span", "", label));
    return node;
  };
  const axis = (label, size, values) => ({
    label, labelSize: 22, size, stroke: () => colour("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
    grid: { stroke: () => colour("--faint"), width: 1 }, ticks: { stroke: () => colour("--faint"), width: 1, size: 4 }, values,
  });
  const plain = (u, splits) => splits.map((value) => (value === null ? "" : thousands(value)));
  const place = (tip, u, left, top) => {
    const over = u.over.getBoundingClientRect(), frame = tip.parentElement.getBoundingClientRect();
    const x = over.left - frame.left + left, y = over.top - frame.top + top;
    tip.style.left = `${Math.max(0, Math.min(x + 14, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, y - tip.offsetHeight - 12)}px`;
    tip.style.visibility = "visible";
  };
  const mount = (box, height, options, data) => {
    let chart;
    const width = () => Math.max(260, box.clientWidth);
    const draw = () => {
      const range = chart && [chart.scales.x.min, chart.scales.x.max];
      if (chart) chart.destroy();
      chart = new uPlot({ ...options(), width: width(), height: Math.min(height, Math.max(250, width() * 0.62)) }, data, box);
      if (range && range[0] !== null) chart.setScale("x", { min: range[0], max: range[1] });
    };
    draw();
    redraws.push(draw);
    new ResizeObserver(() => { if (chart.width !== width()) chart.setSize({ width: width(), height: chart.height }); }).observe(box);
    return () => chart;
  };
  const frame = (holder, keys) => {
    const box = element("div", "plot"), legend = element("div", "legend"), tip = element("div", "tip");
    legend.append(...keys);
    box.append(legend, tip);
    holder.append(box);
    return { box, legend, tip };
  };
  const describe = (box, text) => {
    const canvas = box.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text);
  };
  // Inside the axes only, in a state that leaves no trace.
  const inside = (u, draw) => {
    u.ctx.save();
    u.ctx.beginPath(); u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height); u.ctx.clip();
    draw(u.ctx, devicePixelRatio);
    u.ctx.restore();
  };
  const polyline = (u, points) => {
    u.ctx.beginPath();
    points.forEach(([x, y], position) => u.ctx[position ? "lineTo" : "moveTo"](u.valToPos(x, "x", true), u.valToPos(y, "y", true)));
    u.ctx.stroke();
  };
  const spot = (u, index, x, y, r) => { u.ctx.beginPath(); shape(u.ctx, index, u.valToPos(x, "x", true), u.valToPos(y, "y", true), r); u.ctx.fill(); };
  const pad = (log) => (u, low, high) => (log ? [low / 1.25, high * 1.25] : [0, high * 1.06]);
  const decades = (log) => (log ? { filter: (u, splits) => splits, splits: (u, i, low, high) => {
    const all = (steps) => {
      const out = [];
      for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) for (const m of steps) { const v = m * 10 ** p; if (v >= low && v <= high) out.push(v); }
      return out;
    };
    const most = i === 0 ? u.width / 70 : 9;
    return [[1, 2, 5], [1, 3], [1]].map(all).find((out) => out.length <= most) || all([1]);
  } } : {});
  const scaled = (log) => ({ distr: log ? 3 : 1, range: pad(log) });

  const redraw = () => redraws.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  // Paper is light whatever the screen is, and a canvas does not change its colours by itself.
  addEventListener("beforeprint", () => { document.documentElement.classList.add("paper"); redraw(); });
  addEventListener("afterprint", () => { document.documentElement.classList.remove("paper"); redraw(); });
  return { colour, modeColour, element, thousands, clock, stamp, shape, key, axis, plain, place, mount, frame, describe, inside, polyline, spot, decades, scaled };
})();
