// Sends the form of a page that is only a step on the way.
document.querySelector("form[data-send]")?.requestSubmit();
