// The table of rows and its two charts, from the columns beside it. Texts are only ever set as text, never as HTML.
(() => {
  const { element, thousands } = chart;
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const columns = data.columns, all = Array.from({ length: data.n }, (_, i) => i);
  const get = (name, i) => { const column = columns[name]; return Array.isArray(column) ? column[i] : column.texts[column.at[i]]; };
  const N_PAGE = 100, N_ALL_NAMED = 40, TOLD_APART = " · ";
  const figure = (name, i, digits = 3) => { const value = get(name, i); return value === null ? "" : thousands(value, digits); };
  // Text generation is judged by its right answers, another task by a figure of its own.
  const isText = (i) => get("task", i) === "text generation";
  const part = (end, i) => get(`${isText(i) ? "right" : "quality"}${end}`, i);
  const day = (i) => get("started_utc", i).slice(0, 10);
  const estimated = (text, i) => (text && get("estimated", i) ? [text, "estimated"] : [text]);
  const rankWords = (i) => {
    const best = get("best", i), worst = get("worst", i);
    if (!best) return get("earlier", i) ? "earlier" : "–";
    const text = best === worst ? `${best}` : `${best}–${worst}`;
    return get("provisional", i) ? `(${text})` : text;
  };
  const stars = (i) => (get("stars", i) === null ? "" : "★".repeat(get("stars", i)));

  // A column: its name, how it is sorted, and what stands in its cell: a text, and a smaller one below it.
  const COLUMNS = [
    { id: "rank", name: "Rank", sort: (i) => get("best", i) || null },
    { id: "name", name: "Model", sort: (i) => get("model", i).toLowerCase(), cell: (i) => [get("model", i), below(i)] },
    { id: "class", name: "Class", sort: (i) => get("class", i) || null, cell: (i) => [get("class", i)] },
    { id: "energy", name: "Wh per 1,000 queries", sort: (i) => get("wh", i), cell: (i) => [get("energy", i), get("estimated", i) ? "estimated" : get("ends", i)] },
    { id: "strip", name: "95 %", sort: (i) => get("whHigh", i) },
    { id: "perToken", name: "J per output token", sort: (i) => get("perToken", i), cell: (i) => estimated(figure("perToken", i), i) },
    { id: "right", name: "Right, %", sort: (i) => get("right", i), down: true, cell: (i) => [figure("right", i)] },
    { id: "quality", name: "Quality", sort: (i) => part("", i), down: true, cell: (i) => [part("", i) === null ? "" : thousands(part("", i), 3), part("", i) === null ? "" : isText(i) ? "right, %" : get("metric", i)] },
    { id: "perSize", name: "J per unit", sort: (i) => get("perSize", i), cell: (i) => [figure("perSize", i), get("perSize", i) === null ? "" : `${get("sizeUnit", i)}${get("estimated", i) ? ", estimated" : ""}`] },
    { id: "perRight", name: "J per right answer", sort: (i) => get("perRight", i), cell: (i) => estimated(figure("perRight", i), i) },
    { id: "length", name: "Tokens", sort: (i) => get("tokens", i), cell: (i) => [figure("tokens", i)], late: true },
    { id: "seconds", name: "s per query", sort: (i) => get("seconds", i), cell: (i) => [figure("seconds", i)], late: true },
    { id: "runs", name: "Queries × runs", sort: (i) => get("queries", i) * get("nRuns", i), down: true, cell: (i) => [`${thousands(get("queries", i), 9)} × ${get("nRuns", i)}`], late: true },
    { id: "date", name: "Date", sort: (i) => get("started_utc", i) || null, down: true, cell: (i) => [day(i)], late: true },
    { id: "stars", name: "Stars, indicative", sort: (i) => get("stars", i), down: true, cell: (i) => [stars(i)] },
  ].filter((column) => !["stars", "perSize"].includes(column.id) || all.some((i) => get(column.id, i) !== null))
    .filter((column) => column.id !== "class" || !all.length || all.some(isText))
    .filter((column) => column.id !== (all.every(isText) ? "quality" : "right"));
  const below = (i) => {
    const parts = [get("precision", i)];
    if (get("ranking", i) === 0) parts.push(get("prompts", i), isText(i) ? get("mode", i) : get("task", i), get("hardware", i));
    const first = parts.filter(Boolean).join(TOLD_APART);
    const stale = get("stale", i) ? "Its summary is older than its queries: harness report." : "";
    return [first, stale].filter(Boolean);
  };

  const state = { sort: COLUMNS[0], down: false, page: 0, shown: [], open: new Set() };
  const FILTERS = { "by-task": "task", "by-prompts": "prompts", "by-mode": "mode", "by-hardware": "hardware", "by-class": "class" };
  for (const [id, name] of Object.entries(FILTERS)) {
    const select = find(id);
    select.append(new Option("all", ""));
    const known = [...columns[name].texts].filter((text) => text && columns[name].at.includes(columns[name].texts.indexOf(text))).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const text of known) select.append(new Option(text, `=${text}`));
    if (known.length < 2) select.closest("label").hidden = true;
    select.addEventListener("change", () => refresh());
  }
  const words = (i) => ["model", "task", "metric", "run", "reason", "hardware", "prompts", "mode", "precision", "protocol", "driver", "boards"].map((name) => get(name, i)).join(" ").toLowerCase();
  const searched = new Array(data.n);
  const matches = (i, wanted) => wanted.every((word) => (searched[i] ??= words(i)).includes(word));

  const order = (a, b) => {
    const [one, two] = [state.sort.sort(a), state.sort.sort(b)];
    if (one === null || two === null) return (one === null) - (two === null);
    const way = one < two ? -1 : one > two ? 1 : 0;
    return state.down ? -way : way;
  };
  const groupOf = (i) => get("ranking", i) || Infinity;
  const refresh = () => {
    const wanted = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Object.entries(FILTERS).map(([id, name]) => [name, find(id).value]).filter(([, value]) => value);
    const earlier = find("earlier").checked;
    state.shown = all.filter((i) => (earlier || !get("earlier", i)) && chosen.every(([name, value]) => `=${get(name, i)}` === value) && matches(i, wanted));
    state.shown.sort((a, b) => (groupOf(a) - groupOf(b) || 0) || order(a, b) || (get("wh", a) ?? Infinity) - (get("wh", b) ?? Infinity) || a - b);
    state.page = 0;
    drawRows();
  };

  // Log scale of a ranking's strips, the same for all of its rows.
  const spans = new Map();
  for (const i of all) {
    const group = get("ranking", i), low = get("whLow", i) ?? get("wh", i), high = get("whHigh", i) ?? get("wh", i);
    if (!group || !(low > 0)) continue;
    const known = spans.get(group) || [Infinity, 0];
    spans.set(group, [Math.min(known[0], low), Math.max(known[1], high)]);
  }
  const strip = (i) => {
    const cell = element("td", "strip empty"), span = spans.get(get("ranking", i)), value = get("wh", i);
    if (!span || !(value > 0)) return cell;
    const at = (v) => (span[1] > span[0] ? 100 * Math.log(Math.max(v, span[0]) / span[0]) / Math.log(span[1] / span[0]) : 50);
    const line = element("i", get("front", i) ? "leads" : ""), bar = element("b"), dot = element("s");
    line.setAttribute("aria-hidden", "true");
    const low = at(get("whLow", i) ?? value), high = at(get("whHigh", i) ?? value);
    bar.style.left = `${low}%`; bar.style.width = `${high - low}%`; dot.style.left = `${at(value)}%`;
    line.append(bar, dot);
    cell.append(line);
    return cell;
  };

  const heading = (number) => {
    const row = element("tr", "group"), cell = element("th");
    cell.colSpan = COLUMNS.length; cell.scope = "rowgroup";
    const ranking = data.rankings[number - 1];
    cell.append(ranking ? `${ranking.number}${TOLD_APART}${ranking.title}` : "In no ranking, each with the reason");
    if (ranking) cell.append(element("small", "", ranking.words));
    if (ranking && ranking.alarm) cell.append(element("small", "alarm", ranking.alarm));
    row.append(cell);
    return row;
  };
  const fact = (list, name, text, long) => {
    if (!text) return;
    const pair = element("div", long ? "long" : "");
    const value = element("dd");
    value.append(text);
    pair.append(element("dt", "", name), value);
    list.append(pair);
  };
  const detail = (i) => {
    const row = element("tr", "detail"), cell = element("td"), list = element("dl");
    cell.colSpan = COLUMNS.length;
    const page = get("page", i), run = get("run", i);
    let link = run;
    if (page) { link = element("a", "", run); link.href = page.split("/").map(encodeURIComponent).join("/"); }
    fact(list, "run", link);
    fact(list, "date", get("started_utc", i).replace("T", " ").replace("Z", " UTC"));
    fact(list, "revision", get("revision", i).slice(0, 12));
    fact(list, "precision", get("precision", i));
    const unit = get("estimated", i) ? "Wh per 1,000 (estimated)" : "Wh per 1,000";
    const part = (name) => (get(name, i) === null ? "unknown" : `± ${figure(name, i, 2)}`);
    if (!get("estimated", i)) {
      fact(list, `${unit}`, figure("wh", i, 4));
      fact(list, "over prompts", get("prompted", i) === null ? "unknown" : `${figure("prompted", i, 4)} to ${figure("promptedHigh", i, 4)}`);
      fact(list, "sensor reading", part("reading"));
      fact(list, "run to run", get("runs", i) === null ? "unknown: one run" : part("runs"));
      fact(list, "board’s gain", part("gain"));
    } else fact(list, unit, figure("wh", i, 3));
    if (isText(i) && get("right", i) !== null) fact(list, "right, %", get("rightLow", i) === null ? figure("right", i) : `${figure("right", i)} (${figure("rightLow", i)} to ${figure("rightHigh", i)})`);
    if (!isText(i)) fact(list, "task", [get("task", i), get("options", i) === "none" ? "" : get("options", i)].filter(Boolean).join(", "));
    if (get("quality", i) !== null) fact(list, get("metric", i), get("qualityLow", i) === null ? figure("quality", i) : `${figure("quality", i)} (${figure("qualityLow", i)} to ${figure("qualityHigh", i)})`);
    fact(list, "runs", get("leftOut", i) ? `${get("nRuns", i)}; ${get("leftOut", i)} more answered fewer prompts and are left out` : `${get("nRuns", i)}`);
    fact(list, "class", get("class", i));
    fact(list, "tokens", figure("tokens", i));
    fact(list, "s per query", figure("seconds", i));
    fact(list, "queries", figure("queries", i, 9));
    fact(list, "hardware", get("hardware", i));
    fact(list, "power limit", get("power_limit", i));
    fact(list, "measured", get("boards", i));
    fact(list, "driver", get("driver", i));
    fact(list, "CPU", get("cpu", i));
    fact(list, "engine", [get("engine", i), get("engine_version", i)].filter(Boolean).join(", "));
    fact(list, "protocol", get("protocol", i));
    fact(list, "harness", get("harness_version", i));
    fact(list, "stars", get("starsWords", i), true);
    for (const code of get("findings", i).split(",").filter(Boolean)) fact(list, "to know", data.codes[code] || code, true);
    cell.append(list);
    row.append(cell);
    return row;
  };
  const why = (i) => {
    const row = element("tr", "why"), cell = element("td", "", [get("reason", i), get("elsewhere", i) ? data.alarm : ""].filter(Boolean).join(" "));
    cell.colSpan = COLUMNS.length;
    row.append(cell);
    return row;
  };
  const line = (i) => {
    const row = element("tr", `${get("earlier", i) ? "earlier" : ""}${get("reason", i) ? " has-why" : ""}`);
    for (const column of COLUMNS) {
      if (column.id === "strip") { row.append(strip(i)); continue; }
      if (column.id === "rank") {
        const cell = element("td", "rank"), button = element("button", "", rankWords(i));
        button.type = "button";
        button.setAttribute("aria-expanded", state.open.has(i));
        button.setAttribute("aria-label", `rank ${rankWords(i)}, ${get("model", i)}: details`);
        button.addEventListener("click", () => {
          const last = get("reason", i) ? row.nextElementSibling : row;
          if (state.open.delete(i)) last.nextElementSibling.remove();
          else { state.open.add(i); last.after(detail(i)); }
          button.setAttribute("aria-expanded", state.open.has(i));
        });
        cell.append(button);
        row.append(cell);
        continue;
      }
      const [text, more] = column.cell(i);
      const cell = element(column.id === "name" ? "th" : "td", `${column.id}${column.late ? " late" : ""}${text ? "" : " empty"}`);
      if (column.id === "name") {
        cell.scope = "row"; // a name may break after its owner
        text.split("/").forEach((part, at, parts) => { cell.append(at < parts.length - 1 ? `${part}/` : part); if (at < parts.length - 1) cell.append(element("wbr")); });
      } else { cell.append(text); cell.dataset.label = column.name; }
      for (const small of Array.isArray(more) ? more : [more]) if (small) cell.append(element("small", "", small));
      row.append(cell);
    }
    return row;
  };
  const drawRows = () => {
    const body = find("body"), from = state.page * N_PAGE, some = state.shown.slice(from, from + N_PAGE);
    body.textContent = "";
    let group = null;
    for (const i of some) {
      if (get("ranking", i) !== group) { group = get("ranking", i); body.append(heading(group)); }
      body.append(line(i));
      if (get("reason", i)) body.append(why(i));
      if (state.open.has(i)) body.append(detail(i));
    }
    const n = state.shown.length, pages = Math.ceil(n / N_PAGE);
    find("count").textContent = n ? `${thousands(from + 1, 9)} to ${thousands(Math.min(n, from + N_PAGE), 9)} of ${thousands(n, 9)} row${n === 1 ? "" : "s"}` : "No row is like that.";
    const pager = find("pager"), had = pager.contains(document.activeElement) ? document.activeElement.dataset.way : null;
    pager.textContent = "";
    if (pages > 1) {
      const turn = (name, way) => {
        const button = element("button", "", name);
        button.type = "button"; button.dataset.way = way;
        button.disabled = state.page + way < 0 || state.page + way >= pages;
        button.addEventListener("click", () => { state.page += way; drawRows(); find("rows").scrollIntoView(); });
        return button;
      };
      pager.append(turn("Previous", -1), element("span", "", `page ${state.page + 1} of ${thousands(pages, 9)}`), turn("Next", 1));
      if (had) (pager.querySelector(`[data-way="${had}"]:enabled`) || pager.querySelector("button:enabled")).focus();
    }
  };
  const sortBy = (column, down) => {
    state.sort = column; state.down = down;
    for (const head of find("head").children) head.setAttribute("aria-sort", head.dataset.id === column.id ? (down ? "descending" : "ascending") : "none");
    find("sort").value = `${column.id} ${down}`;
    refresh();
  };
  for (const column of COLUMNS) {
    const head = element("th", `${column.id}${column.late ? " late" : ""}`), button = element("button", "", column.name);
    head.scope = "col"; head.dataset.id = column.id; button.type = "button";
    button.addEventListener("click", () => sortBy(column, state.sort === column ? !state.down : Boolean(column.down)));
    head.append(button);
    find("head").append(head);
    if (column.id !== "strip") for (const down of [Boolean(column.down), !column.down]) find("sort").append(new Option(`${column.name} ${down ? "▼" : "▲"}`, `${column.id} ${down}`));
  }
  find("sort").addEventListener("change", (event) => { const [id, down] = event.target.value.split(" "); sortBy(COLUMNS.find((each) => each.id === id), down === "true"); });
  find("search").addEventListener("input", () => refresh());
  find("earlier").addEventListener("change", () => refresh());
  find("earlier").closest("label").hidden = !all.some((i) => get("earlier", i));
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

  const tabled = (table, heads, rows) => {
    table.textContent = "";
    const top = element("tr"), head = element("thead"), body = element("tbody");
    heads.forEach((text, at) => { const cell = element("th", at ? "n" : "", text); cell.scope = "col"; top.append(cell); });
    head.append(top);
    for (const cells of rows) {
      const row = element("tr");
      cells.forEach((text, at) => { const cell = element(at ? "td" : "th", at ? "n" : "", text); if (!at) cell.scope = "row"; row.append(cell); });
      body.append(row);
    }
    table.append(head, body);
  };

  // Energy against quality: one ranking at a time.
  const judged = (i) => part("", i), judgedLow = (i) => part("Low", i), judgedHigh = (i) => part("High", i);
  const judgedWords = (i) => thousands(judged(i), 3) + (isText(i) ? " % right" : ` ${get("metric", i)}`);
  const scored = new Map();
  for (const i of all) {
    if (!get("best", i) || judged(i) === null || !(get("wh", i) > 0)) continue;
    scored.set(get("ranking", i), [...(scored.get(get("ranking", i)) || []), i]);
  }
  const several = [...scored].filter(([, rows]) => rows.length > 1);
  document.querySelector("[data-part=front]").hidden = !several.length;
  if (several.length) {
    find("front").hidden = false;
    for (const [number] of several) find("front-of").append(new Option(`${number}${TOLD_APART}${data.rankings[number - 1].title}`, number));
    const mount = drawing.mounted(find("front-drawing"));
    const draw = () => {
      const rows = scored.get(Number(find("front-of").value)), front = rows.filter((i) => get("front", i));
      const lows = rows.map((i) => get("whLow", i) || get("wh", i)), highs = rows.map((i) => get("whHigh", i) ?? get("wh", i));
      const low = Math.min(...lows), high = Math.max(...highs), log = high / low > 6;
      const text = isText(rows[0]), less = get("lessIsBetter", rows[0]), metric = text ? "right, %" : get("metric", rows[0]);
      const rightLow = Math.min(...rows.map((i) => judgedLow(i) ?? judged(i))), rightHigh = Math.max(...rows.map((i) => judgedHigh(i) ?? judged(i)));
      const y = { low: Math.max(0, rightLow - 4), high: Math.min(100, rightHigh + 4), name: "right answers, %" };
      if (!text) {
        const margin = 0.08 * (rightHigh - rightLow) || 0.1 * Math.abs(rightHigh) || 0.1;
        Object.assign(y, { low: rightLow >= 0 ? Math.max(0, rightLow - margin) : rightLow - margin, high: rightHigh + margin, name: `${metric}${less ? " (less is better)" : ""}` });
      } else if (y.high - y.low < 5) { y.low = Math.max(0, y.low - 5); y.high = Math.min(100, y.high + 5); }
      const ranking = data.rankings[Number(find("front-of").value) - 1];
      find("front-words").textContent = `Ranking ${ranking.number}, ${ranking.title}: ${front.length} of ${rows.length} rows are beaten by no other: whatever takes no more than one of them is ${text ? "right less often" : `worse by ${metric}`}. Filled points; of the others, another row takes no more and is ${text ? "right at least as often" : "at least as good"}.`;
      mount(() => {
        const area = drawing.frame(find("front-drawing"), { label: find("front-words").textContent, y,
          x: { low: log ? low / 1.15 : 0, high: log ? high * 1.3 : high * 1.12, log, name: `Wh per 1,000 queries${log ? " (logarithmic)" : ""}` } });
        const sorted = [...front].sort((a, b) => get("wh", a) - get("wh", b));
        if (sorted.length) {
          const steps = sorted.map((i, at) => (at ? `H${area.toX(get("wh", i))}V${area.toY(judged(i))}` : `M${area.toX(get("wh", i))},${area.toY(judged(i))}`));
          area.svg.append(drawing.node("path", { class: "stair", d: `${steps.join("")}H${area.right}` }));
        }
        const points = [...rows].sort((a, b) => get("front", b) - get("front", a)).map((i) => {
          const x = area.toX(get("wh", i)), at = area.toY(judged(i)), name = get("model", i);
          const group = drawing.point(area, { x, y: at, xLow: get("whLow", i), xHigh: get("whHigh", i), yLow: judgedLow(i), yHigh: judgedHigh(i), beaten: !get("front", i),
            title: `${name}: ${get("energy", i)} Wh per 1,000 queries, ${judgedWords(i)}` });
          return { x, y: at, text: name.split("/").pop().slice(0, 34), group };
        });
        drawing.label(area, rows.length > N_ALL_NAMED ? points.slice(0, front.length) : points, points);
      });
      tabled(find("front-table"), ["model", "Wh per 1,000 queries", "95 %", metric, "95 %", "beaten by none"], [...rows].sort((a, b) => get("wh", a) - get("wh", b)).map((i) => [
        get("model", i), get("energy", i), get("ends", i), thousands(judged(i), 3), judgedLow(i) === null ? "" : `${thousands(judgedLow(i), 3)} to ${thousands(judgedHigh(i), 3)}`, get("front", i) ? "yes" : "no"]));
    };
    find("front-of").addEventListener("change", draw);
    draw();
  }

  // One model over its runs; what changed between two of them is numbered in the chart and named below it.
  if (data.histories.length) {
    data.histories.forEach((history, at) => find("history-of").append(new Option(`${history.name} (${history.rows.length} runs)`, at)));
    const mount = drawing.mounted(find("history-drawing"));
    const draw = () => {
      const history = data.histories[Number(find("history-of").value)], rows = history.rows;
      const highs = rows.map((i) => get("whHigh", i) ?? get("wh", i)), lows = rows.map((i) => get("whLow", i) ?? get("wh", i));
      const margin = 0.12 * (Math.max(...highs) - Math.min(...lows)) || 0.1 * Math.max(...highs);
      const y = { low: Math.max(0, Math.min(...lows) - margin), high: Math.max(...highs) + margin, name: "Wh per 1,000 queries" };
      const changed = history.changes.map((text, at) => [at, text]).filter(([, text]) => text);
      find("history-words").textContent = `${history.name}: ${history.sentence}`;
      mount(() => {
        const every = Math.ceil(rows.length / Math.max(2, Math.floor(find("history-drawing").clientWidth / 95)));
        const area = drawing.frame(find("history-drawing"), { label: history.sentence, y,
          x: { places: rows.length, ticks: rows.map((i, at) => [at, day(i)]).filter(([at]) => at % every === 0), name: "runs in order of time" } });
        changed.forEach(([at], number) => {
          const x = (area.toX(at - 1) + area.toX(at)) / 2;
          area.svg.append(drawing.node("line", { class: "change", x1: x, x2: x, y1: area.top, y2: area.bottom }), drawing.node("text", { class: "change-name", x, y: area.top - 7 }, `${number + 1}`));
        });
        const spots = rows.map((i, at) => [area.toX(at), area.toY(get("wh", i))]);
        area.svg.append(drawing.node("path", { class: "thread", d: `M${spots.map((spot) => spot.join(",")).join("L")}` }));
        rows.forEach((i, at) => drawing.point(area, { x: spots[at][0], y: spots[at][1], yLow: get("whLow", i), yHigh: get("whHigh", i),
          title: `${get("started_utc", i)}: ${get("energy", i)} (${get("ends", i)})` }));
      });
      find("history-changes").textContent = "";
      for (const [at, text] of changed) find("history-changes").append(element("li", "", `${text} (before the run of ${day(rows[at])}): ${history.steps[at]}`));
      tabled(find("history-table"), ["run", "date", "Wh per 1,000 queries", "95 %", "runs", "what changed"], rows.map((i, at) => [get("run", i), day(i), get("energy", i), get("ends", i), `${get("nRuns", i)}`, history.changes[at]]));
    };
    find("history-of").addEventListener("change", draw);
    draw();
  }
  sortBy(COLUMNS[0], false);
})();
