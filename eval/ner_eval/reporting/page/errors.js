// What goes wrong: error classes, confusion matrix, breakdowns, suspects.
function rowButton(name, note, value, share, action) {
  return make("button", { class: "row", title: note, onclick: action }, make("span", {}, name, make("small", {}, note)), bar(share, true),
    make("span", { class: "figure" }, String(value)));
}

function classes() {
  const most = Math.max(1, ...Object.values(data.classes));
  const rows = Object.entries(data.classes).map(([kind, count]) =>
    rowButton(kindName(kind), say(`${kind}_note`), count, count / most, () => choose({ kind, label: "", pair: null })));
  return section("classes", say("classes"), say("classes_note"), rows, sums(data.sums.classes));
}

function confusionTable() {
  const names = data.labels.map(([label]) => label);
  const most = Math.max(1, ...data.confusion.flat());
  const cell = (count, r, c) => {
    const diagonal = r === c && r < names.length;
    const node = make("td", { class: diagonal ? "diagonal" : null }, count === 0 ? "" : diagonal ? String(count)
      : make("button", { onclick: () => choose({ kind: "", label: "", pair: [r, c] }) }, String(count)));
    // By the square root: on a linear scale, one error in a hundred would look like none.
    if (count) node.style.background = `rgba(var(${diagonal ? "--heat-right" : "--heat-wrong"}), ${0.05 + 0.55 * Math.sqrt(count / most)})`;
    return node;
  };
  const rows = data.confusion.map((row, r) => [
    make("th", {}, r < names.length ? labelName(names[r]) : say("not_in_gold")), ...row.map((count, c) => cell(count, r, c))]);
  const header = [say("gold_by_predicted"), ...names.map(labelName), say("other_label"), say("not_predicted")];
  return section("confusion", say("confusion"), say("confusion_note"), table(header, rows, { class: "matrix" }), sums(data.sums.confusion));
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
    make("div", { class: "columns" }, ["sentence_length", "mention_length", "frequency"].map(part)), sums(data.sums.breakdowns));
}

function suspectsTable() {
  const side = (label) => (label === "" ? make("small", {}, say("nothing")) : labelName(label));
  const rows = data.suspects.slice(0, 200).map((suspect) => [
    make("button", { onclick: () => choose({ kind: "", label: "", pair: null, query: suspect.surface }) }, isolated(suspect.surface)),
    side(suspect.gold), side(suspect.model), String(suspect.count), `${suspect.training_gold} : ${suspect.training_model}`]);
  return section("suspects", say("suspects"), say("suspects_note"), rows.length === 0 ? make("p", {}, say("none"))
    : table([say("surface"), say("gold_says"), say("model_says"), say("places"), say("training_says")], rows, { class: "words" }));
}
