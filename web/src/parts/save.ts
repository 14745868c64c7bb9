/** Things handed to the browser to keep as files. */

export function saveText(text: string, name: string): void {
  saveBlob(new Blob([text], { type: "text/plain" }), name);
}

export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1_000);
}

const EDGE = 12;
const LINE = 20;

/** A drawn chart as a PNG: its title and the names of its curves above it, on the ground that it stands on. */
export function savePicture(drawn: HTMLCanvasElement, title: string, names: readonly { label: string; color: string }[], colors: { ground: string; ink: string }): void {
  const scale = devicePixelRatio;
  const top = EDGE + LINE * (names.length > 1 ? 2 : 1);
  const picture = document.createElement("canvas");
  picture.width = drawn.width + 2 * EDGE * scale;
  picture.height = drawn.height + (top + EDGE) * scale;
  const ink = picture.getContext("2d");
  if (ink === null) return;
  ink.fillStyle = colors.ground;
  ink.fillRect(0, 0, picture.width, picture.height);
  ink.drawImage(drawn, EDGE * scale, top * scale);
  ink.scale(scale, scale);
  ink.textBaseline = "middle";
  ink.fillStyle = colors.ink;
  ink.font = "600 14px system-ui, sans-serif";
  ink.fillText(title, EDGE, EDGE + LINE / 2);
  ink.font = "12px system-ui, sans-serif";
  let x = EDGE;
  for (const { label, color } of names.length > 1 ? names : []) {
    ink.fillStyle = color;
    ink.fillRect(x, EDGE + 1.5 * LINE - 2, 10, 4);
    ink.fillText(label, x + 15, EDGE + 1.5 * LINE);
    x += 30 + ink.measureText(label).width;
  }
  picture.toBlob((blob) => blob !== null && saveBlob(blob, `${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.png`));
}
