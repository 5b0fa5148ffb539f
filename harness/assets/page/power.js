// Power over time: a stepped line per device, queries as bands, load, warm-up and idle shaded.
const drawPower = (() => {
  const { colour, modeColour, element, thousands, clock, stamp, key, axis, plain, place, mount, describe } = chart;

  return (power, holder, several) => {
    const box = element("div", "plot");
    if (several) box.append(element("h3", "", `Session ${power.session}`));
    const legend = element("div", "legend"), lines = ["--ink", "--soft", "--mode-2", "--mode-3", "--mode-4"];
    power.devices.forEach((name, index) => legend.append(key(name, 0, `var(${lines[index % lines.length]})`)));
    // Under load queries lie over each other: their number is drawn instead, and blocks and steady windows are shaded.
    const load = power.flying ? { n: [...power.flying, power.flying[power.flying.length - 1]], blocks: power.blocks, steady: power.steady } : null;
    if (load) legend.append(key("in flight", 0, "var(--mode-3)"));
    power.modes.forEach((mode, index) => legend.append(key(load ? `block, ${mode}` : `queries, ${mode}`, index)));
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
    // Zoomed in, a query shows its phases: a taller strip in shades of its mode's colour, with their names where they fit.
    const phases = (ctx, start, ends, clip, bottom) => {
      const dpr = devicePixelRatio, tall = 18 * dpr, fill = ctx.fillStyle;
      ends.forEach((end, index) => {
        const from = clip(start + (index ? ends[index - 1] : 0)), to = clip(start + end), name = power.phases[index];
        if (to <= from) return;
        ctx.fillStyle = fill;
        ctx.globalAlpha = [0.5, 1, 0.7][index % 3];
        ctx.fillRect(from, bottom - tall, to - from, tall);
        ctx.globalAlpha = 1;
        ctx.fillStyle = colour("--paper");
        if (index) ctx.fillRect(from, bottom - tall, dpr, tall);
        if (ctx.measureText(name).width + 8 * dpr < to - from) ctx.fillText(name, from + 4 * dpr, bottom - 5 * dpr);
      });
    };
    const phaseAt = (query, time) => {
      const index = query.slice(6).findIndex((end) => time <= query[0] + end);
      return index < 0 ? "" : `, ${power.phases[index]}`;
    };
    const bands = (u) => {
      const { ctx } = u, { left, top, width, height } = u.bbox, strip = 7 * devicePixelRatio;
      const clip = (time) => Math.max(left, Math.min(left + width, u.valToPos(time, "x", true)));
      ctx.save();
      ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = "left"; ctx.textBaseline = "alphabetic";
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
      if (load) for (const [spans, alpha, name] of [[load.blocks, 0.1, ""], [load.steady, 0.16, "steady"]]) {
        for (const [start, end, mode] of spans) {
          const from = clip(start), to = clip(end);
          if (to <= from) continue;
          ctx.fillStyle = modeColour(mode);
          ctx.globalAlpha = alpha;
          ctx.fillRect(from, top, to - from, height);
          ctx.globalAlpha = 1;
          if (!name) continue;
          ctx.fillRect(from, top + height - strip, to - from, strip);
          const wide = ctx.measureText(name).width;
          ctx.fillStyle = colour("--ink");
          if (to - from > wide + 8 * devicePixelRatio) ctx.fillText(name, from + 4 * devicePixelRatio, top + 14 * devicePixelRatio);
        }
      }
      for (const [start, end, mode, , , , ...ends] of queries) {
        const from = clip(start), to = clip(end);
        if (to <= from) continue;
        ctx.fillStyle = modeColour(mode);
        ctx.globalAlpha = 0.14;
        ctx.fillRect(from, top, to - from, height);
        ctx.globalAlpha = 1;
        if (ends.length && to - from > 12 * devicePixelRatio) phases(ctx, start, ends, clip, top + height);
        else ctx.fillRect(from, top + height - strip, Math.max(to - from, 1), strip);
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
      if (load) {
        const inside = (spans) => spans.find((one) => one[0] <= time && time <= one[1]), block = inside(load.blocks);
        text.push(`${thousands(load.n[Math.min(bin, last - 1)])} in flight`);
        if (block) text.push(`block of ${power.modes[block[2]]}${inside(load.steady) ? ", steady" : ", ramp or drain"}`);
      }
      if (query) text.push(`${query[3]}, ${power.modes[query[2]]}${phaseAt(query, time)}`, `${thousands(query[4], 4)} J${power.estimated ? " (estimated)" : ""}${query[5] === null ? "" : `, ${thousands(query[5], 6)} tokens`}`);
      else if (interval) text.push(interval[0]);
      tip.textContent = text.join("\n");
      place(tip, u, left, top);
    };
    const word = power.estimated ? "power, W (estimated)" : "power, W";
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: true, y: false }, points: { show: false }, y: false },
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, (high || 1) * 1.08] }, ...(load ? { n: { range: (u, low, high) => [0, (high || 1) * 1.6] } } : {}) },
      axes: [axis("time since the session began", 34, (u, splits) => splits.map((value) => (u.scales.x.max < 120 || splits[1] - splits[0] < 1 ? `${thousands(value, 6)} s` : stamp(value)))), axis(word, 48, plain), ...(load ? [{ ...axis("queries in flight", 34, plain), scale: "n", side: 1, grid: { show: false } }] : [])],
      series: [{}, ...power.devices.map((name, index) => ({
        label: name, stroke: () => colour(lines[index % lines.length]), width: 1.25, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
      })), ...(load ? [{ label: "in flight", scale: "n", stroke: () => colour("--mode-3"), width: 1.5, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) }] : [])],
      hooks: { drawClear: [bands], setCursor: [hover] },
    });
    const tools = element("div", "tools");
    box.append(legend, tip);
    holder.append(box);
    const drawn = mount(box, 340, options, [power.t, ...rows, ...(load ? [load.n] : [])]);
    describe(box, `${word} over ${clock(power.t[last] - power.t[0])}, ${load ? `and up to ${thousands(Math.max(...load.n))} queries in flight; ${load.steady.length} steady windows are shaded` : `${queries.length} queries marked`}`);
    const window_ = (change) => {
      const { min, max } = drawn().scales.x, [from, to] = change(min, max), span = Math.min(Math.max(to - from, 0.001), power.t[last] - power.t[0]);
      const start = Math.max(power.t[0], Math.min(from, power.t[last] - span));
      drawn().setScale("x", { min: start, max: start + span });
    };
    const around = (by) => (a, b) => { const middle = (a + b) / 2, half = ((b - a) / 2) * by; return [middle - half, middle + half]; };
    const along = (share) => (a, b) => [a + (b - a) * share, b + (b - a) * share];
    const whole = () => [power.t[0], power.t[last]];
    const first = (a, b) => [power.t[0], power.t[0] + b - a], final = (a, b) => [power.t[last] - b + a, power.t[last]];
    const keys = { "+": around(0.5), "=": around(0.5), "-": around(2), ArrowLeft: along(-0.25), ArrowRight: along(0.25), PageUp: along(-1), PageDown: along(1), Home: first, End: final, 0: whole, Escape: whole };
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${word} over time. Plus and minus zoom, the arrow keys move, 0 shows the whole session.`);
    box.addEventListener("keydown", (event) => {
      const change = event.target === box && !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
      if (change) { event.preventDefault(); window_(change); }
    });
    // One finger moves along, two zoom; up and down stays with the page.
    const fingers = new Map();
    box.addEventListener("pointerdown", (event) => { if (event.pointerType === "touch" && event.target.closest(".u-over")) fingers.set(event.pointerId, event.clientX); });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) box.addEventListener(end, (event) => fingers.delete(event.pointerId));
    box.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const over = drawn().over.getBoundingClientRect(), before = [...fingers.values()];
      fingers.set(event.pointerId, event.clientX);
      const now = [...fingers.values()];
      window_((a, b) => {
        const second = (x) => a + ((b - a) * (x - over.left)) / over.width;
        if (now.length < 2) { const moved = second(before[0]) - second(now[0]); return [a + moved, b + moved]; }
        const apart = (both) => Math.max(8, Math.abs(both[0] - both[1])), middle = second((now[0] + now[1]) / 2), by = apart(before) / apart(now);
        return [middle - (middle - a) * by, middle + (b - middle) * by];
      });
    });
    for (const [sign, name, change] of [
      ["+", "Zoom in", around(0.5)], ["−", "Zoom out", around(2)], ["‹", "Earlier", along(-0.5)], ["›", "Later", along(0.5)], ["all", "Whole session", whole],
    ]) {
      const button = element("button", "", sign);
      button.type = "button"; button.title = name; button.setAttribute("aria-label", name);
      button.addEventListener("click", () => window_(change));
      tools.append(button);
    }
    legend.append(tools);
    const hint = "Drag over the chart to zoom in, double-click to see everything again; with the keyboard + and − zoom, the arrows move." + (load ? "" : " Zoomed in, a query shows its phases.");
    const thin = power.bin_s === null ? "One step per tick of the sensor." : `Drawn as means over ${thousands(power.bin_s, 2)} s, so that the area under the line is the energy; shorter peaks are lower than they were.`;
    box.append(element("p", "note", power.left_out ? `${hint} ${thin} ${power.left_out} further queries are not marked.` : `${hint} ${thin}`));
  };
})();
