// The page for people who train: a run as it is, and the review of its labels.

import { call } from "./service.js";

const EVERY = 2000; // milliseconds between two looks at the run
const SVG = "http://www.w3.org/2000/svg";
const MEASURES = { loss: "loss", label_change: "change of the labels" };
const CAPTIONS = {
  photo: "Photo",
  activation: "Activation map",
  cue: "Cue before CRF",
  label: "Label after CRF",
  rectified: "Rectified label",
  prediction: "Prediction",
};
const $ = (id) => document.getElementById(id);
let labels = [];
let current = null;
let rows = [];

async function image(element, path) {
  const blob = await (await call(path)).blob();
  const before = element.src;
  element.src = URL.createObjectURL(blob);
  if (before) URL.revokeObjectURL(before);
}

async function look() {
  try {
    const run = await (await call("/v1/run")).json();
    rows = run.rows;
    const where = run.stage ? `${run.generation ? `generation ${run.generation}, ` : ""}${run.stage}, epoch ${run.epoch}` : "nothing yet";
    const left = run.seconds_left === null ? "" : `, about ${Math.ceil(run.seconds_left / 60)} min of this stage left`;
    $("state").textContent = run.finished ? `Finished; the last was ${where}` : `${where}${left}`;
    curves();
    await samples(run.samples);
  } catch (error) {
    $("state").textContent = error.message;
  }
}

// One curve for each measure of each stage, over its epochs.
function curves() {
  const found = new Map();
  for (const row of rows) {
    const stage = (row.generation ? `generation ${row.generation}, ` : "") + row.stage;
    for (const [name, words] of Object.entries(MEASURES)) {
      if (typeof row[name] !== "number") continue;
      const title = `${stage}: ${words}`;
      found.set(title, [...(found.get(title) ?? []), row[name]]);
    }
  }
  $("curves").replaceChildren(...[...found].map(([title, values]) => curve(title, values)));
}

function curve(title, values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((value, index) => [
    (100 * index) / Math.max(1, values.length - 1), high === low ? 50 : 95 - (90 * (value - low)) / (high - low)]);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.map((point) => point.join(",")).join(" "));
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 100 100");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(line);
  const caption = document.createElement("figcaption");
  const [first, last] = [values[0], values.at(-1)].map((value) => value.toPrecision(3));
  caption.textContent = `${title}, ${first} at first, ${last} after epoch ${values.length}`;
  const figure = document.createElement("figure");
  figure.append(drawing, caption);
  return figure;
}

async function samples(found) {
  for (const [number, sample] of found.entries()) {
    let row = $("samples").children[number];
    if (!row) {
      row = document.createElement("div");
      row.className = "samples row";
      $("samples").append(row);
    }
    for (const name of sample.pictures) {
      let picture = row.querySelector(`[data-name=${name}]`);
      if (picture && name !== "rectified") continue;
      if (!picture) {
        picture = document.createElement("img");
        picture.dataset.name = name;
        picture.alt = `${name} of ${sample.name}`;
        const caption = document.createElement("figcaption");
        caption.textContent = CAPTIONS[name] ?? name;
        const figure = document.createElement("figure");
        figure.append(picture, caption);
        row.append(figure);
      }
      await image(picture, `/v1/run/samples/${number}/${name}`);
    }
  }
}

async function loadLabels() {
  const answer = await call("/v1/review");
  ({ labels } = await answer.json());
  $("review").hidden = !labels.length;
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      image(target, `/v1/review/${target.dataset.number}/label`);
    }
  });
  for (const label of labels) {
    const button = document.createElement("button");
    button.type = "button";
    const picture = document.createElement("img");
    picture.alt = "";
    picture.dataset.number = label.number;
    label.text = document.createElement("span");
    button.append(picture, label.text);
    button.addEventListener("click", () => choose(label));
    label.button = button;
    label.picture = picture;
    tell(label);
    $("gallery").append(button);
    seen.observe(picture);
  }
  if (labels.length) await choose(labels[0]);
}

function tell(label) {
  const doubt = label.doubt === null ? "" : `, doubt ${Math.round(100 * label.doubt)} %`;
  label.text.textContent = `${label.name}: ${label.decision ?? "open"}${doubt}`;
  if (label === current) $("label-name").textContent = label.text.textContent;
}

async function choose(label) {
  current = label;
  for (const one of labels) one.button.setAttribute("aria-current", String(one === label));
  tell(label);
  await image($("label-photo"), `/v1/review/${label.number}/photo`);
  const bitmap = await createImageBitmap(await (await call(`/v1/review/${label.number}/label`)).blob());
  $("label").width = bitmap.width;
  $("label").height = bitmap.height;
  $("label").getContext("2d").drawImage(bitmap, 0, 0);
}

async function decided(path, options) {
  const label = current;
  try {
    label.decision = (await (await call(path, { method: "POST", ...options })).json()).decision;
    tell(label);
    await image(label.picture, `/v1/review/${label.number}/label`);
    if (label !== current) return; // another one was chosen meanwhile
    if (label.decision === "accept" || label.decision === "reject") step(1);
    else await choose(label);
  } catch (error) {
    $("label-name").textContent = error.message;
  }
}

const decide = (decision) => decided("/v1/review", {
  headers: { "Content-Type": "application/json" }, body: JSON.stringify({ number: current.number, decision }),
});

async function savePainted() {
  const blob = await new Promise((resolve) => $("label").toBlob(resolve, "image/png"));
  await decided(`/v1/review/${current.number}/label`, { headers: { "Content-Type": "image/png" }, body: blob });
}

function step(by) {
  const next = labels[labels.indexOf(current) + by];
  if (next) choose(next);
}

function brush(event) {
  if (event.buttons !== 1) return;
  const canvas = $("label");
  const box = canvas.getBoundingClientRect();
  const context = canvas.getContext("2d");
  context.fillStyle = $("erase").checked ? "#000" : "#fff";
  context.beginPath();
  context.arc(((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height, Number($("brush").value), 0, 2 * Math.PI);
  context.fill();
}

for (const name of ["accept", "reject", "invert"]) $(name).addEventListener("click", () => decide(name));
$("paint").addEventListener("click", savePainted);
$("label").addEventListener("pointerdown", brush);
$("label").addEventListener("pointermove", brush);
document.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
  const keys = { a: () => decide("accept"), r: () => decide("reject"), i: () => decide("invert"), j: () => step(1), k: () => step(-1) };
  keys[event.key]?.();
});
await look();
setInterval(look, EVERY);
if ((await (await call("/v1/health")).json()).review) await loadLabels();
