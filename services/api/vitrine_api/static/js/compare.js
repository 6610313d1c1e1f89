// Two pictures over each other: the slider uncovers one of them.

for (const wipe of document.querySelectorAll("[data-wipe]")) {
  const slider = wipe.querySelector("input");
  const over = wipe.querySelector(".over");
  const show = () => over.style.setProperty("clip-path", `inset(0 0 0 ${slider.value}%)`);
  slider.addEventListener("input", show);
  show();
}
