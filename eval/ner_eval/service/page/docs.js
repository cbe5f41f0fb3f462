// The OpenAPI description, as a page: no script from anywhere else.
"use strict";
const at = (id) => document.getElementById(id);
const nameOf = (schema) => (schema && schema.$ref ? schema.$ref.split("/").pop() : "");

function linked(schema) { const name = nameOf(schema); return name ? make("a", { href: `#${name}` }, name) : ""; }

function contents(content) {
  return Object.entries(content || {}).map(([kind, { schema }]) => make("div", {}, make("code", {}, kind), " ", linked(schema)));
}

function operation(path, method, value) {
  const rows = Object.entries(value.responses).map(([status, { description, content }]) =>
    make("tr", {}, make("td", {}, status), make("td", {}, description), make("td", {}, contents(content))));
  return make("section", {}, make("h2", {}, `${method.toUpperCase()} ${path}`),
    (value.description || "").split("\n\n").map((part) => make("p", {}, part)),
    value.requestBody ? [make("h3", {}, "Request"), contents(value.requestBody.content)] : null,
    make("h3", {}, "Responses"),
    make("div", { class: "scroll" }, make("table", { class: "words" }, make("tbody", {}, rows))));
}

async function start() {
  const api = await (await fetch("openapi.json")).json();
  const address = new URL("extract", location.href);
  at("curl").textContent = `curl ${address} -H 'Authorization: Bearer KEY' --json '{"text": "嘉力中学收下了云帆证券的捐赠", "scores": true}'`;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, value]) => operation(path, method, value)));
  at("operations").replaceChildren(...operations);
  at("types").replaceChildren(...Object.entries(api.components.schemas).flatMap(([name, schema]) =>
    [make("h3", { id: name }, name), make("pre", { class: "schema" }, JSON.stringify(schema, null, 2))]));
}

start();
