// Draws every chart of every cell from the JSON beside it, and lets queries open and files be taken away.
for (const cell of document.querySelectorAll(".cell")) {
  const read = (name) => JSON.parse(cell.querySelector(`script.${name}`).textContent);
  const data = read("data");
  for (const holder of cell.querySelectorAll("[data-chart]")) {
    const name = holder.dataset.chart;
    if (name === "power") for (const session of data.power) drawPower(session, holder, data.power.length > 1);
    else drawStudy[name](data[name], holder);
  }
  const evidence = read("evidence"), of = cell.querySelector("script.evidence").dataset;
  for (const query of cell.querySelectorAll("details.query")) {
    query.addEventListener("toggle", () => { if (query.open && !query.querySelector(".readings")) showQuery(evidence, of, query.dataset.query, query); });
  }
  for (const row of cell.querySelectorAll("tr[data-query]")) {
    if (!evidence.queries[row.dataset.query]) continue;
    const head = row.querySelector("th"), button = chart.element("button", "", head.textContent);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      if (open) row.nextElementSibling.remove();
      else {
        const line = chart.element("tr"), holder = chart.element("td", "opened");
        holder.colSpan = row.children.length;
        showQuery(evidence, of, row.dataset.query, holder);
        line.append(holder);
        row.after(line);
      }
      button.setAttribute("aria-expanded", String(!open));
    });
    head.replaceChildren(button);
  }
  takeAway.downloads(read("raw-data"), cell.querySelector(".raw"));
  for (const command of cell.querySelectorAll(".command")) takeAway.copy(command);
}
