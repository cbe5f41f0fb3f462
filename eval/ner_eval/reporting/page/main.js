// The page: built once; parts are redrawn when a choice changes them.
function redraw(id, draw) {
  const node = draw();
  document.getElementById(id).replaceWith(node);
  return node;
}

function top() {
  const other = language === "zh" ? "en" : "zh";
  const dark = () => document.documentElement.dataset.theme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  return make("header", {}, make("h1", {}, isolated(data.run.model), " · ", `${data.run.corpus}/${data.run.split}`),
    make("button", { id: "language", lang: other, onclick: () => { language = other; draw(); } }, strings[other].this_language),
    make("button", { id: "theme", onclick: () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; } }, say("theme")));
}

function draw() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  // The sentences come last: their list grows on demand.
  const drawn = [headline, labels, classes, confusionTable, breakdowns, confidence, comparisonTable, suspectsTable, answersTable, details, examples];
  const parts = drawn.map((part) => part()).filter(Boolean);
  document.getElementById("page").replaceChildren(top(), contents(parts), make("div", { id: "sections" }, parts));
  mark();
}

// #labels names a section; anything else in the address is a filter.
const named = () => (/^#\w+$/.test(location.hash) ? document.getElementById(location.hash.slice(1)) : null);

recall();
addEventListener("hashchange", () => { recall(); draw(); if (named()) go(named().id); });
draw();
if (named()) go(named().id);
