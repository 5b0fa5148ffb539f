// Draws every chart of every cell from the JSON beside it.
for (const cell of document.querySelectorAll(".cell")) {
  const data = JSON.parse(cell.querySelector("script.data").textContent);
  for (const holder of cell.querySelectorAll("[data-chart]")) {
    const name = holder.dataset.chart;
    if (name === "power") for (const session of data.power) drawPower(session, holder, data.power.length > 1);
    else drawStudy[name](data[name], holder);
  }
}
