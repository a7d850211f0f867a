// A click or tap on a panel shows it large; Escape, another click or the button closes it.
const shown = document.querySelector("dialog");
const place = shown.querySelector("div");
document.querySelectorAll(".panel").forEach((panel) =>
  panel.addEventListener("click", () => {
    place.replaceChildren(panel.querySelector("svg").cloneNode(true));
    shown.showModal();
  })
);
shown.addEventListener("click", () => shown.close());
shown.addEventListener("close", () => place.replaceChildren());
// Everything is open on paper.
addEventListener("beforeprint", () =>
  document.querySelectorAll("details").forEach((part) => (part.open = true))
);
