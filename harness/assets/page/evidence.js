// A query, down to the sensor's readings. Every text comes ready from the page's data and is set as text.
const showQuery = (() => {
  const { element } = chart;
  const pairs = (facts) => {
    const list = element("dl");
    for (const [label, text] of facts) list.append(element("dt", "", label), element("dd", "", text));
    return list;
  };
  const grid = (columns, rows, first) => {
    const table = element("table"), head = element("thead"), body = element("tbody"), top = element("tr");
    columns.forEach((text, index) => { const cell = element("th", index < first ? "" : "n", text); cell.scope = "col"; top.append(cell); });
    for (const row of rows) {
      const line = element("tr");
      if (row.length === 1) { const cell = element("td", "edge", row[0]); cell.colSpan = columns.length; line.append(cell); }
      else row.forEach((text, index) => line.append(element("td", index < first ? "" : "n", text)));
      body.append(line);
    }
    head.append(top);
    table.append(head, body);
    const frame = element("div", "scrolled");
    frame.append(table);
    return frame;
  };
  // A number stands for a text that is said of many queries.
  const unpacked = (data, texts) => {
    if (typeof data === "number") return texts[data];
    if (Array.isArray(data)) return data.map((each) => unpacked(each, texts));
    if (data === null || typeof data !== "object") return data;
    return Object.fromEntries(Object.entries(data).map(([name, each]) => [name, unpacked(each, texts)]));
  };
  const quoted = (name) => (/^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`);

  return (evidence, { run, prefix }, name, holder) => {
    const box = element("div", "readings"), query = unpacked(evidence.queries[name], evidence.texts);
    if (query) {
      box.append(pairs(query.facts));
      for (const device of query.devices) {
        box.append(element("h5", "", device.device), pairs([...device.facts, ...evidence.common[device.device]]));
        if (device.phases.length) box.append(grid(device.phase_columns, device.phases, 1));
        if (device.rows.length) box.append(grid(device.columns, device.rows, 0), element("p", "note", device.says));
      }
      for (const doubt of query.doubts) box.append(element("p", "note doubt", doubt));
    }
    const more = element("p", "note", query ? "Where it lies on the energy curve: " : "Its readings are not in this page: ");
    more.append(element("code", "", `harness report ${run} --explain ${quoted(prefix + name)}`));
    box.append(more);
    holder.append(box);
  };
})();
