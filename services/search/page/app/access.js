// The API key: asked for when the service wants one, kept until the tab is closed, shown to nobody.

import { button, byId, el } from "./elements.js";
import { t } from "./texts.js";

const KEPT = "sightline-key";
let key = read();
let asking = null;
let declined = false;

/** The key given in this tab, or "". */
export const currentKey = () => key;

/**
 * Wait until a key is given that is not the `refused` one. Rejects with the refusal where the person
 * will give none. All requests that meet the same refusal share one question.
 */
export async function demandKey(refusal, refused, signal) {
  if (key !== refused) return;
  // Whoever closed the question is not asked again by every request that follows.
  if (declined) throw refusal;
  asking ??= question(refusal, Boolean(refused)).finally(() => (asking = null));
  await asking;
  signal?.throwIfAborted();
}

/** Let the person change or forget the key; the page is loaded again, since all it shows may differ. */
export async function changeKey() {
  try {
    await question(null, false);
    location.reload();
  } catch {
    // Nothing was changed.
  }
}

function question(refusal, wasRefused) {
  const dialog = byId("ask-key");
  const field = el("input", { id: "key-field", type: "password", autocomplete: "off", required: !key, spellcheck: "false", "aria-describedby": "key-why" });
  const why = wasRefused ? t("key.refused") : t("key.why");
  return new Promise((resolve, reject) => {
    const form = el(
      "form",
      { method: "dialog", on: { submit: () => keep(field.value.trim()) } },
      el("h2", { id: "key-title", text: t("key.title") }),
      el("p", { id: "key-why", text: [why, refusal?.detail, refusal?.remedy].filter(Boolean).join(" ") }),
      el("label", { for: "key-field", text: t("key.label") }),
      field,
      el("p", { class: "hint", text: t("key.kept") }),
      el(
        "div",
        { class: "row" },
        button({ class: "quiet", text: t("key.later"), press: () => dialog.close("later") }),
        el("button", { class: "go", value: "given", text: t("key.use") }),
      ),
    );
    dialog.replaceChildren(form);
    dialog.setAttribute("aria-labelledby", "key-title");
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        byId("key").hidden = false;
        if (dialog.returnValue === "given") resolve();
        else {
          declined = true;
          reject(refusal ?? new Error("no key was given"));
        }
        dialog.replaceChildren();
      },
      { once: true },
    );
    dialog.showModal();
    field.focus();
  });
}

function keep(value) {
  key = value;
  try {
    if (key) sessionStorage.setItem(KEPT, key);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // Without storage the key lasts until the page is loaded again.
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}
