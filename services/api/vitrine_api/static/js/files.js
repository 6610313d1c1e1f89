// File fields: drop, paste, preview, kind and size checks, and examples that give way to an own file.

const PREVIEW_PX = 224;
const LOOKED_AT = 65536;

function readable(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function accepts(patterns, file) {
  const name = file.name.toLowerCase();
  const type = file.type.toLowerCase().split(";")[0];
  return !patterns.length || patterns.some((pattern) => {
    if (pattern.startsWith(".")) return name.endsWith(pattern);
    if (pattern.endsWith("/*")) return !type || type.startsWith(pattern.slice(0, -1));
    return !type || pattern === type || pattern === "*";
  });
}

// Drawn on a canvas: the pages' policy allows no blob addresses.
async function drawPicture(canvas, source) {
  const bitmap = await createImageBitmap(source);
  const scale = Math.min(1, PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

function drawWave(canvas, sound) {
  const samples = sound.getChannelData(0);
  const pen = canvas.getContext("2d");
  canvas.width = PREVIEW_PX;
  canvas.height = 64;
  pen.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < PREVIEW_PX; x += 2) {
    const part = samples.subarray(Math.floor(x * samples.length / PREVIEW_PX), Math.floor((x + 2) * samples.length / PREVIEW_PX));
    const height = Math.max(1, part.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * 60);
    pen.fillRect(x, 32 - height / 2, 1.5, height);
  }
}

class FileField {
  constructor(element) {
    this.element = element;
    this.kind = element.dataset.fileField;
    this.input = element.querySelector("input[type=file]");
    this.drop = element.querySelector("[data-drop]");
    this.canvas = element.querySelector("[data-preview]");
    this.title = element.querySelector("[data-drop-title]");
    this.clearButton = element.querySelector("[data-clear]");
    this.playButton = element.querySelector("[data-play]");
    this.rows = element.querySelector("[data-rows]");
    this.examples = [...element.querySelectorAll("input[type=radio]")];
    this.patterns = (this.input.accept || "").toLowerCase().split(",").map((one) => one.trim()).filter(Boolean);
    this.required = "required" in element.dataset;
    this.words = this.title.textContent;
    this.input.addEventListener("change", () => this.chosen());
    this.clearButton.addEventListener("click", () => this.clear());
    this.playButton?.addEventListener("click", () => this.play());
    element.addEventListener("vitrine:file", (event) => this.take(event.detail));
    for (const example of this.examples) example.addEventListener("change", () => this.exampleChosen(example));
    this.bindDrop();
    const checked = this.examples.find((example) => example.checked);
    if (checked) this.exampleChosen(checked);
    else this.validate();
  }

  bindDrop() {
    this.drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.drop.classList.add("over");
    });
    this.drop.addEventListener("dragleave", () => this.drop.classList.remove("over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      if (event.dataTransfer.files.length) this.take(event.dataTransfer.files[0]);
    });
  }

  take(file) {
    const carrier = new DataTransfer();
    carrier.items.add(file);
    this.input.files = carrier.files;
    this.chosen();
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  chosen() {
    const file = this.input.files[0];
    if (file) for (const example of this.examples) example.checked = false;
    this.show(file ? `${file.name}, ${readable(file.size)}` : "", file);
  }

  async exampleChosen(example) {
    this.input.value = "";
    const picture = example.parentElement.querySelector("img");
    this.show(`Example: ${picture?.alt ?? example.parentElement.textContent.trim()}`, null);
    if (picture) await picture.decode().catch(() => null);
    const wanted = this.kind === "audio" || this.kind === "table";
    const content = picture ?? (wanted ? await fetch(example.dataset.url).then((answer) => answer.blob()).catch(() => null) : null);
    if (example.checked) await this.preview(content);
  }

  clear() {
    this.input.value = "";
    for (const example of this.examples) example.checked = false;
    this.show("", null);
    this.input.focus();
  }

  show(words, content) {
    this.title.textContent = words || this.words;
    this.clearButton.hidden = !words;
    this.drop.classList.toggle("filled", Boolean(words));
    this.validate();
    this.preview(content);
  }

  async preview(content) {
    const shown = (this.shown = content);
    if (!this.canvas) return;
    this.canvas.hidden = true;
    if (this.playButton) this.playButton.hidden = true;
    if (this.rows) this.rows.hidden = true;
    if (!content) return;
    try {
      if (this.kind === "image") await drawPicture(this.canvas, content);
      else if (this.kind === "audio") await this.hear(content);
      else if (this.kind === "table") { await this.tell(content); return; }
      else return;
      this.canvas.hidden = shown !== this.shown;
    } catch {
      this.canvas.hidden = true;
    }
  }

  async hear(content) {
    this.audio ??= new AudioContext();
    this.sound = await this.audio.decodeAudioData(await content.arrayBuffer());
    drawWave(this.canvas, this.sound);
    this.playButton.hidden = false;
  }

  play() {
    if (this.playing) { this.playing.stop(); return; }
    const words = this.playButton.firstChild;
    this.playing = new AudioBufferSourceNode(this.audio, { buffer: this.sound });
    this.playing.connect(this.audio.destination);
    this.playing.onended = () => { this.playing = null; words.data = "Play"; };
    words.data = "Stop";
    this.audio.resume();
    this.playing.start();
  }

  async tell(content) {
    const text = await content.slice(0, LOOKED_AT).text();
    const cut = content.size > LOOKED_AT;
    document.dispatchEvent(new CustomEvent("vitrine:table", { detail: { text, cut, place: this.rows } }));
  }

  validate() {
    const file = this.input.files[0];
    const limit = Number(this.input.dataset.maxBytes || Infinity);
    let problem = "";
    if (file && file.size > limit) problem = `This file has ${readable(file.size)}; at most ${readable(limit)} are taken.`;
    else if (file && !file.size) problem = "This file is empty.";
    else if (file && !accepts(this.patterns, file)) problem = `This is ${file.type || "a file of another kind"}; give one of ${this.patterns.join(", ")}.`;
    else if (!file && this.required && !this.examples.some((example) => example.checked)) {
      problem = this.examples.length ? "Choose a file, or take an example." : "Choose a file.";
    }
    this.input.setCustomValidity(problem);
  }
}

const fields = [...document.querySelectorAll("[data-file-field]")].map((element) => new FileField(element));

function placeOf(file) {
  const fitting = fields.filter((field) => accepts(field.patterns, file) && (field.kind !== "image" || file.type.startsWith("image/")));
  return fitting.find((field) => field.drop.contains(document.activeElement))
    ?? fitting.find((field) => !field.input.files.length) ?? fitting[0];
}

function pasteText(event, text) {
  const table = fields.find((field) => field.kind === "table" && !field.input.files.length);
  if (table && /[,;\t]/.test(text.split("\n")[0])) {
    event.preventDefault();
    table.take(new File([text], "pasted.csv", { type: "text/csv" }));
    return;
  }
  const box = document.querySelector(".run-form textarea:not([data-json]), .run-form input[type=text]");
  if (!box) return;
  event.preventDefault();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  box.focus();
}

document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  const target = file && placeOf(file);
  if (target) {
    event.preventDefault();
    target.take(file);
    return;
  }
  const text = event.clipboardData?.getData("text/plain");
  if (!file && text && !event.target.closest?.("input, textarea, select, [contenteditable]")) pasteText(event, text);
});

// What misses its field must not make the browser leave the page.
for (const kind of ["dragover", "drop"]) {
  addEventListener(kind, (event) => {
    if ([...event.dataTransfer.types].includes("Files")) event.preventDefault();
  });
}
