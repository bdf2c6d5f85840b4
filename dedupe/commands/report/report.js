"use strict";
for (const input of document.querySelectorAll("input[data-filters]")) {
  input.hidden = false;
  const items = document.querySelectorAll(input.dataset.filters);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const item of items) {
      item.hidden = !item.textContent.toLowerCase().includes(wanted);
    }
  });
}
for (const table of document.querySelectorAll("table.sorts")) {
  for (const [place, head] of table.querySelectorAll("thead th").entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent;
      const compare = (a, b) => {
        const [one, other] = [value(a), value(b)];
        const difference = Number(one) - Number(other);
        return Number.isNaN(difference) ? one.localeCompare(other) : difference;
      };
      const rows = [...body.rows].sort(compare);
      body.append(...(up ? rows : rows.reverse()));
    });
  }
}
