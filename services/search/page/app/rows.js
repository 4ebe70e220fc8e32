// Rows of pictures, each row as wide as the page and every picture whole: where each tile goes.

const NARROWEST = 0.56;
const WIDEST = 2.4;

/** Width over height of an image, from its payload; a square where it is not known. */
export function ratioOf(payload) {
  const ratio = payload?.width && payload?.height ? payload.width / payload.height : 1;
  return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

/**
 * Tiles and rows for the `ratios`. `target` is the height of a picture that is aimed at, `caption` what each
 * tile has beneath; all in pixels. Tiles are `{x, y, width, height, row}`, rows `{y, first, end}`.
 */
export function layRows(ratios, { width, target, gap, caption }) {
  const tiles = [];
  const rows = [];
  let y = 0;
  let first = 0;
  let sum = 0;
  const close = (end, height) => {
    let x = 0;
    for (let at = first; at < end; at += 1) {
      const last = at === end - 1;
      const wide = ratios[at] * height;
      tiles.push({ x, y, width: last && height !== target ? width - x : wide, height, row: rows.length });
      x += wide + gap;
    }
    rows.push({ y, first, end });
    y += height + caption + gap;
    first = end;
    sum = 0;
  };
  const heightOf = (ratiosSum, count) => (width - gap * (count - 1)) / ratiosSum;
  for (let at = 0; at < ratios.length; at += 1) {
    const before = sum ? heightOf(sum, at - first) : Infinity;
    sum += ratios[at];
    const after = heightOf(sum, at - first + 1);
    if (after > target) continue;
    // With this picture the row is too low, without it too high: whichever is nearer.
    if (before - target < target - after && before < target * 1.5) {
      const kept = ratios[at];
      close(at, before);
      sum = kept;
      if (heightOf(sum, 1) <= target) close(at + 1, heightOf(sum, 1));
    } else close(at + 1, after);
  }
  if (first < ratios.length) close(ratios.length, Math.min(target, heightOf(sum, ratios.length - first)));
  return { tiles, rows, height: Math.max(0, y - gap) };
}
