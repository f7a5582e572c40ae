import { useEffect, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { useShortcuts } from "../../../shell/shortcuts.ts";

/**
 * One row of a virtual list is in the tab order; arrows, Home, End, j and k move it. A row that is not drawn yet is
 * scrolled to and gets the focus once it is there.
 */
export function useRowFocus({
  body,
  count,
  scrollTo,
}: {
  body: RefObject<HTMLElement | null>;
  count: number;
  scrollTo: (index: number) => void;
}) {
  const [active, setActive] = useState(0);
  const wanted = useRef<number>(undefined);

  /** Once only: a row that is drawn again later must not take the focus from where it has gone since. */
  function focusWanted() {
    if (wanted.current === undefined) return;
    const link = body.current?.querySelector<HTMLElement>(`[data-index="${wanted.current}"] a`);
    if (!link) return;
    wanted.current = undefined;
    link.focus();
  }
  useEffect(focusWanted);

  function moveTo(index: number) {
    const next = Math.max(0, Math.min(count - 1, index));
    wanted.current = next;
    setActive(next);
    scrollTo(next);
    // Where the row was active already nothing is drawn again, and the effect above would not run.
    focusWanted();
  }
  const hasFocus = () => body.current?.contains(document.activeElement) === true;
  useShortcuts({
    j: () => moveTo(hasFocus() ? active + 1 : active),
    k: () => moveTo(hasFocus() ? active - 1 : active),
  });
  function press(event: KeyboardEvent) {
    const moves = new Map([
      ["ArrowDown", active + 1],
      ["ArrowUp", active - 1],
      ["Home", 0],
      ["End", count - 1],
    ]);
    const next = moves.get(event.key);
    if (next === undefined) return;
    event.preventDefault();
    moveTo(next);
  }
  return { active, setActive, press };
}
