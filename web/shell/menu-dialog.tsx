import { Bell, LogOut } from "lucide-react";
import { useSuspenseQuery } from "@tanstack/react-query";
import { meQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { Button } from "../ui/button.tsx";
import { Dialog } from "../ui/dialog.tsx";
import { setPreferences, themes, usePreferences } from "../ui/preferences.ts";
import styles from "./menu-dialog.module.css";
import { openDialog } from "./dialogs.ts";
import { signOut } from "./sign-out.ts";

/** On narrow screens: what the top bar has no room for. */
export default function MenuDialog({ onClose }: { onClose: () => void }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const chosen = usePreferences((state) => state.theme);
  return (
    <Dialog title={me.workspace.name} onClose={onClose}>
      <fieldset className={styles["themes"]}>
        <legend>{t("theme.title")}</legend>
        {themes.map((theme) => (
          <label key={theme}>
            <input
              type="radio"
              name="theme"
              checked={theme === chosen}
              onChange={() => setPreferences({ theme })}
            />
            {t(`theme.${theme}`)}
          </label>
        ))}
      </fieldset>
      <Button icon={<Bell size={16} aria-hidden />} onClick={() => openDialog({ kind: "alerts" })}>
        {t("alerts.title")}
      </Button>
      <Button icon={<LogOut size={16} aria-hidden />} onClick={() => void signOut()}>
        {t("signOut", { name: me.actor.name })}
      </Button>
    </Dialog>
  );
}
