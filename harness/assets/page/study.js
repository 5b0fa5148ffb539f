// The study's charts: prompt by prompt, lengths of thinking, energy against tokens.
const drawStudy = (() => {
  const { colour, modeColour, element, thousands, shape, key, axis, plain, place, mount, frame, describe, inside, polyline, spot, decades, scaled } = chart;

  // A line per prompt from mode to mode; those that go against the rest stand out.
  const pairs = (data, holder) => {
    const last = data.modes.length - 1, [below, above] = data.under, many = data.values.length;
    const against = data.values.map((row) => row[below] !== null && row[above] !== null && row[above] < row[below]);
    const keys = [key("a prompt", 0, "var(--soft)"), key("mean", 0, "var(--ink)")];
    if (against.includes(true)) keys.splice(1, 0, key(`takes less ${data.modes[above]}`, 0, "var(--mode-3)"));
    const { box, tip } = frame(holder, keys);
    const corners = (row) => row.map((value, index) => [index, value]).filter((corner) => corner[1] !== null);
    let picked = null;
    const lines = (u) => inside(u, (ctx, dpr) => {
      ctx.lineWidth = dpr;
      const faint = Math.max(0.08, Math.min(0.5, 18 / many));
      for (const odd of [false, true]) {
        ctx.strokeStyle = colour(odd ? "--mode-3" : "--soft");
        ctx.globalAlpha = odd ? Math.max(0.35, faint) : faint;
        data.values.forEach((row, index) => { if (against[index] === odd) polyline(u, corners(row)); });
      }
      ctx.globalAlpha = Math.max(0.35, Math.min(0.8, 60 / many));
      data.values.forEach((row) => corners(row).forEach(([index, value]) => { ctx.fillStyle = modeColour(data.colours[index]); spot(u, data.colours[index], index, value, 2.4 * dpr); }));
      ctx.globalAlpha = 1;
      ctx.strokeStyle = colour("--ink"); ctx.lineWidth = 2.5 * dpr;
      polyline(u, corners(data.mean));
      for (const [index, value] of corners(data.mean)) { ctx.fillStyle = colour("--ink"); spot(u, data.colours[index], index, value, 5.5 * dpr); ctx.fillStyle = modeColour(data.colours[index]); spot(u, data.colours[index], index, value, 3.8 * dpr); }
      if (picked !== null) { ctx.strokeStyle = modeColour(data.colours[above]); ctx.lineWidth = 2 * dpr; polyline(u, corners(data.values[picked])); }
    });
    const hover = (u) => {
      const { left, top } = u.cursor;
      let best = null, near = 24 ** 2;
      if (left !== null && left >= 0) data.values.forEach((row, index) => corners(row).forEach(([at, value]) => {
        const px = u.valToPos(at, "x"), py = u.valToPos(value, "y"), distance = (px - left) ** 2 + (py - top) ** 2;
        if (distance < near) { near = distance; best = [index, px, py]; }
      }));
      const now = best && best[0];
      if (now !== picked) { picked = now; u.redraw(false); }
      if (!best) { tip.style.visibility = "hidden"; return; }
      tip.textContent = [data.ids[now], ...data.modes.map((mode, index) => `${mode}: ${thousands(data.values[now][index], 4)} ${data.unit}`)].join("\n");
      place(tip, u, best[1], best[2]);
    };
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
      scales: { x: { time: false, range: [-0.25, last + 0.25] }, y: scaled(data.log) },
      axes: [{ ...axis("", 44, (u, splits) => splits.map((at) => `${at % 2 && u.width / data.modes.length < 110 ? "\n" : ""}${data.modes[at] ?? ""}`)), labelSize: 0, font: "600 13px system-ui, sans-serif", stroke: () => colour("--ink"), splits: () => data.modes.map((mode, index) => index) },
        { ...axis(`${data.axis}${data.log ? " (logarithmic)" : ""}`, 58, plain), ...decades(data.log) }],
      series: [{}, { paths: () => null, points: { show: false } }, { paths: () => null, points: { show: false } }],
      hooks: { draw: [lines], setCursor: [hover] },
    });
    const columns = data.modes.map((mode, index) => data.values.map((row) => row[index]).filter((value) => value !== null));
    mount(box, 380, options, [data.modes.map((mode, index) => index), ...[Math.min, Math.max].map((end) => columns.map((column) => (column.length ? end(...column) : null)))]);
    describe(box, `${data.axis} of ${many} prompts, a line each from mode to mode: ${data.modes.join(", ")}; the table below has the quantiles`);
  };

  // The share of a mode's queries that think for at most so many tokens.
  const lengths = (data, holder) => {
    const { box, tip } = frame(holder, data.modes.map((mode, index) => key(mode, data.colours[index])));
    const shown = data.steps.map((steps) => steps.filter(([tokens]) => !data.log || tokens > 0));
    const all = shown.flat().map(([tokens]) => tokens), low = Math.min(...all), high = Math.max(...all);
    const shareAt = (steps, tokens) => steps.reduce((share, [at, percent]) => (at <= tokens ? percent : share), 0);
    const stairs = (u) => inside(u, (ctx, dpr) => {
      ctx.strokeStyle = colour("--soft"); ctx.lineWidth = dpr; ctx.setLineDash([3 * dpr, 4 * dpr]);
      polyline(u, [[u.scales.x.min, 50], [u.scales.x.max, 50]]);
      ctx.setLineDash([]); ctx.lineWidth = 2 * dpr;
      data.steps.forEach((steps, index) => {
        ctx.strokeStyle = ctx.fillStyle = modeColour(data.colours[index]);
        let share = shareAt(steps, u.scales.x.min);
        const corners = [[u.scales.x.min, share]];
        for (const [tokens, percent] of shown[index]) { corners.push([tokens, share], [tokens, percent]); share = percent; }
        corners.push([u.scales.x.max, share]);
        polyline(u, corners);
        const middle = steps.find(([, percent]) => percent >= 50);
        if (middle[0] > 0 || !data.log) spot(u, data.colours[index], middle[0], 50, 4.5 * dpr);
      });
    });
    const hover = (u) => {
      const { left, top } = u.cursor;
      if (left === null || left < 0) { tip.style.visibility = "hidden"; return; }
      const tokens = u.posToVal(left, "x");
      tip.textContent = [`at most ${thousands(tokens)} tokens`, ...data.modes.map((mode, index) => `${mode}: ${thousands(shareAt(data.steps[index], tokens))} %`)].join("\n");
      place(tip, u, left, top);
    };
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      scales: { x: { time: false, ...scaled(data.log) }, y: { range: [0, 104] } },
      axes: [{ ...axis(data.log ? "thinking tokens (logarithmic)" : "thinking tokens", 34, plain), ...decades(data.log) },
        { ...axis("share of queries, %", 44, plain), splits: () => [0, 25, 50, 75, 100] }],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [stairs], setCursor: [hover] },
    });
    mount(box, 380, options, low === high ? [[low, low * 1.01 + 1], [0, 100]] : [[low, high], [0, 100]]);
    describe(box, "share of queries against thinking tokens, a rising line per mode; the table below has the quantiles");
  };

  // A point per query, and the law or the slope of its mode.
  const scatter = (data, holder) => {
    const { box, tip } = frame(holder, data.modes.map((mode, index) => key(mode, index)));
    const x = data.points.map((point) => point[0]);
    const byMode = data.modes.map((mode, index) => data.points.map((point) => (point[2] === index ? point[1] : null)));
    const marks = (index) => (u, series, first, end) => {
      const path = new Path2D(), r = 3.6 * devicePixelRatio;
      for (let i = first; i <= end; i++) if (byMode[index][i] !== null) shape(path, index, u.valToPos(x[i], "x", true), u.valToPos(byMode[index][i], "y", true), r);
      return { stroke: path, fill: path };
    };
    const lines = (u) => inside(u, (ctx, dpr) => {
      if (!data.law) ctx.setLineDash([5 * dpr, 4 * dpr]);
      data.lines.forEach((corners, index) => {
        ctx.lineWidth = 1.3 * dpr; ctx.strokeStyle = data.law ? colour("--ink") : modeColour(index); polyline(u, corners);
      });
    });
    const hover = (u) => {
      const { left, top } = u.cursor;
      let best = null, near = 28 ** 2;
      if (left !== null && left >= 0) for (const point of data.points) {
        const px = u.valToPos(point[0], "x"), py = u.valToPos(point[1], "y"), distance = (px - left) ** 2 + (py - top) ** 2;
        if (distance < near) { near = distance; best = [point, px, py]; }
      }
      if (!best) { tip.style.visibility = "hidden"; return; }
      const [point, px, py] = best;
      tip.textContent = `${point[3]}, ${data.modes[point[2]]}\n${thousands(point[1], 4)} ${data.unit}\n${thousands(point[0], 6)} output tokens`;
      place(tip, u, px, py);
    };
    const options = () => ({
      legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: false, ...scaled(data.log[0]) }, y: scaled(data.log[1]) },
      axes: [{ ...axis(data.log[0] ? "output tokens (logarithmic)" : "output tokens", 34, plain), ...decades(data.log[0]) },
        { ...axis(`energy, ${data.unit}${data.log[1] ? " (logarithmic)" : ""}`, 58, plain), ...decades(data.log[1]) }],
      series: [{}, ...data.modes.map((mode, index) => ({
        label: mode, paths: () => null, stroke: () => modeColour(index),
        points: { show: true, fill: () => modeColour(index) + "66", stroke: () => modeColour(index), width: 0.8, paths: marks(index) },
      }))],
      hooks: { draw: [lines], setCursor: [hover] },
    });
    mount(box, 380, options, [x, ...byMode]);
    describe(box, `${data.unit} against output tokens, ${x.length} queries; the list of all queries holds the figures`);
    if (data.left_out) box.append(element("p", "note", `${data.left_out} further queries are not drawn.`));
  };

  return { pairs, lengths, scatter };
})();
