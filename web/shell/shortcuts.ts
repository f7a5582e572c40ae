import { useEffect, useRef } from "react";
import { usePreferences } from "../ui/preferences.ts";

/** A first key of two (`g o`) waits this long for the second. */
const sequenceMs = 1_000;

let prefix: { key: string; atMs: number } | undefined;

/** The shortcut that an event stands for, decided once, before any handler sees the event. */
const names = new WeakMap<KeyboardEvent, string>();

window.addEventListener(
  "keydown",
  (event) => {
    const name = shortcutOf(event);
    if (name !== undefined) names.set(event, name);
    // At once, not after the handlers: on a busy page the second key may already wait in line.
    prefix = name === "g" ? { key: "g", atMs: event.timeStamp } : undefined;
  },
  { capture: true },
);

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** The pressed key as shortcuts name it (`c`, `?`, `g o`); undefined when it is not meant as one. */
function shortcutOf(event: KeyboardEvent): string | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return undefined;
  return prefix !== undefined && event.timeStamp - prefix.atMs < sequenceMs
    ? `${prefix.key} ${event.key}`
    : event.key;
}

/**
 * Shortcuts as long as the component is mounted, by key (`c`) or two keys (`g o`). They rest while someone types, while
 * a dialog is open, and when the person has turned them off.
 */
export function useShortcuts(handlers: Readonly<Record<string, () => void>>): void {
  const current = useRef(handlers);
  current.current = handlers;
  useEffect(() => {
    function press(event: KeyboardEvent) {
      if (event.defaultPrevented || !usePreferences.getState().shortcuts) return;
      const name = names.get(event);
      if (name === undefined || !Object.hasOwn(current.current, name)) return;
      event.preventDefault();
      current.current[name]?.();
    }
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
