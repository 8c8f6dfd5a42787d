// Curves as SVG: plain text, light, and readable without colours.

const [WIDTH, HEIGHT] = [720, 340];
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 150, 44, 52];
const LOOKS = [
  { colour: "#1f6feb", shape: (x, y) => `<circle cx="${x}" cy="${y}" r="4"/>` },
  { colour: "#bf5b17", shape: (x, y) => `<rect x="${x - 4}" y="${y - 4}" width="8" height="8"/>` },
];

const round = (value) => Math.round(value * 10) / 10;
const escape = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** Round steps up to at least `max`: 1, 2 or 5 times a power of ten, about five of them. */
export function ticks(max) {
  const rough = max / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  return Array.from({ length: Math.ceil(max / step - 1e-9) + 1 }, (_, n) => Number((n * step).toPrecision(12)));
}

/** Powers of ten from the first at or below `min` to the last at or below `max`. */
const decades = (min, max) => {
  const [first, last] = [Math.floor(Math.log10(min)), Math.floor(Math.log10(max) + 1e-9)];
  return Array.from({ length: last - first + 1 }, (_, n) => 10 ** (first + n));
};

/** Places of names below each other, moved as far as they would lie on each other. */
function apart(places) {
  const [first, second] = places;
  if (second === undefined || Math.abs(first - second) >= 16) return places;
  const middle = (first + second) / 2;
  return first < second ? [middle - 8, middle + 8] : [middle + 8, middle - 8];
}

/** Lines over a common scale; the vertical one begins at 0. `mark`: a place on the horizontal one, with what it means. */
export function curves(title, below, lines, { log = false, mark } = {}) {
  const points = lines.flatMap((line) => line.points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const rows = ticks(Math.max(...ys));
  const scale = log ? Math.log10 : (x) => x;
  const [from, to] = [scale(Math.min(...xs)), scale(Math.max(...xs))];
  const x = (value) => round(LEFT + ((scale(value) - from) / (to - from)) * (WIDTH - LEFT - RIGHT));
  const y = (value) => round(HEIGHT - BOTTOM - (value / rows.at(-1)) * (HEIGHT - TOP - BOTTOM));
  const columns = (log ? decades(Math.min(...xs), Math.max(...xs)) : ticks(Math.max(...xs))).filter((value) => scale(value) >= from && scale(value) <= to);
  const text = (x, y, anchor, what, more = "") => `<text x="${x}" y="${y}" text-anchor="${anchor}"${more}>${escape(what)}</text>`;
  const grid = [
    ...rows.map((value) => `<path d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}"/>`),
    ...columns.map((value) => `<path d="M${x(value)} ${TOP}V${HEIGHT - BOTTOM}"/>`),
  ];
  const labels = [
    ...rows.map((value) => text(LEFT - 8, y(value) + 4, "end", String(value))),
    ...columns.map((value) => text(x(value), HEIGHT - BOTTOM + 18, "middle", value.toLocaleString("en"))),
    text(LEFT, 24, "start", title, ' font-weight="600" font-size="14"'),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "middle", below),
  ];
  const places = apart(lines.map(({ points }) => y(points.at(-1)[1]) + 4));
  const drawn = lines.map(({ name, points }, n) => {
    const { colour, shape } = LOOKS[n];
    const path = points.map(([a, b], n) => `${n ? "L" : "M"}${x(a)} ${y(b)}`).join("");
    return `<g fill="${colour}"><path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>` +
      points.map(([a, b]) => shape(x(a), y(b))).join("") + `${text(WIDTH - RIGHT + 12, places[n], "start", name, ' font-weight="600"')}</g>`;
  });
  const marked = mark && scale(mark[0]) < to
    ? `<path d="M${x(mark[0])} ${TOP}V${HEIGHT - BOTTOM}" stroke="#57606a" stroke-dasharray="4 4"/>${text(x(mark[0]) + 6, TOP + 14, "start", mark[1], ' fill="#57606a" font-size="11"')}`
    : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12" fill="#24292f" role="img" aria-label="${escape(title)}">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<g stroke="#d8dee4">${grid.join("")}</g>
${labels.join("\n")}
${marked}
${drawn.join("\n")}
</svg>
`;
}
