import { memo } from "react";
import { spritePixels, spriteSize } from "./sprite.ts";

/** An agent's picture beside its name; decoration, since the name says who it is. */
export const Avatar = memo(function Avatar({ id, size = 32 }: { id: string; size?: number }) {
  return (
    <svg
      aria-hidden
      width={size}
      height={size}
      viewBox={`0 0 ${spriteSize.width} ${spriteSize.height}`}
      shapeRendering="crispEdges"
      className="avatar"
    >
      {spritePixels(id).map((pixel) => (
        <rect
          key={`${pixel.x} ${pixel.y} ${pixel.width} ${pixel.colour}`}
          x={pixel.x}
          y={pixel.y}
          width={pixel.width}
          height={pixel.height}
          fill={pixel.colour}
        />
      ))}
    </svg>
  );
});
