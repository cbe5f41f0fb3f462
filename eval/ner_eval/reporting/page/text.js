// Words, figures and tables.
const data = JSON.parse(document.getElementById("data").textContent);
const strings = JSON.parse(document.getElementById("strings").textContent);
let language = document.documentElement.lang.startsWith("zh") ? "zh" : "en";

function say(key, values = {}) {
  return strings[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

const labelNames = new Map(data.labels);

function labelName(label) {
  if (!labelNames.has(label)) return label === "" ? say("no_label") : label;
  return language === "zh" ? labelNames.get(label) : label;
}

function kindName(kind) { return say(kind === "label" ? "label_class" : kind); }

// A figure that is undefined (null) is a dash.
const four = (value) => (value === null ? "–" : value.toFixed(4));
const signed = (value) => (value === null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(4));
const percent = (value) => String(Math.round(100 * value));

// A value of the run's facts: text, null, or {say: key, with: its values}.
function fact(value) {
  if (value === null) return say("not_recorded");
  return typeof value === "object" ? say(value.say, value.with) : value;
}

function bar(value, bad = false) {
  const inside = make("i", { class: bad ? "bad" : null });
  inside.style.width = `${Math.max(0, Math.min(1, value || 0)) * 100}%`;
  return make("div", { class: "bar" }, inside);
}

function section(id, title, note, ...children) {
  return make("section", { id, tabindex: -1 }, make("h2", {}, shown(title)), note ? make("p", { class: "note" }, note) : null, ...children);
}

// How the counts of a table add up.
function sums(list) { return list.map(([key, values]) => make("p", { class: "sum" }, shown(say(key, values)))); }

function folded(id, title, ...children) {
  return make("details", { id }, make("summary", {}, title), ...children);
}

// A table that is wider than its container says so, and can be scrolled with the keyboard.
const fit = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const wide = target.scrollWidth > target.clientWidth + 1;
    target.previousSibling.hidden = !wide;
    if (wide) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});

function table(header, rows, attributes = {}) {
  const cells = (tag, row) => row.map((cell) => (cell instanceof HTMLTableCellElement ? cell : make(tag, {}, cell)));
  const body = rows.map((row) => make("tr", { class: row.total ? "total" : null }, cells("td", row)));
  const scroll = make("div", { class: "scroll" },
    make("table", attributes, make("thead", {}, make("tr", {}, cells("th", header))), make("tbody", {}, body)));
  fit.observe(scroll);
  return [make("p", { class: "hint", hidden: true }, "↔ ", say("wide")), scroll];
}
