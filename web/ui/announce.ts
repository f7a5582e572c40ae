import { create } from "zustand";

/** What the live region says next. A number makes two equal texts two announcements. */
export const useAnnouncement = create<{ text: string; count: number }>(() => ({
  text: "",
  count: 0,
}));

/** One message per this long, however much happens: more would be noise to who listens. */
const quietMs = 3_000;

let waiting: string[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
let lastMs = Number.NEGATIVE_INFINITY;

function speak(): void {
  timer = undefined;
  const text = [...new Set(waiting)].join(". ");
  waiting = [];
  lastMs = performance.now();
  useAnnouncement.setState(({ count }) => ({ text, count: count + 1 }));
}

/** Says something politely to screen readers. What comes close together is said as one. */
export function announce(text: string): void {
  waiting.push(text);
  timer ??= setTimeout(speak, Math.max(0, lastMs + quietMs - performance.now()));
}
