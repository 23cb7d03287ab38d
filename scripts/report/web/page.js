"use strict";
// Sorting: a click on a column's name orders its rows by the ranks they came with; what has none goes last.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = header.closest("table").tBodies[0];
    const rank = (row) => row.cells[column].dataset.rank;
    const order = (one, other) => {
      const [a, b] = [rank(one), rank(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return down ? b - a : a - b;
    };
    body.append(...[...body.rows].sort(order));
  });
}
// A link to something that is folded away unfolds it.
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
// On paper nothing unfolds, so how to read the tables is printed, once each; what else is wanted, the reader unfolds.
const opened = [];
addEventListener("beforeprint", () => {
  const said = new Set();
  for (const each of document.querySelectorAll("details.legend")) {
    if (!each.open && !said.has(each.textContent)) {
      each.open = true;
      opened.push(each);
    }
    said.add(each.textContent);
  }
});
addEventListener("afterprint", () => {
  for (const each of opened.splice(0)) each.open = false;
});
