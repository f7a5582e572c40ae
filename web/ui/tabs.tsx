import { useId, useState, type KeyboardEvent, type ReactNode } from "react";
import styles from "./tabs.module.css";

export type Tab = { id: string; label: string; content: ReactNode };

/** Tabs after the ARIA pattern: arrows move, only the chosen tab is in the tab order. */
export function Tabs({ label, tabs }: { label: string; tabs: readonly Tab[] }) {
  const [chosen, setChosen] = useState(tabs[0]?.id);
  const group = useId();
  function move(event: KeyboardEvent<HTMLElement>) {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    const index = tabs.findIndex((tab) => tab.id === chosen);
    const next = tabs[(index + by + tabs.length) % tabs.length];
    if (next === undefined) return;
    setChosen(next.id);
    document.getElementById(`${group}-${next.id}`)?.focus();
  }
  const open = tabs.find((tab) => tab.id === chosen);
  return (
    <div className={styles["tabs"]}>
      <div role="tablist" aria-label={label} className={styles["list"]}>
        {tabs.map((tab) => (
          <button
            key={tab.id}
            id={`${group}-${tab.id}`}
            type="button"
            role="tab"
            aria-selected={tab.id === chosen}
            aria-controls={`${group}-panel`}
            tabIndex={tab.id === chosen ? 0 : -1}
            className={styles["tab"]}
            onClick={() => setChosen(tab.id)}
            onKeyDown={move}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div
        id={`${group}-panel`}
        role="tabpanel"
        aria-labelledby={`${group}-${chosen ?? ""}`}
        className={styles["panel"]}
      >
        {open?.content}
      </div>
    </div>
  );
}
