// File fields: drop, paste, preview, size limit, and examples that give way to an own file.

const PREVIEW_PX = 224;

function readable(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

// Drawn on a canvas: the pages' policy allows no blob addresses.
async function drawPreview(canvas, source) {
  if (!canvas) return;
  canvas.hidden = true;
  if (!source) return;
  try {
    const bitmap = await createImageBitmap(source);
    const scale = Math.min(1, PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    canvas.hidden = false;
  } catch {
    canvas.hidden = true;
  }
}

class FileField {
  constructor(element) {
    this.input = element.querySelector("input[type=file]");
    this.drop = element.querySelector("[data-drop]");
    this.canvas = element.querySelector("[data-preview]");
    this.title = element.querySelector("[data-drop-title]");
    this.clearButton = element.querySelector("[data-clear]");
    this.examples = [...element.querySelectorAll("input[type=radio]")];
    this.required = "required" in element.dataset;
    this.words = this.title.textContent;
    this.isImage = "image" in this.input.dataset;
    this.input.addEventListener("change", () => this.chosen());
    this.clearButton.addEventListener("click", () => this.clear());
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
  }

  chosen() {
    const file = this.input.files[0];
    if (file) for (const example of this.examples) example.checked = false;
    this.show(file ? `${file.name}, ${readable(file.size)}` : "", this.isImage && file);
  }

  async exampleChosen(example) {
    this.input.value = "";
    const picture = example.parentElement.querySelector("img");
    this.show(`Example: ${picture?.alt ?? example.parentElement.textContent.trim()}`, null);
    if (!picture) return;
    await picture.decode().catch(() => null);
    if (example.checked) await drawPreview(this.canvas, picture);
  }

  clear() {
    this.input.value = "";
    for (const example of this.examples) example.checked = false;
    this.show("", null);
    this.input.focus();
  }

  show(words, preview) {
    this.title.textContent = words || this.words;
    this.clearButton.hidden = !words;
    this.drop.classList.toggle("filled", Boolean(words));
    this.validate();
    drawPreview(this.canvas, preview);
  }

  validate() {
    const file = this.input.files[0];
    const limit = Number(this.input.dataset.maxBytes || Infinity);
    let problem = "";
    if (file && file.size > limit) problem = `This file has ${readable(file.size)}; at most ${readable(limit)} are taken.`;
    else if (file && !file.size) problem = "This file is empty.";
    else if (!file && this.required && !this.examples.some((example) => example.checked)) {
      problem = this.examples.length ? "Choose a file, or take an example." : "Choose a file.";
    }
    this.input.setCustomValidity(problem);
  }
}

const fields = [...document.querySelectorAll("[data-file-field]")].map((element) => new FileField(element));

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith("image/"));
  const images = fields.filter((field) => field.isImage);
  const target = images.find((field) => field.drop.contains(document.activeElement)) ?? images.find((field) => !field.input.files.length) ?? images[0];
  if (!file || !target) return;
  event.preventDefault();
  target.take(file);
});
