// The comparison with another run, the answers, and the facts about the run.
function comparisonTable() {
  const other = data.comparison;
  if (!other) return null;
  const change = (value) => make("span", { class: value > 0 ? "up" : value < 0 ? "down" : null }, signed(value));
  const rows = other.labels.map(([label, one, two]) =>
    [labelName(label), four(one), four(two), change(one === null || two === null ? null : two - one)]);
  const { f1, low, high, p } = other.difference;
  const list = (part, title) => folded(null, shown(`${title} (${part.count})`), part.examples.slice(0, 100).map(exampleCard));
  return section("comparison", say("comparison", { name: other.name }),
    say("comparison_note", { n: other.sentences, protocol: leading.title[language] }),
    other.refused ? make("p", { class: "warning" }, shown(say("refused_other", { n: other.refused, name: other.name }))) : null,
    make("p", { class: "lead" }, say("change", { one: four(other.f1[0]), two: four(other.f1[1]) }), change(f1),
      say("spread", { low: signed(low), high: signed(high), p: p.toFixed(3) }), say(p < 0.05 ? "significant" : "not_significant")),
    table([say("label"), isolated(data.run.name), isolated(other.name), say("difference")], rows, { class: "compared" }), sums(other.sums),
    list(other.fixed, say("fixed", { name: other.name })), list(other.broken, say("broken", { name: other.name })));
}

function answersTable() {
  const pairs = (value) => Object.entries(value).map(([key, count]) => [say(key), String(count)]);
  const part = (key) => make("div", {}, make("h3", {}, say(key)), table(["", say("count")], pairs(data[key])));
  return section("answers", say("answers"), say("answers_note"),
    make("div", { class: "columns" }, part("answers"), part("mentions")), sums(data.sums.answers));
}

function details() {
  const rows = ([key, value]) => [make("dt", {}, say(key)), make("dd", { class: value === null ? "unknown" : null }, isolated(fact(value)))];
  const group = ({ title, rows: list }) => make("div", {}, make("h3", {}, say(title)), make("dl", {}, list.map(rows)));
  return section("details", say("details"), null, data.run.facts.map(group),
    folded("prompt-text", say("prompt_text"), make("div", { class: "answer" }, data.run.prompt_text.split("\n").map((line) => make("div", {}, isolated(line))))));
}
