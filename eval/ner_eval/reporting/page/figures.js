// Figures: headline, tables, bars, matrix.
const protocol = { name: "text", reading: "lenient" };

function interval(values) { return values ? say("interval", { low: four(values[0]), high: four(values[1]) }) : ""; }

function headline() {
  const { text, span } = data.protocols;
  const card = (name, value, below, main) => make("div", { class: main ? "card main" : "card" },
    make("span", {}, name), make("b", {}, four(value)), make("span", {}, below));
  const micro = text.lenient.micro;
  const selection = Object.entries(data.run.selection).filter(([, value]) => value).map(([key, value]) => `${key} ${value}`);
  return section("headline", say("headline"), say("protocol_note"),
    data.answers.missing ? make("p", { class: "warning" }, say("partial", { n: data.answers.missing })) : null,
    selection.length ? make("p", { class: "warning" }, say("selection", { what: selection.join(", ") })) : null,
    make("p", { class: "lead" }, say("plain", { p: percent(micro.precision), r: percent(micro.recall) })),
    make("p", { class: "note" }, say("faults", { ...data.answers, ...data.mentions })),
    make("div", { class: "cards" },
      card(say("micro_text"), micro.f1, interval((text.lenient.intervals || {}).micro), true),
      card(say("strict"), text.strict.micro.f1, say("strict_note")),
      card(say("official"), text.lenient.macro.f1, interval((text.lenient.intervals || {}).macro)),
      card(say("micro_span"), span.lenient.micro.f1, interval((span.lenient.intervals || {}).micro))));
}

function chooser(id, values, current, change) {
  const options = values.map(([value, name]) => make("option", { value, selected: value === current }, name));
  return make("select", { id, onchange: (event) => change(event.target.value) }, options);
}

function labels() {
  const scores = data.protocols[protocol.name][protocol.reading];
  const counts = (value) => [value.tp + value.fn, value.tp + value.fp];
  const row = (name, value, total) => {
    const cells = [name, four(value.precision), four(value.recall), four(value.f1), make("td", { class: "wide" }, bar(value.f1)),
      ...("tp" in value ? counts(value) : ["", ""]).map(String)];
    cells.total = total;
    return cells;
  };
  const rows = data.labels.map(([label, name]) => row(
    [labelName(label), " ", label === name || language === "en" ? null : make("small", {}, label)], scores.labels[label]));
  rows.push(row("Macro Avg.", scores.macro, true), row("Micro Avg.", scores.micro, true));
  const pick = (id, key, values) => chooser(id, values.map((value) => [value, say(value)]), protocol[key],
    (value) => { protocol[key] = value; redraw("labels", labels); });
  return section("labels", say("labels"), say("labels_note"),
    make("div", { class: "filters" }, make("label", {}, say("protocol"), pick("protocol", "name", ["text", "span"])),
      make("label", {}, say("reading"), pick("reading", "reading", ["lenient", "strict"]))),
    table([say("label"), say("precision"), say("recall"), "F1", "", say("gold"), say("predicted")], rows));
}

function rowButton(name, note, value, share, action) {
  return make("button", { class: "row", title: note, onclick: action }, make("span", {}, name), bar(share, true),
    make("span", { class: "figure" }, String(value)));
}

function classes() {
  const most = Math.max(1, ...Object.values(data.classes));
  const rows = Object.entries(data.classes).map(([kind, count]) =>
    rowButton(kindName(kind), say(`${kind}_note`), count, count / most, () => choose({ kind, label: "", pair: null })));
  return section("classes", say("classes"), say("classes_note", { n: data.correct }), rows);
}

