import { useSuspenseQuery } from "@tanstack/react-query";
import { Ellipsis, Keyboard, LogOut, Plus } from "lucide-react";
import { meQuery } from "../api/queries.ts";
import { t } from "../messages/translate.ts";
import { Button, IconButton } from "../ui/button.tsx";
import { AlertBell } from "./alert-bell.tsx";
import { BudgetPill } from "./budget-pill.tsx";
import { ConnectionBadge } from "./connection-badge.tsx";
import { openDialog, openNewTask } from "./dialogs.ts";
import { signOut } from "./sign-out.ts";
import { ThemeButton } from "./theme-button.tsx";
import styles from "./top-bar.module.css";

export function TopBar() {
  const { data: me } = useSuspenseQuery(meQuery);
  return (
    <header className={styles["bar"]}>
      <p className={styles["workspace"]}>
        <img src="/coin.svg" alt="" width={24} height={24} className={styles["coin"]} />
        <span className={styles["sign"]}>Guildhall</span>
        <span className={styles["name"]}>{me.workspace.name}</span>
      </p>
      {me.model.simulated && (
        <span className={styles["sim"]} title={t("sim.title")}>
          {t("sim.badge")}
        </span>
      )}
      <span className={styles["space"]} />
      <BudgetPill />
      <ConnectionBadge />
      <AlertBell />
      <span className={styles["tools"]}>
        <ThemeButton />
        <span className={styles["wide"]}>
          <IconButton
            label={t("keys.title")}
            icon={<Keyboard size={16} aria-hidden />}
            onClick={() => openDialog({ kind: "shortcuts" })}
          />
        </span>
        <IconButton
          label={t("signOut", { name: me.actor.name })}
          icon={<LogOut size={16} aria-hidden />}
          onClick={() => void signOut()}
        />
      </span>
      <span className={styles["menu"]}>
        <IconButton
          label={t("menu")}
          icon={<Ellipsis size={16} aria-hidden />}
          onClick={() => openDialog({ kind: "menu" })}
        />
      </span>
      <Button
        look="primary"
        className={styles["new"] ?? ""}
        icon={<Plus size={16} aria-hidden />}
        aria-label={t("newTask.open")}
        aria-keyshortcuts="c"
        onClick={() => openNewTask()}
      >
        <span className={styles["word"]}>{t("newTask.open")}</span>
      </Button>
    </header>
  );
}
