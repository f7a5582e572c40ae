import { Link } from "@tanstack/react-router";
import { t } from "../messages/translate.ts";
import { buttonClass } from "../ui/button.tsx";
import { EmptyState } from "../ui/empty-state.tsx";

export function NotFound() {
  return (
    <main>
      <EmptyState
        text={t("notFound.text")}
        action={
          <Link to="/" className={buttonClass("primary")}>
            {t("notFound.home")}
          </Link>
        }
      />
    </main>
  );
}