function confusionTable() {
  const names = data.labels.map(([label]) => label);
  const largest = data.confusion.map((row, r) => Math.max(1, ...row.filter((_, c) => c !== r || r === names.length)));
  const cell = (count, r, c) => {
    const diagonal = r === c && r < names.length;
    const node = make("td", { class: diagonal ? "diagonal" : null }, count === 0 ? "" : diagonal ? String(count)
      : make("button", { onclick: () => choose({ kind: "", label: "", pair: [r, c] }) }, String(count)));
    if (count && !diagonal) node.style.background = `rgba(var(--heat), ${0.1 + (0.5 * count) / largest[r]})`;
    return node;
  };
  const rows = data.confusion.map((row, r) => [
    make("th", {}, r < names.length ? labelName(names[r]) : say("not_in_gold")), ...row.map((count, c) => cell(count, r, c))]);
  const header = [say("gold_by_predicted"), ...names.map(labelName), say("other_label"), say("not_predicted")];
  return section("confusion", say("confusion"), say("confusion_note"), table(header, rows, { class: "matrix" }));
}

function breakdowns() {
  const part = (key) => {
    const groups = data.breakdowns[key];
    const title = make("h3", {}, say(key));
    if (groups === null) return make("div", {}, title, make("p", { class: "note" }, say("no_training")));
    return make("div", {}, title, groups.map(([name, value]) => make("div", { class: "row" },
      make("span", {}, key === "frequency" ? say(name) : name, " ", make("small", {}, say("of_gold", { n: value.tp + value.fn }))),
      bar(value.f1), make("span", { class: "figure" }, four(value.f1)))));
  };
  return section("breakdowns", say("breakdowns"), say("breakdowns_note"),
    make("div", { class: "columns" }, ["sentence_length", "mention_length", "frequency"].map(part)));
}

function suspectsTable() {
  const side = (label) => (label === "" ? make("small", {}, say("nothing")) : labelName(label));
  const rows = data.suspects.slice(0, 200).map((suspect) => [
    make("button", { onclick: () => choose({ kind: "", label: "", pair: null, query: suspect.surface }) }, isolated(suspect.surface)),
    side(suspect.gold), side(suspect.model), String(suspect.count), `${suspect.training_gold} : ${suspect.training_model}`]);
  return section("suspects", say("suspects"), say("suspects_note"), rows.length === 0 ? make("p", {}, say("none"))
    : table([say("surface"), say("gold_says"), say("model_says"), say("places"), say("training_says")], rows, { class: "words" }));
}

function comparisonTable() {
  const other = data.comparison;
  if (!other) return null;
  const change = (value) => make("span", { class: value > 0 ? "up" : value < 0 ? "down" : null }, signed(value));
  const rows = other.labels.map(([label, one, two]) => [labelName(label), four(one), four(two), change(two - one)]);
  const { f1, low, high, p } = other.difference;
  const list = (part, title) => make("details", {}, make("summary", {}, `${title} (${part.count})`),
    part.examples.slice(0, 100).map(exampleCard));
  return section("comparison", say("comparison", { name: other.name }), say("comparison_note", { n: other.sentences }),
    make("p", { class: "lead" }, `Micro F1 ${four(other.f1[0])} → ${four(other.f1[1])}: `, change(f1),
      ` [${signed(low)}, ${signed(high)}], p = ${p.toFixed(3)}; `, say(p < 0.05 ? "significant" : "not_significant")),
    table([say("label"), data.run.name, other.name, say("difference")], rows),
    list(other.fixed, say("fixed", { name: other.name })), list(other.broken, say("broken", { name: other.name })));
}

function details() {
  const modes = Object.entries(data.modes).map(([mode, value]) => [mode, value.correct, value.incorrect, value.partial,
    value.missed, value.spurious].map(String).concat([four(value.precision), four(value.recall), four(value.f1)]));
  const pairs = (value) => Object.entries(value).map(([key, count]) => [say(key), String(count)]);
  const run = Object.entries(data.run).map(([key, value]) =>
    [key, isolated(typeof value === "string" ? value : JSON.stringify(value))]);
  return section("details", say("details"), say("details_note"),
    table([say("mode"), ...["correct", "incorrect", "partial_match", "missed", "spurious", "precision", "recall"].map((key) => say(key)), "F1"], modes),
    make("div", { class: "columns" },
      make("div", {}, make("h3", {}, say("answers")), table(["", ""], pairs(data.answers))),
      make("div", {}, make("h3", {}, say("mentions")), table(["", ""], pairs(data.mentions)))),
    make("h3", {}, say("run")), table(["", ""], run, { class: "words" }));
}
