// What scores are worth: a reliability diagram and the precision-recall curve, each with its numbers as a table.
const side = 300, left = 34, base = 28, roof = 22;  // of a diagram, in its own units
const across = (share) => left + share * (side - left - 8);
const up = (share) => side - base - share * (side - base - roof);

// Its address is not written out: the page has none in it, so nothing can be taken for a request.
const svgSpace = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(svgSpace, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const path = (points) => points.map(([x, y], n) => `${n ? "L" : "M"}${across(x).toFixed(1)} ${up(y).toFixed(1)}`).join("");

function diagram(title, horizontal, vertical, ...shapes) {
  const marks = [0, 0.5, 1].flatMap((share) => [
    shape("line", { class: "grid", x1: across(0), x2: across(1), y1: up(share), y2: up(share) }),
    shape("text", { x: left - 5, y: up(share) + 4, "text-anchor": "end" }, String(share)),
    shape("text", { x: across(share), y: side - base + 12, "text-anchor": "middle" }, String(share))]);
  const picture = shape("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": title }, ...marks, ...shapes,
    shape("text", { x: across(0.5), y: side - 2, "text-anchor": "middle" }, horizontal),
    shape("text", { x: 4, y: 11, "text-anchor": "start" }, vertical));
  return make("figure", { class: "diagram" }, make("figcaption", {}, title), picture);
}

function reliabilityDiagram({ bins }) {
  const bars = bins.map((bin) => shape("rect", { x: across(bin.low) + 1, width: across(bin.high) - across(bin.low) - 2,
    y: up(bin.right), height: up(0) - up(bin.right) }));
  const dots = bins.map((bin) => shape("circle", { cx: across(bin.score), cy: up(bin.right), r: 3 }));
  return diagram(say("reliability"), say("score"), say("share_right"), ...bars,
    shape("path", { class: "ideal", d: path([[0, 0], [1, 1]]) }), ...dots);
}

function precisionRecall({ curve, cut }) {
  const steps = curve.flatMap(([, precision, recall], n) => (n ? [[curve[n - 1][2], precision], [recall, precision]] : [[0, precision], [recall, precision]]));
  const marked = cut ? [shape("circle", { class: "cut", cx: across(cut.kept.recall), cy: up(cut.kept.precision), r: 5 })] : [];
  return diagram(say("precision_recall"), say("recall"), say("precision"), shape("path", { class: "curve", d: path(steps) }), ...marked);
}

function keptTable({ all, cut }) {
  const row = (name, kept) => [name, String(kept.entities), four(kept.precision), four(kept.recall), four(kept.f1)];
  const rows = [row(say("all"), all), ...(cut ? [row(say("kept"), cut.kept)] : [])];
  return table(["", say("number"), say("precision"), say("recall"), "F1"], rows);
}

function confidence() {
  const value = data.confidence;
  if (!value) return null;
  const { calibrated, cut } = value;
  const bins = value.bins.map((bin) => [`${bin.low.toFixed(1)}–${bin.high.toFixed(1)}`, String(bin.count), four(bin.score), four(bin.right)]);
  const thresholds = cut ? Object.entries(cut.by_label).map(([label, score]) => `${labelName(label)} ${four(score)}`).join(", ") : "";
  return section("confidence", say("confidence"), say("confidence_note"),
    value.unscored ? make("p", { class: "warning" }, say("unscored", { n: value.unscored })) : null,
    make("p", { class: "sum" }, calibrated ? say("calibrated", calibrated) : say("not_calibrated")),
    make("p", {}, say("calibration_error", { error: four(value.error) }),
      value.error_raw === null ? null : say("error_before", { error: four(value.error_raw) }), " ", say("curve_area", { area: four(value.area) })),
    make("div", { class: "columns" }, reliabilityDiagram(value), precisionRecall(value)),
    make("h3", {}, say("what_is_kept")), keptTable(value),
    cut ? make("p", { class: "sum" }, shown(say("kept_from", { threshold: four(cut.threshold), right: cut.lost_right, wrong: cut.lost_wrong })),
      thresholds ? [" ", shown(say("kept_by_label", { list: thresholds }))] : null) : null,
    folded("reliability-table", say("reliability"), table([say("score"), say("number"), say("mean_score"), say("share_right")], bins)));
}
