import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { spritePixels, spriteSize } from "./sprite.ts";

describe("spritePixels", () => {
  it("draws the same person for the same id, inside the grid, in real colours", () => {
    fc.assert(
      fc.property(fc.string(), (id) => {
        const pixels = spritePixels(id);
        expect(spritePixels(id)).toEqual(pixels);
        for (const { x, y, width, height, colour } of pixels) {
          expect(x >= 0 && y >= 0).toBe(true);
          expect(x + width <= spriteSize.width && y + height <= spriteSize.height).toBe(true);
          expect(colour).toMatch(/^#[0-9a-f]{6}$/);
        }
      }),
    );
  });

  it("tells the five agents of the house apart", () => {
    const looks = ["marcus", "sable", "devonte", "yuki", "gray"].map((id) =>
      JSON.stringify(spritePixels(id)),
    );
    expect(new Set(looks).size).toBe(5);
  });
});
