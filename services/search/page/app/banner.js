// The banner that says why nothing moves, and when it is tried again.

import { onConnection, tryNow } from "./connection.js";
import { button, byId, el } from "./elements.js";
import { t } from "./texts.js";

/** Show the banner whenever the service does not answer as it should. */
export function showConnection() {
  const banner = byId("banner");
  const clock = el("span", { class: "hint", "aria-hidden": "true" });
  let shown = "";
  let ticking = null;
  onConnection(({ kind, detail, remedy, until }) => {
    clearInterval(ticking);
    banner.hidden = kind === "ok";
    if (kind === "ok") {
      shown = "";
      return;
    }
    const sentences = `${kind} ${detail ?? ""} ${remedy ?? ""}`;
    if (sentences !== shown) {
      // Spoken once, not at each try.
      shown = sentences;
      banner.replaceChildren(
        el("span", { icon: "alert" }),
        el("p", {}, el("b", { text: t(`banner.${kind}`) }), " ", [detail, remedy].filter(Boolean).join(" ") || t("banner.away.hint")),
        clock,
        button({ class: "quiet", text: t("banner.now"), press: tryNow }),
      );
    }
    const tick = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      clock.textContent = seconds ? t("banner.in", { n: seconds }) : t("banner.trying");
    };
    tick();
    ticking = setInterval(tick, 500);
  });
}
