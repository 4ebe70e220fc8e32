// Light, dark, or as the system has it.

import { byId } from "./elements.js";
import { icon } from "./icons.js";
import { t } from "./texts.js";

const KEPT = "sightline-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

/** Let the button in the header change the theme. */
export function themeSwitch() {
  const control = byId("theme");
  const show = () => {
    const theme = document.documentElement.dataset.theme ?? "auto";
    control.replaceChildren(icon(ICONS[theme]));
    const label = t("theme.label", { now: t(`theme.${theme}`), next: t(`theme.${NEXT[theme]}`) });
    control.setAttribute("aria-label", label);
    control.title = label;
  };
  control.addEventListener("click", () => {
    const next = NEXT[document.documentElement.dataset.theme ?? "auto"];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEPT, next);
    } catch {
      // It lasts until the page is loaded again.
    }
    show();
  });
  show();
}
