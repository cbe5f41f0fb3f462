// Figures of the protocols: the headline, and a table of labels for each. The first protocol leads; the others are folded.
function interval(values) { return values ? say("interval", { low: four(values[0]), high: four(values[1]) }) : ""; }

const [leading, ...otherHeadlines] = data.headlines;
const averageName = (headline) => say(`${headline.average}_f1`);

function quiet(value, spread, name) {
  return make("li", {}, make("span", { class: "figure" }, four(value)), make("span", {}, spread), make("span", {}, name));
}

function headline() {
  const micro = data.protocols[leading.counted_as].lenient.micro;
  const macro = data.protocols[leading.counted_as].lenient;
  const own = otherHeadlines.some((other) => other.counted_as === leading.counted_as && other.average === "macro");
  return section("headline", say("headline"), say("headline_note", { protocol: leading.title[language] }),
    data.answers.missing ? make("p", { class: "warning" }, say("partial", { n: data.answers.missing })) : null,
    data.answers.refused ? make("p", { class: "warning" }, say("refused_warning", { n: data.answers.refused })) : null,
    data.run.selection ? make("p", { class: "warning" }, say("selection", { what: fact(data.run.selection) })) : null,
    make("p", { class: "main" }, make("span", {}, averageName(leading)), make("b", {}, four(leading.f1.lenient)),
      make("span", {}, interval(leading.interval))),
    make("p", { class: "lead" }, say("plain", { p: percent(micro.precision), r: percent(micro.recall) })),
    make("h3", {}, say("also")),
    make("ul", { class: "figures" },
      quiet(leading.f1.strict, "", `${averageName(leading)} · ${say("reading_of", { title: leading.name, reading: say("strict") })}`),
      own ? null : quiet(macro.macro.f1, interval((macro.intervals || {}).macro), `${say("macro_f1")} · ${leading.name}`),
      otherHeadlines.map((other) => quiet(other.f1.lenient, interval(other.interval), `${averageName(other)} · ${other.title[language]}`))),
    make("p", { class: "note" }, say("strict_note")));
}

function labelTable(scores) {
  const row = (name, value, total) => {
    const cells = [name, four(value.precision), four(value.recall), four(value.f1), make("td", { class: "wide" }, bar(value.f1)),
      ...("tp" in value ? [value.tp + value.fn, value.tp + value.fp] : ["", ""]).map(String)];
    cells.total = total;
    return cells;
  };
  const rows = data.labels.map(([label, name]) => row(
    [labelName(label), label === name || language === "en" ? null : [" ", make("small", {}, label)]], scores.labels[label]));
  const unknown = scores.labels[""];
  if (unknown.fp) rows.push(row(say("other_label"), { ...unknown, precision: null, recall: null, f1: null }));
  rows.push(row("Macro Avg.", scores.macro, true), row("Micro Avg.", scores.micro, true));
  const empty = data.labels.map(([label]) => label).filter((label) => scores.labels[label].f1 === null);
  const wide = make("th", { class: "wide" });
  return [table([say("label"), say("precision"), say("recall"), "F1", wide, say("gold"), say("predicted")], rows, { class: "labels" }),
    sums(scores.sums), empty.length ? make("p", { class: "sum" }, shown(say("undefined", { labels: empty.map(labelName).join(", ") }))) : null];
}

function foldedTable(headline, reading) {
  const scores = data.protocols[headline.counted_as][reading];
  const title = say("reading_of", { title: headline.title[language], reading: say(reading) });
  return folded(`protocol-${headline.name}-${reading}`, `${title} · ${averageName(headline)} ${four(headline.f1[reading])}`, labelTable(scores));
}

function modes() {
  const rows = Object.entries(data.modes).map(([mode, value]) => [mode, value.correct, value.incorrect, value.partial,
    value.missed, value.spurious].map(String).concat([four(value.precision), four(value.recall), four(value.f1)]));
  const header = ["correct", "incorrect", "partial_match", "missed", "spurious", "precision", "recall"].map((key) => say(key));
  return folded("modes", say("reading_of", { title: data.modes_title[language], reading: say("lenient") }),
    table([say("mode"), ...header, "F1"], rows), sums(data.sums.modes));
}

function labels() {
  const shownCounts = new Map([[leading.counted_as, leading.name]]);
  const others = otherHeadlines.map((other) => {
    const same = shownCounts.get(other.counted_as);
    shownCounts.set(other.counted_as, same || other.name);
    if (!same) return [foldedTable(other, "lenient"), foldedTable(other, "strict")];
    return folded(`protocol-${other.name}`, `${other.title[language]} · ${averageName(other)} ${four(other.f1.lenient)}`,
      make("p", { class: "sum" }, say("same_counts", { name: same, average: averageName(other) })));
  });
  return section("labels", say("labels"), say("labels_note"), labelTable(data.protocols[leading.counted_as].lenient),
    make("h3", {}, say("other_protocols")), foldedTable(leading, "strict"), others, modes());
}
