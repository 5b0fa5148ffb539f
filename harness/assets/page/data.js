// Files to take away, made of the data in the page, and a button beside each command that copies it.
const takeAway = (() => {
  const { element } = chart;
  // A spreadsheet runs a cell that begins with one of these.
  const text = (value) => (/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
  const cell = (value) => {
    const shown = value === null ? "" : typeof value === "string" ? text(value) : String(value);
    return /[",\r\n]/.test(shown) ? `"${shown.replaceAll('"', '""')}"` : shown;
  };
  const csv = (raw) => [raw.columns, ...raw.rows.map((row) => [...raw.constant, ...row])].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  const save = (name, kind, content) => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([content], { type: kind }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const button = (words, act) => {
    const node = element("button", "", words);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  };
  const downloads = (raw, section) => {
    section.querySelector(".tools").append(
      button(`Queries as CSV (${raw.rows.length})`, () => save(`${raw.name}-queries.csv`, "text/csv;charset=utf-8", csv(raw))),
      button("Summary as JSON", () => save(`${raw.name}-summary.json`, "application/json", `${JSON.stringify(raw.summary, null, 1)}\n`)),
    );
    if (raw.left_out) section.append(element("p", "note", `${raw.left_out} further queries are not in this page; the run's queries.jsonl has all.`));
    section.hidden = false;
  };
  // Where the clipboard is closed to a page, the text is selected, so that one key copies it.
  const select = (node) => {
    const range = document.createRange(), chosen = getSelection();
    range.selectNodeContents(node);
    chosen.removeAllRanges();
    chosen.addRange(range);
    return document.execCommand("copy");
  };
  const copy = (command) => {
    const code = command.querySelector("code"), said = element("span", "unseen"), node = button("Copy", async () => {
      let done = false;
      try { await navigator.clipboard.writeText(code.textContent); done = true; } catch { done = select(code); }
      node.textContent = said.textContent = done ? "Copied" : "Selected: press Ctrl C";
      setTimeout(() => { node.textContent = "Copy"; }, 2500);
    });
    said.setAttribute("role", "status");
    node.setAttribute("aria-label", "Copy the command");
    command.append(node, said);
  };
  return { csv, downloads, copy };
})();
