// Whether the service answers. Whoever waits for it waits here, so that there is one banner and one clock.

const SLOWEST = 5;
const QUIET = { kind: "ok" };
const listeners = new Set();
let state = QUIET;
let failures = 0;
let pause = null;

/** Be told of each change: `{kind: "ok"|"away"|"starting"|"busy", detail, remedy, until}`. */
export function onConnection(listener) {
  listeners.add(listener);
  listener(state);
}

/** Say that the service answered. */
export function answered() {
  failures = 0;
  if (state.kind !== "ok") tell(QUIET);
}

/** Wait for the moment to try again; many that wait wake together. Rejects when `signal` aborts. */
export function untilNextTry(problem, signal) {
  if (!pause) {
    failures += 1;
    const seconds = problem.retryAfter ?? Math.min(SLOWEST, 2 ** (failures - 1));
    pause = makePause(seconds * 1000);
    tell({ ...problem, until: Date.now() + seconds * 1000 });
  }
  const current = pause.promise;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    signal?.addEventListener("abort", leave, { once: true });
    current.then(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    });
  });
}

/** Try now rather than when the time is up. */
export const tryNow = () => pause?.end();

function makePause(milliseconds) {
  const made = {};
  made.promise = new Promise((resolve) => {
    made.end = () => {
      clearTimeout(timer);
      pause = null;
      resolve();
    };
    const timer = setTimeout(made.end, milliseconds);
  });
  return made;
}

function tell(next) {
  state = next;
  for (const listener of listeners) listener(state);
}

// A laptop that wakes up or finds its network again need not wait for the clock.
addEventListener("online", tryNow);
document.addEventListener("visibilitychange", () => document.hidden || tryNow());
