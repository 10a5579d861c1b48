"use strict";
// The page is whole without this: it only sorts, filters, folds, and shows a cell's runs in place.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  for (const element of all("[data-script]")) element.hidden = false;

  // Folding
  const folds = all("details");
  const setAll = (open) => folds.forEach((fold) => { fold.open = open; });
  document.getElementById("unfold").addEventListener("click", () => setAll(true));
  document.getElementById("fold").addEventListener("click", () => setAll(false));
  let before = null;
  addEventListener("beforeprint", () => { before = folds.map((fold) => fold.open); setAll(true); });
  addEventListener("afterprint", () => { if (before) folds.forEach((fold, i) => { fold.open = before[i]; }); before = null; });

  // Sorting: within each body of a table, so that sections stay together
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
    const text = cell.textContent.trim();
    const number = Number(text.replace(/[+,%]/g, "").replace("\u2212", "-"));
    return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  for (const table of all("table.sortable")) {
    const heads = all("tr.names th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") !== "descending" && column > 0 || head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        for (const body of table.tBodies) {
          const rows = Array.from(body.rows).filter((row) => row.cells.length > column && !row.classList.contains("section"));
          rows.map((row, i) => [key(row, column), i, row])
            .sort((a, b) => (falling ? compare(b[0], a[0]) : compare(a[0], b[0])) || a[1] - b[1])
            .forEach(([, , row]) => body.append(row));
        }
      });
    });
  }

  // Filtering: every word must stand in the row
  for (const input of all(".filter input")) {
    const scope = input.closest(".table-block") || input.closest("section");
    const rows = all("tbody tr, [data-row]", scope).filter((row) => !row.parentElement.closest("[data-row]") && !row.closest("details details"));
    const said = input.closest(".filter").querySelector("output");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      said.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
  }

  // A number of a table opens to its runs in place; its address still works
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  const content = document.createElement("div");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.append(close, content);
  document.body.append(dialog);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.value");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const runs = document.getElementById(link.hash.slice(1));
    if (!runs) return;
    event.preventDefault();
    const title = document.createElement("h3");
    title.textContent = runs.closest("details").querySelector("summary").textContent;
    const copy = runs.cloneNode(true);
    copy.removeAttribute("id");
    content.replaceChildren(title, copy);
    dialog.setAttribute("aria-label", title.textContent);
    dialog.showModal();
  });
  content.addEventListener("click", (event) => { if (event.target.closest("a")) dialog.close(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // An address inside a fold opens it
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
