// From the world to the screen: screen = k · world + (x, y).

export interface Camera {
  readonly k: number;
  readonly x: number;
  readonly y: number;
}

export const HOME: Camera = { k: 1, x: 0, y: 0 };

/** The camera that shows the whole of a world. */
export function fitting(world: readonly [number, number], room: readonly [number, number]): Camera {
  const k = Math.min(room[0] / world[0], room[1] / world[1], 1);
  return { k, x: (room[0] - world[0] * k) / 2, y: (room[1] - world[1] * k) / 2 };
}

/** Closer or farther by a factor, with a point of the screen kept where it is. */
export function zoomed(camera: Camera, factor: number, at: readonly [number, number]): Camera {
  const k = Math.min(Math.max(camera.k * factor, 0.05), 24);
  const by = k / camera.k;
  return { k, x: at[0] - (at[0] - camera.x) * by, y: at[1] - (at[1] - camera.y) * by };
}

/** How something drawn under one camera is moved to look as under another, as a CSS transform. */
export function moved(drawn: Camera, now: Camera): string {
  const k = now.k / drawn.k;
  return `translate(${now.x - drawn.x * k}px, ${now.y - drawn.y * k}px) scale(${k})`;
}
