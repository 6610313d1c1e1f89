// The run form: sliders, examples to click, messages beside the fields, a hint while JSON is written, Ctrl + Enter.

function changed(control) {
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

function bindSlider(slider) {
  const field = document.getElementById(slider.dataset.sliderOf);
  const follow = () => { if (field.value !== "") slider.value = field.value; };
  slider.addEventListener("input", () => {
    field.value = slider.value;
    check(field);
  });
  field.addEventListener("input", follow);
  follow();
}

function fill(button) {
  const control = document.getElementById(button.dataset.fill);
  const value = button.dataset.value;
  if (control.matches("fieldset")) {
    for (const radio of control.querySelectorAll("input[type=radio]")) radio.checked = radio.value === value;
  } else {
    control.value = value;
    changed(control);
  }
}

function checkJson(area) {
  const hint = document.querySelector(`[data-json-hint="${CSS.escape(area.id)}"]`);
  const size = new Blob([area.value]).size;
  let problem = "";
  try {
    if (area.value.trim()) JSON.parse(area.value);
    if (size > Number(area.dataset.maxBytes || Infinity)) problem = `This has ${size} bytes; at most ${area.dataset.maxBytes} are taken.`;
  } catch (error) {
    problem = `Not JSON yet: ${error.message}`;
  }
  area.setCustomValidity(problem);
  hint.textContent = problem || (area.value.trim() ? "Valid JSON" : "JSON");
}

function slotOf(control) {
  const name = control.name.replace(/^(input|example)\./, "");
  return document.querySelector(`.run-form [data-error-of="${CSS.escape(name)}"]`);
}

function wordsFor(control) {
  const { validity } = control;
  if (validity.valueMissing) return control.type === "radio" || control.matches("select") ? "Choose one." : "Fill this in.";
  if (validity.rangeUnderflow) return `At least ${control.min}.`;
  if (validity.rangeOverflow) return `At most ${control.max}.`;
  if (validity.stepMismatch) return control.step === "1" ? "A whole number." : `In steps of ${control.step}.`;
  if (validity.tooShort) return `At least ${control.minLength} characters; there are ${control.value.length}.`;
  if (validity.badInput) return "A number.";
  return control.validationMessage;
}

// Says beside the field what is wrong with it; returns whether it is right.
function check(control) {
  const slot = slotOf(control);
  const wrong = control.willValidate && !control.validity.valid;
  if (!slot) return !wrong;
  slot.hidden = !wrong;
  slot.textContent = wrong ? wordsFor(control) : "";
  const described = new Set((control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  if (wrong) {
    control.setAttribute("aria-invalid", "true");
    described.add(slot.id);
  } else {
    control.removeAttribute("aria-invalid");
  }
  if (described.size) control.setAttribute("aria-describedby", [...described].join(" "));
  return !wrong;
}

function controlsOf(form) {
  const seen = new Set();
  return [...form.elements].filter((one) => {
    if (!one.name?.startsWith("input.") || seen.has(one.name)) return false;
    return seen.add(one.name);
  });
}

for (const form of document.querySelectorAll("[data-run-form]")) {
  form.noValidate = true;
  form.addEventListener("focusout", (event) => {
    // A message that appears while a button is pressed would move the button away from the pointer.
    if (event.relatedTarget?.matches?.("button, [type=radio]")) return;
    if (event.target.name?.startsWith("input.") && event.target.type !== "file" && event.target.value) check(event.target);
  });
  const again = (event) => {
    const control = controlsOf(form).find((one) => one.name === event.target.name?.replace(/^example\./, "input."));
    if (control?.hasAttribute("aria-invalid")) check(control);
  };
  form.addEventListener("input", again);
  form.addEventListener("change", again);
}
// Before htmx sees it: what is known to be wrong is not sent.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-run-form]")) return;
  const wrong = controlsOf(event.target).filter((control) => !check(control));
  if (!wrong.length) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  wrong[0].focus();
  const words = wrong.length === 1 ? "One field needs another look." : `${wrong.length} fields need another look.`;
  document.dispatchEvent(new CustomEvent("vitrine:say", { detail: `${words} ${slotOf(wrong[0])?.textContent ?? ""}` }));
}, true);

for (const slider of document.querySelectorAll("[data-slider-of]")) bindSlider(slider);
for (const area of document.querySelectorAll("[data-json]")) {
  area.addEventListener("input", () => checkJson(area));
  checkJson(area);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-fill]");
  if (button) fill(button);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.target.closest("[data-run-form]")?.requestSubmit();
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) {
  for (const hint of document.querySelectorAll("[data-shortcut]")) hint.textContent = "⌘ + Enter";
}
