"use strict";
// Tables are sorted by their heads, items filtered by what they carry, tables copied as text. All of it can be left out.
const text = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
const headings = (table) => [...table.tHead.rows[0].cells].map(text);
const make = (name, words, parent) => {
  const made = document.createElement(name);
  made.textContent = words;
  parent.append(made);
  return made;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const number = parseFloat(row.cells[column].dataset.value ?? text(row.cells[column]).replace(/[,\u2009]/g, ""));
    return Number.isNaN(number) ? text(row.cells[column]) : number;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const words = text(head);
    head.textContent = "";
    const button = make("button", words, head);
    button.type = "button";
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = (one, two) => (typeof one === "number" && typeof two === "number"
        ? one - two : String(one).localeCompare(String(two)));
      body.append(...[...body.rows].sort((one, two) => (up ? 1 : -1) * compare(value(one, column), value(two, column))));
    });
  });
}

// What an item is filtered by: a cell of a row, by the heading of its column, or a note of a figure.
const valueOf = (item, key) => (item.cells ? text(item.cells[headings(item.closest("table")).indexOf(key)].firstChild) : item.dataset[key]);

for (const tools of document.querySelectorAll(".tools[data-for]")) {
  const place = document.getElementById(tools.dataset.for);
  const items = place.tBodies ? [...place.tBodies[0].rows] : [...place.querySelectorAll("[data-item]")];
  tools.hidden = false;
  for (const key of tools.dataset.keys.split(" ")) {
    const values = [...new Set(items.map((item) => valueOf(item, key)))].filter(Boolean);
    if (values.length < 2) continue;
    const select = make("select", "", make("label", key[0].toUpperCase() + key.slice(1), tools));
    select.dataset.key = key;
    for (const words of ["all", ...values]) make("option", words, select);
    select.addEventListener("change", () => {
      const wanted = [...tools.querySelectorAll("select")].filter((one) => one.selectedIndex);
      for (const item of items) item.hidden = !wanted.every((one) => valueOf(item, one.dataset.key) === one.value);
    });
  }
  for (const [name, write] of place.tagName === "TABLE" ? [["Markdown", asMarkdown], ["LaTeX", asLatex]] : []) {
    const button = make("button", `Copy as ${name}`, tools);
    button.type = "button";
    button.addEventListener("click", () => {
      tools.nextElementSibling?.classList.contains("copied") && tools.nextElementSibling.remove();
      const shown = document.createElement("pre");
      shown.className = "copied";
      shown.textContent = write(readTable(place));
      tools.after(shown);
      getSelection().selectAllChildren(shown);
      document.execCommand("copy");
    });
  }
}

function readTable(table) {
  const cells = (row) => [...row.cells].map((cell) => ({ words: text(cell), best: cell.classList.contains("best") }));
  return [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter((row) => !row.hidden)].map(cells);
}

function asMarkdown(rows) {
  const line = (row) => `| ${row.map((cell) => {
    const words = cell.words.replaceAll("|", "\\|");
    return cell.best ? `**${words}**` : words;
  }).join(" | ")} |`;
  return [line(rows[0]), `|${rows[0].map(() => "---").join("|")}|`, ...rows.slice(1).map(line)].join("\n");
}

function asLatex(rows) {
  const escape = (words) => words.replace(/\\/g, "\\textbackslash ").replace(/[&%$#_{}]/g, "\\$&")
    .replaceAll("\u00b1", "$\\pm$").replaceAll("\u00d7", "$\\times$").replaceAll("\u2013", "--");
  const line = (row) => `${row.map((cell) => (cell.best ? `\\textbf{${escape(cell.words)}}` : escape(cell.words)))
    .join(" & ")} \\\\`;
  const columns = `ll${"r".repeat(rows[0].length - 2)}`;
  return [`\\begin{tabular}{${columns}}`, "\\toprule", line(rows[0]), "\\midrule", ...rows.slice(1).map(line),
    "\\bottomrule", "\\end{tabular}"].join("\n");
}
