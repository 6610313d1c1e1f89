// Runs before the page is drawn: parts that need scripts are shown from the start.
document.documentElement.classList.add("js");
