// The run form: sliders, examples to click, a hint while JSON is written, Ctrl + Enter.

function changed(control) {
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

function bindSlider(slider) {
  const field = document.getElementById(slider.dataset.sliderOf);
  const follow = () => { if (field.value !== "") slider.value = field.value; };
  slider.addEventListener("input", () => {
    field.value = slider.value;
    field.removeAttribute("aria-invalid");
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
  let problem = "";
  try {
    if (area.value.trim()) JSON.parse(area.value);
  } catch (error) {
    problem = `Not JSON yet: ${error.message}`;
  }
  area.setCustomValidity(problem);
  hint.textContent = problem || (area.value.trim() ? "Valid JSON" : "JSON");
}

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
