// Tells an open page when its link is revoked, paused or has expired. Only while it is looked at: a browser
// keeps few connections to a server, and pages in the background must not use them up.

const place = document.querySelector("[data-watch]");
let stream = null;

function show(event) {
  stop();
  document.removeEventListener("visibilitychange", follow);
  const main = document.getElementById("main");
  const told = new DOMParser().parseFromString(event.data, "text/html");
  main.className = "narrow center";
  main.replaceChildren(...told.body.children);
  const title = main.querySelector("h1")?.textContent ?? "";
  document.title = title;
  document.dispatchEvent(new CustomEvent("vitrine:say", { detail: title }));
  main.focus();
}

function stop() {
  stream?.close();
  stream = null;
}

function follow() {
  if (document.hidden) stop();
  else if (!stream) {
    stream = new EventSource(place.dataset.watch);
    stream.addEventListener("ended", show);
  }
}

if (place) {
  document.addEventListener("visibilitychange", follow);
  follow();
}
