// The page for people who want results.

import { call } from "./service.js";
import { LONGEST, mapLevels, painted, pixelsOf } from "./painting.js";
import { zip } from "./zip.js";

const AT_ONCE = 4; // photos that are sent side by side
const KINDS = ["cutout", "map", "mask", "overlay", "blur", "color", "image"];
const NOTHING = 0.5; // confidence below which the page says that there may be no object

const $ = (id) => document.getElementById(id);
const photos = []; // {file, name, state, entry, thumbnail, bitmap, pixels, map, facts, error}
let current = null;
let sending = 0;
let holding = false;
const look = { soft: true, threshold: 0.5, color: "#ffffff", background: null, file: null };

const kind = () => document.querySelector("input[name=kind]:checked").value;

function add(files) {
  const found = [...files].filter((file) => file.type.startsWith("image/") || /\.(heic|avif|tiff?)$/i.test(file.name));
  for (const file of found) {
    const photo = { file, name: file.name || "pasted.png", state: "waiting" };
    photos.push(photo);
    enlist(photo);
  }
  if (!found.length) $("status").textContent = "There is no photo among these files.";
  $("work").hidden = !photos.length;
  next();
}

function enlist(photo) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const image = document.createElement("img");
  image.alt = "";
  const text = document.createElement("span");
  text.textContent = photo.name;
  const state = document.createElement("small");
  text.append(state);
  button.append(image, text);
  button.addEventListener("click", () => show(photo));
  item.append(button);
  $("list").append(item);
  photo.entry = { item, button, image, state };
  tell(photo, "waiting");
}

function tell(photo, state, detail = "") {
  photo.state = state;
  photo.entry.state.textContent = detail || state;
  photo.entry.state.classList.toggle("bad", state === "failed");
  const done = photos.filter((one) => one.state === "done").length;
  const failed = photos.filter((one) => one.state === "failed").length;
  $("status").textContent = `${done} of ${photos.length} done${failed ? `, ${failed} failed` : ""}`;
}

function next() {
  for (const photo of photos) {
    if (sending >= AT_ONCE) return;
    if (photo.state === "waiting") {
      sending += 1;
      work(photo).finally(() => { sending -= 1; next(); });
    }
  }
}

async function work(photo) {
  tell(photo, "working");
  try {
    const form = new FormData();
    form.append("photo", photo.file, photo.name);
    const answer = await call(`/v1/predict?kind=map&answer=json&size=${LONGEST}`, { method: "POST", body: form });
    [photo.facts] = (await answer.json()).photos;
    photo.mapBytes = photo.facts.results.map;
    delete photo.facts.results;
    await prepare(photo);
    tell(photo, "done", summary(photo.facts));
    if (!current) show(photo);
  } catch (error) {
    photo.error = error.message;
    tell(photo, "failed", error.message);
  }
}

function summary({ confidence }) {
  if (confidence === null) return "done";
  return confidence < NOTHING ? "nothing here?" : `confidence ${Math.round(100 * confidence)} %`;
}

