import { create } from "zustand";

export type Theme = "system" | "dark" | "light";
type Preferences = { theme: Theme; shortcuts: boolean };

const storageKey = "guildhall.preferences";
export const themes: readonly Theme[] = ["system", "dark", "light"];

function read(): Preferences {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(storageKey) ?? "{}");
    const known = typeof stored === "object" && stored !== null ? stored : {};
    const theme = themes.find((each) => "theme" in known && known.theme === each);
    return {
      theme: theme ?? "system",
      shortcuts: !("shortcuts" in known && known.shortcuts === false),
    };
  } catch {
    // Storage is closed or holds something else: the defaults do.
    return { theme: "system", shortcuts: true };
  }
}

/** What a person has chosen about the page itself; kept in this browser. */
export const usePreferences = create<Preferences>(read);

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function setPreferences(change: Partial<Preferences>): void {
  usePreferences.setState(change);
  const { theme, shortcuts } = usePreferences.getState();
  applyTheme(theme);
  try {
    localStorage.setItem(storageKey, JSON.stringify({ theme, shortcuts }));
  } catch {
    // The choice then lasts as long as this tab.
  }
}
