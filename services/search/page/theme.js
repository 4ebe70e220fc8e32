// Before the first paint, so that nothing flashes; the rest is in app/theme.js.
(function () {
  try {
    var chosen = localStorage.getItem("sightline-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (refused) {
    // Storage may be switched off; the system's choice holds then.
  }
})();
