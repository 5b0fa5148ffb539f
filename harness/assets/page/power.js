// Power over time: a stepped line per device, queries as bands, load, warm-up and idle shaded.
const drawPower = (() => {
  const { colour, modeColour, element, thousands, clock, stamp, key, axis, plain, place, mount, describe } = chart;

  return (power, holder, several) => {
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
    const drawn = mount(box, 340, options, [power.t, ...rows]);
    describe(box, `${word} over ${clock(power.t[last] - power.t[0])}, ${queries.length} queries marked`);
    const window_ = (change) => {
      const { min, max } = drawn().scales.x, [from, to] = change(min, max), span = Math.min(to - from, power.t[last] - power.t[0]);
      const start = Math.max(power.t[0], Math.min(from, power.t[last] - span));
      drawn().setScale("x", { min: start, max: start + span });
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
    const hint = "Drag over the chart to zoom in, double-click to see everything again.";
    const thin = power.bin_s === null ? "One step per tick of the sensor." : `Drawn as means over ${thousands(power.bin_s, 2)} s, so that the area under the line is the energy; shorter peaks are lower than they were.`;
    box.append(element("p", "note", power.left_out ? `${hint} ${thin} ${power.left_out} further queries are not marked.` : `${hint} ${thin}`));
  };
})();
