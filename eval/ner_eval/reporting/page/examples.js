// Sentences with errors, filtered by class, label, confusion and search text. The filter is kept in the address (#kind=…).
const [first, more] = [10, 30];
const filter = { kind: "", label: "", pair: null, query: "", limit: first };
const problems = ["unparsable", "inexact", "bad_item", "cut", "refused"];

function choose(changes) {
  Object.assign(filter, { limit: first, query: "" }, changes);
  remember();
  redraw("examples", examples);
  go("examples");
}

function remember() {
  const parts = new URLSearchParams();
  for (const key of ["kind", "label", "query"]) if (filter[key]) parts.set(key, filter[key]);
  if (filter.pair) parts.set("pair", filter.pair.join("-"));
  history.replaceState(null, "", `#${parts}`);
}

function recall() {
  const parts = new URLSearchParams(location.hash.slice(1));
  for (const key of ["kind", "label", "query"]) filter[key] = parts.get(key) || "";
  const pair = (parts.get("pair") || "").split("-").map(Number);
  filter.pair = pair.length === 2 && pair.every((n) => Number.isInteger(n) && n >= 0) ? pair : null;
}

function cellOf([, gold, predicted]) {
  const names = data.labels.map(([label]) => label);
  const column = predicted ? names.indexOf(predicted[2]) : names.length + 1;
  return [gold ? names.indexOf(gold[2]) : names.length, column < 0 ? names.length : column];
}

// Does a pair match the filter's class, label and cell? Without any of them: is it an error?
function holds(pair) {
  if (filter.kind && !problems.includes(filter.kind) ? pair[0] !== filter.kind : pair[0] === "correct") return false;
  if (filter.label && ![pair[1], pair[2]].some((side) => side && side[2] === filter.label)) return false;
  if (!filter.pair) return true;
  const [row, column] = cellOf(pair);
  return row === filter.pair[0] && column === filter.pair[1];
}

function matches(example) {
  if (filter.query && !example.text.includes(filter.query) && !(example.answer || "").includes(filter.query) &&
      !example.pairs.some((pair) => pair[2] && pair[2][3].includes(filter.query))) return false;
  if (problems.includes(filter.kind)) return (example.problems || []).includes(filter.kind);
  if (!filter.kind && !filter.label && !filter.pair) return true;
  return example.pairs.some(holds);
}

// Offsets count code points, JavaScript strings count UTF-16 units: slice the text as a list of characters.
function highlighted(text, spans) {
  const chars = Array.from(text);
  const cuts = [...new Set([0, chars.length, ...spans.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  const nodes = [];
  for (let i = 0; i + 1 < cuts.length; i += 1) {
    const piece = shown(chars.slice(cuts[i], cuts[i + 1]).join(""));
    const over = spans.filter(({ start, end }) => start <= cuts[i] && cuts[i + 1] <= end);
    nodes.push(over.length ? make("span", { class: `m ${over[over.length - 1].kind}` }, piece) : piece);
    for (const { label, end } of over) if (end === cuts[i + 1]) nodes.push(make("span", { class: "tag" }, shown(labelName(label))));
  }
  return make("bdi", {}, nodes);
}

function exampleCard(example) {
  const gold = example.pairs.filter(([, g]) => g).map(([kind, [start, end, label]]) => ({ kind, start, end, label }));
  const predicted = example.pairs.filter(([, , p]) => p && p[0] !== null)
    .map(([kind, , [start, end, label]]) => ({ kind, start, end, label }));
  const chars = Array.from(example.text);
  const faults = example.pairs.filter(([kind]) => kind !== "correct").map(([kind, g, p]) => {
    const one = g ? [isolated(chars.slice(g[0], g[1]).join("")), " ", make("small", {}, shown(labelName(g[2])))] : [];
    const two = p ? [isolated(p[3] === "" ? "∅" : p[3]), " ", make("small", {}, shown(labelName(p[2])))] : [];
    return make("li", {}, make("span", { class: "kind" }, kindName(kind)), one, one.length && two.length ? " → " : "", two);
  });
  const kinds = (example.problems || []).map((kind) => make("li", {}, make("span", { class: "kind" }, say(kind))));
  return make("article", { class: "example", "data-id": example.id }, make("small", {}, shown(example.id)),
    make("div", { class: "sentence" }, make("span", {}, say("gold")), highlighted(example.text, gold),
      make("span", {}, say("model")), highlighted(example.text, predicted)),
    make("ul", { class: "faults" }, kinds, faults),
    "answer" in example ? make("div", { class: "answer" }, isolated(example.answer)) : null);
}

function chooser(id, values, current, change) {
  const options = values.map(([value, name]) => make("option", { value, selected: value === current }, name));
  return make("select", { id, onchange: (event) => change(event.target.value) }, options);
}

function examples() {
  const found = data.examples.filter(matches);
  const all = [["", say("all")]];
  const kinds = all.concat([...Object.keys(data.classes), ...problems].map((kind) => [kind, kindName(kind)]));
  const choices = all.concat(data.labels.map(([label]) => [label, labelName(label)]));
  const set = (key) => (value) => { filter[key] = value; filter.limit = first; remember(); redraw("examples", examples); };
  const search = make("input", { id: "query", type: "search", value: filter.query, placeholder: say("search"),
    onchange: (event) => set("query")(event.target.value) });
  const name = (index, length, beyond) => (index < length ? labelName(data.labels[index][0]) : say(beyond[index - length]));
  const pair = filter.pair && make("button", { id: "pair", onclick: () => choose({ pair: null }) },
    `${name(filter.pair[0], data.labels.length, ["not_in_gold"])} → ${name(filter.pair[1], data.labels.length, ["other_label", "not_predicted"])} ✕`);
  const errors = found.reduce((sum, example) => sum + example.pairs.filter(holds).length, 0);
  const next = filter.limit < found.length ? make("button", { id: "more", onclick: () => {
    filter.limit += more; redraw("examples", examples); } }, say("more")) : null;
  const cut = data.examples.length < data.wrong_sentences
    ? say("examples_cut", { n: data.examples.length, all: data.wrong_sentences }) : "";
  return section("examples", say("examples"), [say("examples_note"), " ", cut],
    make("div", { class: "filters" }, make("label", {}, say("kind"), chooser("kind", kinds, filter.kind, set("kind"))),
      make("label", {}, say("label"), chooser("label", choices, filter.label, set("label"))), search, pair,
      make("span", { id: "found", "data-count": found.length, "data-errors": errors },
        say("found", { n: found.length, m: errors }))), sums(data.sums.examples),
    found.slice(0, filter.limit).map(exampleCard), next);
}
