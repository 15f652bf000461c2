"use strict";
// Sorting and hovering. Holds no data, and the page says the same without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    if (head.dataset.sort === "none") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, column, head.dataset.sort === "text", down ? -1 : 1);
    });
  });
}

function sort(table, column, text, sign) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    if (text) return cell.textContent;
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    return sign * (text ? a.key.localeCompare(b.key, undefined, { numeric: true }) : a.key - b.key);
  };
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row) }));
  rows.sort(compare);
  body.append(...rows.map((item) => item.row));
}

for (const table of document.querySelectorAll("table.matrix")) {
  const readout = table.closest("section").querySelector(".readout");
  let lit = [];
  const show = (event) => {
    for (const cell of lit) cell.classList.remove("column");
    lit = [];
    const cell = event.target.closest("td[title]");
    readout.textContent = cell ? cell.title : "";
    if (cell) lit = Array.from(table.rows, (row) => row.cells[cell.cellIndex]);
    for (const other of lit) other.classList.add("column");
  };
  table.addEventListener("mouseover", show);
  table.addEventListener("click", show);
  table.addEventListener("mouseleave", show);
}

for (const link of document.querySelectorAll("a[href^='#']")) {
  link.addEventListener("click", () => {
    const target = document.getElementById(link.hash.slice(1));
    for (const part of target ? target.querySelectorAll("details:not(.shut)") : []) part.open = true;
  });
}

window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.shut)")) part.open = true;
});
