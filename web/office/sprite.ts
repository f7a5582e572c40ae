/** One filled cell of a sprite, in pixels of its grid. */
export type Pixel = { x: number; y: number; width: number; height: number; colour: string };

export const spriteSize = { width: 16, height: 16 } as const;

const skins = ["#f6d5b5", "#e0ac7d", "#c68642", "#8d5524", "#5b3a1e"];
const hairs = ["#2b2118", "#5a3825", "#a5682a", "#d9b44a", "#8c8c94", "#b3402a", "#3d4a8a"];
const outfits = [
  "#c44f6e",
  "#3f8f8c",
  "#5b6bb0",
  "#8a55a8",
  "#4d8f4d",
  "#b06f2f",
  "#3f7cc0",
  "#7a6a5a",
  "#a84040",
  "#566074",
];

/** FNV-1a: the same id gives the same look in every browser, today and next year. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const character of text) {
    value = Math.imul(value ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  return value >>> 0;
}

/** xorshift32 over the hash: a stream of choices. */
function chooser(seed: number): (count: number) => number {
  let state = seed || 1;
  return (count) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % count;
  };
}

type Fill = (x: number, y: number, width: number, height: number, colour: string) => void;

function drawHair(fill: Fill, style: number, colour: string): void {
  fill(4, 2, 8, 2, colour);
  if (style !== 0) fill(5, 1, 6, 1, colour);
  if (style === 1 || style === 4) fill(4, 4, 1, 3, colour);
  if (style === 2 || style === 4) fill(11, 4, 1, 3, colour);
  if (style === 3) fill(3, 3, 1, 6, colour);
  if (style === 3 || style === 5) fill(12, 3, 1, 6, colour);
  if (style === 5) fill(6, 0, 4, 1, colour);
}

/** A person's head and shoulders, drawn from the agent's id alone: no picture files, and never two looks for one id. */
export function spritePixels(id: string): Pixel[] {
  const choose = chooser(hash(id));
  const skin = skins[choose(skins.length)] ?? "";
  const hair = hairs[choose(hairs.length)] ?? "";
  const outfit = outfits[choose(outfits.length)] ?? "";
  const style = choose(6);
  const extra = choose(4);
  const pixels: Pixel[] = [];
  const fill: Fill = (x, y, width, height, colour) => {
    pixels.push({ x, y, width, height, colour });
  };
  fill(2, 12, 12, 4, outfit);
  fill(3, 11, 10, 1, outfit);
  fill(6, 10, 4, 2, skin);
  fill(4, 3, 8, 7, skin);
  fill(5, 10, 6, 1, skin);
  drawHair(fill, style, hair);
  fill(6, 6, 1, 2, "#1a1c2c");
  fill(9, 6, 1, 2, "#1a1c2c");
  if (extra === 1) {
    fill(5, 5, 3, 1, "#1a1c2c");
    fill(8, 5, 3, 1, "#1a1c2c");
    fill(5, 8, 6, 1, skin);
  }
  if (extra === 2) fill(7, 12, 2, 4, "#f2efe6");
  fill(7, 9, 2, 1, "#9c5a4a");
  return pixels;
}
