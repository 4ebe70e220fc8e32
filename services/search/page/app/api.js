// Requests to the service. Addresses are relative to the page, so a path prefix needs no setting.

import { demandKey, currentKey } from "./access.js";
import { answered, untilNextTry } from "./connection.js";

/** A request that was refused: the problem details (RFC 9457) of the service. */
export class Refusal extends Error {
  constructor(status, { title, detail, remedy, type } = {}, retryAfter = null) {
    super(detail ?? title ?? `HTTP ${status}`);
    Object.assign(this, { status, detail: this.message, remedy: remedy ?? "", kind: (type ?? "").split(":").pop(), retryAfter });
  }
}

/** The address of a path such as "v1/search" with its parameters; those without a value are left out. */
export function address(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  url.search = new URLSearchParams(Object.entries(parameters).filter(([, value]) => ![undefined, null, ""].includes(value)));
  return url;
}

/**
 * The JSON answer. While the service is away, starting or busy this waits and tries again, unless
 * `patient` is false; where a key is needed it is asked for. Throws `Refusal`, or the signal's reason.
 */
export const ask = async (path, options) => (await request(path, options)).json();

/** The same as a blob. */
export const askBlob = async (path, options) => (await request(path, options)).blob();

async function request(path, { method = "GET", parameters, json, form, signal, patient = true } = {}) {
  for (;;) {
    const key = currentKey();
    const headers = { Accept: "application/json, */*;q=0.5" };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (json) headers["Content-Type"] = "application/json";
    const body = json ? JSON.stringify(json) : form;
    let answer = null;
    try {
      answer = await fetch(address(path, parameters), { method, headers, body, signal });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (!patient) throw new Refusal(0, { detail: error.message });
    }
    if (answer?.ok) {
      answered();
      return answer;
    }
    const refusal = answer ? await refusalOf(answer) : null;
    if (refusal?.status === 401) await demandKey(refusal, key, signal);
    else if (patient && worthWaiting(refusal)) await untilNextTry(waitingFor(refusal), signal);
    else {
      if (![502, 503, 504].includes(refusal.status)) answered();
      throw refusal;
    }
  }
}

async function refusalOf(answer) {
  const seconds = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  const problem = await answer.json().catch(() => ({}));
  return new Refusal(answer.status, problem, Number.isFinite(seconds) ? Math.min(seconds, 60) : null);
}

// A gateway says 502 or 504 for a service that is away. 503 without Retry-After will not pass by waiting.
const worthWaiting = (refusal) =>
  !refusal || [502, 504].includes(refusal.status) || ([429, 503].includes(refusal.status) && refusal.retryAfter !== null);

function waitingFor(refusal) {
  if (!refusal || [502, 504].includes(refusal.status)) return { kind: "away" };
  const kind = refusal.status === 429 ? "busy" : refusal.kind === "starting" ? "starting" : "unavailable";
  return { kind, detail: refusal.detail, remedy: refusal.remedy, retryAfter: Math.max(1, refusal.retryAfter) };
}