// A small picture for the list; the large ones are made when they are shown, so that many photos fit into memory.
async function prepare(photo) {
  const bitmap = await shown(photo);
  const canvas = document.createElement("canvas");
  const scale = 96 / Math.max(bitmap.width, bitmap.height);
  canvas.width = Math.max(1, bitmap.width * scale);
  canvas.height = Math.max(1, bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  photo.entry.image.src = canvas.toDataURL("image/webp", 0.7);
}

async function mapOf(photo) {
  const bytes = Uint8Array.from(atob(photo.mapBytes), (sign) => sign.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}

// What browsers cannot decode (HEIC, TIFF) is asked of the service.
async function shown(photo) {
  try {
    return await createImageBitmap(photo.file);
  } catch {
    const form = new FormData();
    form.append("photo", photo.file, photo.name);
    const blank = `/v1/predict?kind=overlay&threshold=1&format=jpg&size=${LONGEST}`;
    return createImageBitmap(await (await call(blank, { method: "POST", body: form })).blob());
  }
}

async function show(photo) {
  if (photo.state !== "done") return;
  current = photo;
  for (const one of photos) one.entry.button.setAttribute("aria-current", String(one === photo));
  const { width, height } = photo.facts;
  [photo.bitmap, photo.mapBitmap] = await Promise.all([shown(photo), mapOf(photo)]);
  for (const one of photos) if (one !== current) delete one.pixels;
  photo.pixels = pixelsOf(photo.bitmap, width, height);
  photo.map = mapLevels(photo.mapBitmap, width, height);
  $("name").textContent = photo.name;
  $("facts").textContent = described(photo.facts);
  $("canvas").width = width;
  $("canvas").height = height;
  paint();
}

function described({ confidence, area, boxes }) {
  const sure = confidence === null ? "" : `Confidence ${Math.round(100 * confidence)} %. `;
  const nothing = confidence !== null && confidence < NOTHING ? "There may be nothing here. " : "";
  const regions = boxes.length === 1 ? "1 region" : `${boxes.length} regions`;
  return `${sure}${nothing}${Math.round(100 * area)} % of the photo, ${regions}.`;
}

function paint() {
  if (!current?.pixels) return;
  const canvas = $("canvas");
  const context = canvas.getContext("2d");
  context.putImageData(painted(kind(), look, current.bitmap, current.pixels, current.map), 0, 0);
  const split = (holding ? 1 : Number($("before").value) / 100) * canvas.width;
  if (split > 0) context.putImageData(current.pixels, 0, 0, 0, 0, split, canvas.height);
  $("split").style.left = `${(100 * split) / canvas.width}%`;
  $("split").hidden = split === 0 || split === canvas.width;
  if ($("boxes").checked) {
    context.lineWidth = Math.max(2, canvas.width / 300);
    context.strokeStyle = "#ff2d55";
    for (const box of current.facts.boxes) context.strokeRect(...box);
  }
  canvas.setAttribute("aria-label", `${kind()} of ${current.name}`);
  canvas.dataset.painted = String(Number(canvas.dataset.painted ?? 0) + 1);
}

// The whole result, at the size of the photo, as the service makes it.
async function result(photo) {
  const form = new FormData();
  const what = kind();
  form.append("photo", photo.file, photo.name);
  form.append("kind", what === "color" ? `color:${look.color}` : what);
  if (!look.soft || what === "mask") form.append("threshold", String(look.threshold));
  if (what === "image" && look.file) form.append("background", look.file);
  const answer = await call("/v1/predict", { method: "POST", body: form });
  return { name: `${photo.name.replace(/\.[^.]*$/, "")}.${what}.png`, blob: await answer.blob() };
}

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function saving(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    $("status").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

const saveOne = () => saving($("save"), async () => {
  if (!current) return;
  const { name, blob } = await result(current);
  save(name, blob);
});

const saveAll = () => saving($("save-all"), async () => {
  const files = [];
  const used = new Set();
  for (const photo of photos.filter((one) => one.state === "done")) {
    const { name, blob } = await result(photo);
    let unique = name;
    for (let number = 2; used.has(unique.toLowerCase()); number += 1) unique = name.replace(".", ` (${number}).`);
    used.add(unique.toLowerCase());
    files.push({ name: unique, bytes: new Uint8Array(await blob.arrayBuffer()) });
    $("status").textContent = `${files.length} results made`;
  }
  save("act2sal.zip", zip(files));
});

function clear() {
  photos.splice(0).forEach((photo) => { photo.state = "gone"; photo.entry.item.remove(); });
  current = null;
  $("work").hidden = true;
  $("status").textContent = "";
  $("choose").focus();
}

function step(by) {
  const done = photos.filter((one) => one.state === "done");
  const at = done.indexOf(current) + by;
  if (done[at]) { show(done[at]); done[at].entry.button.focus(); }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(within))).flat();
}

async function within(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  for (;;) { // a reader gives some at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return files;
    files.push(...(await Promise.all(some.map(within))).flat());
  }
}

function listenForPhotos() {
  $("choose").addEventListener("click", () => $("files").click());
  $("choose-folder").addEventListener("click", () => $("folder").click());
  for (const id of ["files", "folder"]) {
    $(id).addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
  }
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    add(await dropped(event.dataTransfer));
  });
}

function listenForLook() {
  for (const id of ["before", "boxes", "kinds"]) $(id).addEventListener("input", paint);
  $("soft").addEventListener("input", () => { look.soft = $("soft").checked; paint(); });
  $("threshold").addEventListener("input", () => {
    look.threshold = Number($("threshold").value) / 100;
    look.soft = false;
    $("soft").checked = false;
    $("threshold-value").textContent = look.threshold.toFixed(2);
    paint();
  });
  $("color").addEventListener("input", () => { look.color = $("color").value; choose("color"); });
  $("choose-background").addEventListener("click", () => $("background").click());
  $("background").addEventListener("change", async () => {
    [look.file] = $("background").files;
    look.background = await createImageBitmap(look.file);
    choose("image");
  });
}

function choose(name) {
  document.querySelector(`input[name=kind][value=${name}]`).checked = true;
  paint();
}

function listenForKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches("input[type=text], input[type=password]");
    const inList = $("list").contains(event.target);
    if (typing) return;
    if (event.key === "j" || (inList && event.key === "ArrowDown")) step(1);
    else if (event.key === "k" || (inList && event.key === "ArrowUp")) step(-1);
    else if (/^[1-7]$/.test(event.key)) choose(KINDS[event.key - 1]);
    else if (event.key === "b") { holding = true; paint(); }
    else if (event.key === "s") saveOne();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (event.key === "b") { holding = false; paint(); } });
}

$("save").addEventListener("click", saveOne);
$("save-all").addEventListener("click", saveAll);
$("clear").addEventListener("click", clear);
listenForPhotos();
listenForLook();
listenForKeys();
fetch("/v1/health").then((answer) => answer.json()).then((health) => {
  $("to-training").hidden = !health.training;
});
