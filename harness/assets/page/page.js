"use strict";
// Draws the two charts from the JSON beside them. Texts are only ever set as text, never as HTML.
(() => {
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

  const drawPower = (power, holder, several) => {
    const box = element("div", "plot");
    if (several) box.append(element("h3", "", `Session ${power.session}`));
    const legend = element("div", "legend"), lines = ["--ink", "--soft", "--mode-2", "--mode-3", "--mode-4"];
    power.devices.forEach((name, index) => legend.append(key(name, 0, `var(${lines[index % lines.length]})`)));
    power.modes.forEach((mode, index) => legend.append(key(`queries, ${mode}`, index)));
    const tip = element("div", "tip");
    const last = power.t.length - 1, rows = power.w.map((row) => [...row, row[row.length - 1]]);
    const queries = power.queries;
    const at = (time) => {
      let low = 0, high = queries.length - 1;
      while (low <= high) {
        const middle = (low + high) >> 1, query = queries[middle];
        if (time < query[0]) high = middle - 1; else if (time > query[1]) low = middle + 1; else return query;
      }
      return null;
    };
    const bands = (u) => {
      const { ctx } = u, { left, top, width, height } = u.bbox, strip = 7 * devicePixelRatio;
      const clip = (time) => Math.max(left, Math.min(left + width, u.valToPos(time, "x", true)));
      ctx.save();
      ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      let labelEnd = left;
      for (const [name, start, end] of power.intervals) {
        const from = clip(start), to = clip(end);
        if (to <= from) continue;
        ctx.fillStyle = colour("--shade");
        ctx.fillRect(from, top, to - from, height);
        const wide = ctx.measureText(name).width;
        ctx.fillStyle = colour("--soft");
        if (to - from > wide + 8 * devicePixelRatio && from >= labelEnd) { ctx.fillText(name, from + 4 * devicePixelRatio, top + 14 * devicePixelRatio); labelEnd = from + wide; }
      }
      for (const [start, end, mode] of queries) {
        const from = clip(start), to = clip(end);
        if (to <= from) continue;
        ctx.fillStyle = modeColour(mode);
        ctx.globalAlpha = 0.14;
        ctx.fillRect(from, top, to - from, height);
        ctx.globalAlpha = 1;
        ctx.fillRect(from, top + height - strip, Math.max(to - from, 1), strip);
      }
      ctx.restore();
    };
    const hover = (u) => {
      const { left, top } = u.cursor;
      if (left === null || left < 0) { tip.style.visibility = "hidden"; return; }
      const time = u.posToVal(left, "x"), query = at(time), interval = power.intervals.find((one) => one[1] <= time && time <= one[2]);
      const text = [clock(time)];
      let bin = u.valToIdx(time);
      if (bin > 0 && power.t[bin] > time) bin -= 1;
      power.w.forEach((row, index) => text.push(`${thousands(row[Math.min(bin, last - 1)])} W${power.w.length > 1 ? ` ${power.devices[index]}` : ""}`));
      if (query) text.push(`${query[3]}, ${power.modes[query[2]]}`, `${thousands(query[4], 4)} J${power.estimated ? " (estimated)" : ""}, ${thousands(query[5], 6)} tokens`);
      else if (interval) text.push(interval[0]);
      tip.textContent = text.join("\n");
      place(tip, u, left, top);
    };
    const word = power.estimated ? "power, W (estimated)" : "power, W";
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: true, y: false }, points: { show: false }, y: false },
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, (high || 1) * 1.08] } },
      axes: [axis("time since the session began", 34, (u, splits) => splits.map((value) => (u.scales.x.max < 120 || splits[1] - splits[0] < 1 ? `${thousands(value, 6)} s` : stamp(value)))), axis(word, 48, plain)],
      series: [{}, ...power.devices.map((name, index) => ({
        label: name, stroke: () => colour(lines[index % lines.length]), width: 1.25, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
      }))],
      hooks: { drawClear: [bands], setCursor: [hover] },
    });
    const tools = element("div", "tools");
    box.append(legend, tip);
    holder.append(box);
    const chart = mount(box, 340, options, [power.t, ...rows]);
    box.querySelector("canvas").setAttribute("role", "img");
    box.querySelector("canvas").setAttribute("aria-label", `${word} over ${clock(power.t[last] - power.t[0])}, ${queries.length} queries marked`);
    const window_ = (change) => {
      const { min, max } = chart().scales.x, [from, to] = change(min, max), span = Math.min(to - from, power.t[last] - power.t[0]);
      const start = Math.max(power.t[0], Math.min(from, power.t[last] - span));
      chart().setScale("x", { min: start, max: start + span });
    };
    for (const [sign, name, change] of [
      ["+", "Zoom in", (a, b) => [a + (b - a) / 4, b - (b - a) / 4]], ["−", "Zoom out", (a, b) => [a - (b - a) / 2, b + (b - a) / 2]],
      ["‹", "Earlier", (a, b) => [a - (b - a) / 2, b - (b - a) / 2]], ["›", "Later", (a, b) => [a + (b - a) / 2, b + (b - a) / 2]],
      ["all", "Whole session", () => [power.t[0], power.t[last]]],
    ]) {
      const button = element("button", "", sign);
      button.type = "button"; button.title = name; button.setAttribute("aria-label", name);
      button.addEventListener("click", () => window_(change));
      tools.append(button);
    }
    legend.append(tools);
    const thin = power.bin_s === null ? "One step per tick of the sensor." : `Drawn as means over ${thousands(power.bin_s, 2)} s, so that the area under the line is the energy; shorter peaks are lower than they were.`;
    box.append(element("p", "note", power.left_out ? `${thin} ${power.left_out} further queries are not marked.` : thin));
  };

  const drawScatter = (scatter, holder) => {
    const box = element("div", "plot"), legend = element("div", "legend"), tip = element("div", "tip");
    scatter.modes.forEach((mode, index) => legend.append(key(mode, index)));
    box.append(legend, tip);
    holder.append(box);
    const x = scatter.points.map((point) => point[0]);
    const byMode = scatter.modes.map((mode, index) => scatter.points.map((point) => (point[2] === index ? point[1] : null)));
    const marks = (index) => (u, series, first, end) => {
      const path = new Path2D(), r = 3.6 * devicePixelRatio;
      for (let i = first; i <= end; i++) if (byMode[index][i] !== null) shape(path, index, u.valToPos(x[i], "x", true), u.valToPos(byMode[index][i], "y", true), r);
      return { stroke: path, fill: path };
    };
    const slopes = (u) => {
      const { ctx } = u;
      ctx.save();
      ctx.beginPath(); ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height); ctx.clip();
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.lineWidth = 1.2 * devicePixelRatio;
      scatter.slopes.forEach((slope, index) => {
        const own = scatter.points.filter((point) => point[2] === index).map((point) => point[0]);
        if (slope === null || !own.length) return;
        ctx.strokeStyle = modeColour(index);
        ctx.beginPath();
        for (const [position, tokens] of [Math.min(...own), Math.max(...own)].entries()) ctx[position ? "lineTo" : "moveTo"](u.valToPos(tokens, "x", true), u.valToPos(tokens * slope, "y", true));
        ctx.stroke();
      });
      ctx.restore();
    };
    const hover = (u) => {
      const { left, top } = u.cursor;
      let best = null, near = 28 ** 2;
      if (left !== null && left >= 0) for (const point of scatter.points) {
        const px = u.valToPos(point[0], "x"), py = u.valToPos(point[1], "y"), distance = (px - left) ** 2 + (py - top) ** 2;
        if (distance < near) { near = distance; best = [point, px, py]; }
      }
      if (!best) { tip.style.visibility = "hidden"; return; }
      const [point, px, py] = best;
      tip.textContent = `${point[3]}, ${scatter.modes[point[2]]}\n${thousands(point[1], 4)} ${scatter.unit}\n${thousands(point[0], 6)} output tokens`;
      place(tip, u, px, py);
    };
    const pad = (log) => (u, low, high) => (log ? [low / 1.25, high * 1.25] : [0, high * 1.06]);
    const splits = (log) => (log ? { splits: (u, i, low, high) => { const out = []; for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) for (const m of u.width > 560 ? [1, 2, 5] : [1]) { const v = m * 10 ** p; if (v >= low && v <= high) out.push(v); } return out; } } : {});
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: false, distr: scatter.log[0] ? 3 : 1, range: pad(scatter.log[0]) }, y: { distr: scatter.log[1] ? 3 : 1, range: pad(scatter.log[1]) } },
      axes: [{ ...axis(scatter.log[0] ? "output tokens (logarithmic)" : "output tokens", 34, plain), ...splits(scatter.log[0]) },
        { ...axis(`energy, ${scatter.unit}${scatter.log[1] ? " (logarithmic)" : ""}`, 58, plain), ...splits(scatter.log[1]) }],
      series: [{}, ...scatter.modes.map((mode, index) => ({
        label: mode, paths: () => null, stroke: () => modeColour(index),
        points: { show: true, fill: () => modeColour(index) + "88", stroke: () => modeColour(index), width: 1, paths: marks(index) },
      }))],
      hooks: { drawClear: [slopes], setCursor: [hover] },
    });
    mount(box, 420, options, [x, ...byMode]);
    box.querySelector("canvas").setAttribute("role", "img");
    box.querySelector("canvas").setAttribute("aria-label", `${scatter.unit} against output tokens, ${x.length} queries; the list of all queries holds the figures`);
    if (scatter.left_out) box.append(element("p", "note", `${scatter.left_out} further queries are not drawn.`));
  };

  for (const cell of document.querySelectorAll(".cell")) {
    const data = JSON.parse(cell.querySelector("script.data").textContent);
    for (const power of data.power) drawPower(power, cell.querySelector('[data-chart="power"] .plots'), data.power.length > 1);
    if (data.scatter) drawScatter(data.scatter, cell.querySelector('[data-chart="scatter"] .plots'));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((draw) => draw()));
})();
