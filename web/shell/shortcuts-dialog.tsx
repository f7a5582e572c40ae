import { t, type MessageKey } from "../messages/translate.ts";
import { Dialog } from "../ui/dialog.tsx";
import { setPreferences, usePreferences } from "../ui/preferences.ts";
import styles from "./shortcuts-dialog.module.css";

const rows: readonly (readonly [keys: string, meaning: SimpleKey])[] = [
  ["c", "keys.create"],
  ["g o", "keys.office"],
  ["g t", "keys.tasks"],
  ["g a", "keys.agents"],
  ["g u", "keys.usage"],
  ["g l", "keys.limits"],
  ["j / k", "keys.move"],
  ["Enter", "keys.open"],
  [".", "keys.cancel"],
  ["?", "keys.help"],
  ["Esc", "keys.back"],
];

type SimpleKey = Extract<MessageKey, `keys.${string}`>;

export default function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  const enabled = usePreferences((state) => state.shortcuts);
  return (
    <Dialog title={t("keys.title")} onClose={onClose}>
      <dl className={styles["keys"]}>
        {rows.map(([keys, meaning]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{t(meaning)}</dd>
          </div>
        ))}
      </dl>
      <label className={styles["toggle"]}>
        <input
          type="checkbox"
          checked={enabled}
          onChange={(event) => setPreferences({ shortcuts: event.target.checked })}
        />
        {t("keys.enabled")}
      </label>
    </Dialog>
  );
}
