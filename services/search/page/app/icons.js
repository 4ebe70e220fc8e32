// Icons as strokes on a field of 24.

const STROKES = {
  search: ["M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13Z", "m15.5 15.5 5 5"],
  photo: ["M4 7.5h3l1.5-2h7l1.5 2h3v11H4Z", "M12 16a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4Z"],
  close: ["m6 6 12 12", "m18 6-12 12"],
  plus: ["M12 5v14", "M5 12h14"],
  minus: ["M5 12h14"],
  sun: ["M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z", "M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M18.4 5.6l-1.1 1.1M6.7 17.3l-1.1 1.1"],
  moon: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z"],
  auto: ["M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Z", "M12 4v16M12 8h5M12 12h8M12 16h6"],
  filter: ["M4 7h9M17 7h3M4 17h3M11 17h9", "M15 9a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM9 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z"],
  copies: ["M9 9h11v11H9Z", "M15 5H4v11"],
  external: ["M14 4h6v6M20 4l-9 9M18 14v5H5V6h5"],
  retry: ["M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9", "M20 4v5h-5"],
  key: ["M8.5 15.5a4 4 0 1 1 3-6.6L20 9v3h-2.5v3H14v-2.3h-2a4 4 0 0 1-3.5 2.8Z"],
  left: ["m14.5 5-7 7 7 7"],
  right: ["m9.5 5 7 7-7 7"],
  link: ["M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1"],
  alert: ["M12 4 3 19.5h18Z", "M12 10v4.5M12 16.8v.2"],
  picture: ["M4 5h16v14H4Z", "m4 16.5 4.5-4.5 4 4 3-3 4.5 4", "M15.5 9.5v.01"],
  done: ["m5 12.5 4.5 4.5L19 7"],
};

const SVG = "http://www.w3.org/2000/svg";

/** An icon as an SVG element that screen readers pass over. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", class: `i i-${name}` }))
    svg.setAttribute(key, value);
  for (const stroke of STROKES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", stroke);
    svg.append(path);
  }
  return svg;
}
