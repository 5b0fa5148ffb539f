// Charts of the leaderboard as SVG, whose colours are the style sheet's: dark, light and paper need no redrawing.
const drawing = (() => {
  const HEIGHT = 380, LEFT = 58, BOTTOM = 46, TOP = 26, RIGHT = 18, CHARACTER = 7.3;
  const node = (tag, attributes = {}, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const round = (low, high, log, most) => {
    if (log && high / low > 3) {
      for (const steps of [[1, 2, 5], [1, 3], [1]]) {
        const out = [];
        for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) for (const m of steps) { const v = m * 10 ** p; if (v >= low && v <= high) out.push(v); }
        if (out.length <= most || steps.length === 1) return out.filter((_, i) => i % Math.ceil(out.length / most) === 0);
      }
    }
    const raw = (high - low) / most, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((each) => each * size).find((each) => each >= raw * (1 - 1e-9));
    const out = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9); n++) out.push(Number((n * step).toPrecision(12)));
    return out;
  };
  const scale = (low, high, from, to, log) => (log
    ? (value) => from + (to - from) * Math.log(Math.min(Math.max(value, low), high) / low) / Math.log(high / low)
    : (value) => from + (to - from) * (Math.min(Math.max(value, low), high) - low) / (high - low));

  // Frame, axes and ticks. Returns what is needed to draw inside.
  const frame = (holder, { x, y, label }) => {
    holder.textContent = "";
    const width = Math.max(280, holder.clientWidth);
    const svg = node("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label });
    const right = width - RIGHT, bottom = HEIGHT - BOTTOM;
    const toX = x.places ? (i) => LEFT + (right - LEFT) * (i + 0.5) / x.places : scale(x.low, x.high, LEFT, right, x.log);
    const toY = scale(y.low, y.high, bottom, TOP, y.log);
    for (const value of round(y.low, y.high, y.log, 6)) {
      svg.append(node("line", { class: "tick-line", x1: LEFT, x2: right, y1: toY(value), y2: toY(value) }),
        node("text", { class: "tick", x: LEFT - 6, y: toY(value) + 4, "text-anchor": "end" }, chart.thousands(value)));
    }
    const ticks = x.ticks || round(x.low, x.high, x.log, Math.max(3, Math.floor(width / 110))).map((value) => [value, chart.thousands(value)]);
    for (const [value, text] of ticks) {
      svg.append(node("line", { class: "tick-line", x1: toX(value), x2: toX(value), y1: TOP, y2: bottom }),
        node("text", { class: "tick", x: toX(value), y: bottom + 17, "text-anchor": "middle" }, text));
    }
    svg.append(node("line", { class: "axis-line", x1: LEFT, x2: right, y1: bottom, y2: bottom }),
      node("line", { class: "axis-line", x1: LEFT, x2: LEFT, y1: TOP, y2: bottom }),
      node("text", { class: "axis-name", x: (LEFT + right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, x.name),
      node("text", { class: "axis-name", transform: `translate(13 ${(TOP + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.name));
    holder.append(svg);
    return { svg, toX, toY, left: LEFT, right, top: TOP, bottom };
  };

  // Names beside points, where there is room for them; the first in the list choose first.
  const label = (area, points, marks = points) => {
    const taken = marks.map(({ x, y }) => [x - 8, y - 8, x + 8, y + 8]);
    const free = (box) => box[0] >= area.left && box[2] <= area.right + RIGHT && box[1] >= 0 && box[3] <= area.bottom &&
      taken.every((other) => box[2] <= other[0] || box[0] >= other[2] || box[3] <= other[1] || box[1] >= other[3]);
    for (const { x, y, text, group } of points) {
      const width = text.length * CHARACTER;
      const spots = [[x + 9, y - 8], [x - 9 - width, y - 8], [x + 9, y + 18], [x - 9 - width, y + 18], [x - width / 2, y - 14], [x - width / 2, y + 24]];
      const found = spots.find(([left, base]) => free([left, base - 11, left + width, base + 4]));
      if (!found) continue;
      taken.push([found[0], found[1] - 11, found[0] + width, found[1] + 4]);
      group.append(node("text", { class: "label", x: found[0], y: found[1] }, text));
    }
  };
  const point = (area, { x, y, xLow, xHigh, yLow, yHigh, title, beaten }) => {
    const group = node("g", beaten ? { class: "beaten" } : {});
    if (xLow !== null && xLow !== undefined) group.append(node("line", { class: "whisker", x1: area.toX(xLow), x2: area.toX(xHigh), y1: y, y2: y }));
    if (yLow !== null && yLow !== undefined) group.append(node("line", { class: "whisker", x1: x, x2: x, y1: area.toY(yLow), y2: area.toY(yHigh) }));
    const mark = node("circle", { class: "point", cx: x, cy: y, r: beaten ? 5 : 6.5 });
    mark.append(node("title", {}, title));
    group.append(mark);
    area.svg.append(group);
    return group;
  };
  // Draws now, and again whenever the holder becomes wider or narrower.
  const mounted = (holder) => {
    let draw = () => {}, width = 0;
    new ResizeObserver(() => { if (Math.abs(holder.clientWidth - width) > 1) { width = holder.clientWidth; draw(); } }).observe(holder);
    return (next) => { draw = next; width = holder.clientWidth; draw(); };
  };
  return { node, frame, label, point, mounted };
})();
