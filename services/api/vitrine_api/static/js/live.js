// What arrives while the page is open: says it aloud, keeps the list of runs right, marks refused fields.

function announce(text) {
  document.dispatchEvent(new CustomEvent("vitrine:say", { detail: text }));
}

function markHistory(state) {
  const chip = document.querySelector(`[data-history-run="${CSS.escape(state.runId)}"] .chip`);
  if (!chip) return;
  chip.className = `chip ${state.runTone}`;
  chip.lastChild.textContent = state.runWords;
}

function clearFields() {
  for (const slot of document.querySelectorAll("[data-error-of]")) {
    slot.hidden = true;
    slot.textContent = "";
  }
  for (const control of document.querySelectorAll(".run-form [aria-invalid]")) control.removeAttribute("aria-invalid");
}

function markField(problem) {
  const name = problem.dataset.problem.replace(/^inputs?\./, "");
  const slot = document.querySelector(`[data-error-of="${CSS.escape(name)}"]`);
  if (!slot) return null;
  slot.textContent = problem.textContent;
  slot.hidden = false;
  const control = document.getElementById(`input-${name}`);
  if (!control) return null;
  control.setAttribute("aria-invalid", "true");
  const described = new Set((control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
  control.setAttribute("aria-describedby", [...described.add(slot.id)].join(" "));
  return control;
}

function bringIntoView() {
  const place = document.getElementById("case");
  if (place && place.getBoundingClientRect().top > innerHeight * 0.6) place.scrollIntoView({ block: "start" });
}

function settle(target) {
  const state = target.querySelector?.("[data-run-state]");
  if (state) markHistory(state.dataset);
  const words = target.querySelector?.("[data-announce]");
  if (words && words.textContent !== settle.last) announce((settle.last = words.textContent));
}

// Exactly two runs can be compared.
document.addEventListener("change", (event) => {
  const form = event.target.closest?.("[data-compare]");
  if (!form) return;
  const ticked = form.querySelectorAll(":checked").length;
  form.querySelector("button").disabled = ticked !== 2;
  form.querySelector("[data-compare-words]").textContent = ticked === 2 ? "Two runs are ticked." : `${ticked} of two ticked.`;
});

// The stream of a run that breaks off: htmx connects again by itself, and the reader is told meanwhile.
function showLost(event, lost) {
  const note = event.target.querySelector?.(":scope > [data-lost]");
  if (!note || note.hidden === !lost) return;
  note.hidden = !lost;
  announce(lost ? note.textContent : "Connected again.");
}
document.addEventListener("htmx:sseError", (event) => showLost(event, true));
document.addEventListener("htmx:sseOpen", (event) => showLost(event, false));

// Text that grows is followed, unless somebody has scrolled up to read.
let following = true;
document.addEventListener("htmx:sseBeforeMessage", () => {
  const text = document.querySelector("#result [data-follow]");
  following = !text || text.scrollHeight - text.scrollTop - text.clientHeight < 40;
});

document.addEventListener("htmx:afterSwap", (event) => {
  const target = event.detail.target ?? event.target;
  settle(target);
  if (target.id !== "result") return;
  clearFields();
  const marked = [...target.querySelectorAll("[data-problem]")].map(markField).filter(Boolean);
  if (marked.length) marked[0].focus();
  else bringIntoView();
});
document.addEventListener("htmx:sseMessage", (event) => {
  settle(event.target);
  const text = document.querySelector("#result [data-follow]");
  if (text && following) text.scrollTop = text.scrollHeight;
});
document.addEventListener("htmx:sendError", () => {
  const result = document.getElementById("result");
  if (!result) return;
  const box = document.createElement("div");
  box.className = "box warn";
  box.textContent = "This did not reach the server. Your input is still here: try again once you are connected.";
  result.replaceChildren(box);
  announce(box.textContent);
});
