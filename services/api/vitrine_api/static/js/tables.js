// The first rows of a table: of a file before it is sent, of an output after a click.

const ROWS = 8;
const COLUMNS = 12;
const CELL = 60;
const LOOKED_AT = 65536;

// RFC 4180, with whichever separator the first line has most of.
function parse(text) {
  const first = text.split("\n", 1)[0];
  const separator = [",", ";", "\t"].reduce((best, one) => (first.split(one).length > first.split(best).length ? one : best));
  const rows = [[]];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length <= ROWS + 1; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') { cell += '"'; at += 1; } else quoted = false;
    } else if (letter === '"' && !cell) quoted = true;
    else if (letter === separator) { rows.at(-1).push(cell); cell = ""; }
    else if (letter === "\n") { rows.at(-1).push(cell); cell = ""; rows.push([]); }
    else if (letter !== "\r") cell += letter;
  }
  if (cell || rows.at(-1).length) rows.at(-1).push(cell);
  return rows.filter((row) => row.length > 1 || row[0]);
}

function line(row, tag) {
  const made = document.createElement("tr");
  for (const value of row.slice(0, COLUMNS)) {
    const cell = document.createElement(tag);
    if (tag === "th") cell.scope = "col";
    cell.textContent = value.length > CELL ? `${value.slice(0, CELL - 1)}…` : value;
    if (tag === "td" && value.trim() && !Number.isNaN(Number(value))) cell.className = "num";
    made.append(cell);
  }
  return made;
}

function show({ text, cut, place }) {
  const rows = parse(text);
  const count = text.split("\n").filter((one) => one.trim()).length - 1;
  const words = document.createElement("p");
  words.className = "range";
  const columns = rows[0]?.length ?? 0;
  words.textContent = rows.length < 2 ? "This does not look like a table with a head and rows."
    : `${cut ? "More than " : ""}${count} ${count === 1 ? "row" : "rows"}, ${columns} ${columns === 1 ? "column" : "columns"}`;
  const box = document.createElement("div");
  box.className = "scroll";
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "First rows");
  const table = document.createElement("table");
  table.className = "list small-table";
  const head = table.createTHead();
  if (rows.length) head.append(line(rows[0], "th"));
  table.createTBody().append(...rows.slice(1, ROWS + 1).map((row) => line(row, "td")));
  box.append(table);
  place.replaceChildren(words, ...(rows.length ? [box] : []));
  place.hidden = false;
}

async function beginning(url) {
  const reader = (await fetch(url)).body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (text.length < LOOKED_AT) {
    const { done, value } = await reader.read();
    if (done) return { text, cut: false };
    text += decoder.decode(value, { stream: true });
  }
  reader.cancel();
  return { text, cut: true };
}

document.addEventListener("vitrine:table", (event) => show(event.detail));
document.addEventListener("toggle", async (event) => {
  const place = event.target.querySelector?.("[data-table]");
  if (!place || !event.target.open || place.childElementCount) return;
  try {
    show({ ...await beginning(place.dataset.table), place });
  } catch {
    place.textContent = "It cannot be read right now; download it instead.";
  }
}, true);
