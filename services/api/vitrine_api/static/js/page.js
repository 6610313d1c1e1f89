// Every page: copy buttons, enlarged images, questions before what cannot be undone, the offline notice.

const SHOWN_MS = 1600;

function textOf(element) {
  return "value" in element ? element.value : element.textContent.trim();
}

function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text.replace(/\s+/g, " ").trim();
}

// Other scripts ask for it by an event: an import would load this file a second time, under another address.
document.addEventListener("vitrine:say", (event) => announce(event.detail));

async function copy(button) {
  const source = document.querySelector(button.dataset.copy);
  if (!source) return;
  const words = button.dataset.words ?? (button.dataset.words = button.textContent);
  try {
    await navigator.clipboard.writeText(textOf(source));
    button.textContent = "Copied";
    announce("Copied");
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl + C";
  }
  setTimeout(() => { button.textContent = words; }, SHOWN_MS);
}

function enlarge(link) {
  const dialog = document.getElementById("zoom");
  const picture = document.createElement("img");
  picture.src = link.href;
  picture.alt = link.querySelector("img")?.alt ?? "";
  dialog.querySelector("img")?.remove();
  dialog.append(picture);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const link = event.target.closest("a[data-zoom]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    enlarge(link);
  }
  if (event.target.id === "zoom") event.target.close();
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

function showConnection() {
  document.getElementById("offline").hidden = navigator.onLine;
}
addEventListener("online", showConnection);
addEventListener("offline", showConnection);
showConnection();

// On a narrow screen the places scroll: the present one is there to be seen.
for (const here of document.querySelectorAll(".places [aria-current], .tabs [aria-current]")) {
  const row = here.parentElement;
  row.scrollLeft = here.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
}
