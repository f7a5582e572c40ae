import { Monitor, Moon, Sun, type LucideIcon } from "lucide-react";
import { t } from "../messages/translate.ts";
import { IconButton } from "../ui/button.tsx";
import { setPreferences, usePreferences, type Theme } from "../ui/preferences.ts";

const next: Readonly<Record<Theme, Theme>> = { system: "dark", dark: "light", light: "system" };
const icons: Readonly<Record<Theme, LucideIcon>> = { system: Monitor, dark: Moon, light: Sun };

export function ThemeButton() {
  const theme = usePreferences((state) => state.theme);
  const Icon = icons[theme];
  return (
    <IconButton
      label={t("theme.label", { theme: t(`theme.${theme}`) })}
      icon={<Icon size={16} aria-hidden />}
      onClick={() => setPreferences({ theme: next[theme] })}
    />
  );
}
