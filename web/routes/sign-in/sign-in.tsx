import { useSearch } from "@tanstack/react-router";
import { CircleAlert } from "lucide-react";
import { t } from "../../messages/translate.ts";
import { buttonClass } from "../../ui/button.tsx";
import { CommandLine } from "../../ui/copy-button.tsx";
import styles from "./sign-in.module.css";

/** How to get in: by the link that the start command prints. */
export function SignIn() {
  const { next, problem } = useSearch({ from: "/sign-in" });
  return (
    <main className={styles["page"]}>
      <div className={styles["card"]}>
        <p className={styles["sign"]}>Guildhall</p>
        <h1>{t("signIn.title")}</h1>
        {problem !== undefined && (
          <p role="alert" className={styles["problem"]}>
            <CircleAlert size={16} aria-hidden />
            {problem === "sign_in_link_invalid"
              ? t("signIn.linkUsed")
              : t("signIn.linkFailed", { problem })}
          </p>
        )}
        <p>{t("signIn.how")}</p>
        <CommandLine text="npm start" label={t("copy.commandLine")} />
        <p className="dim">{t("signIn.already")}</p>
        <a href={next ?? "/"} className={buttonClass("plain")}>
          {t("tryAgain")}
        </a>
      </div>
    </main>
  );
}
