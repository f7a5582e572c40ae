import { Suspense } from "react";
import { Outlet, useNavigate, useParams } from "@tanstack/react-router";
import { t } from "../messages/translate.ts";
import { LiveRegion } from "../ui/live-region.tsx";
import { Loading } from "../ui/loading.tsx";
import { AlertToasts } from "./alert-toasts.tsx";
import { DialogHost } from "./dialog-host.tsx";
import { openDialog, openNewTask } from "./dialogs.ts";
import { WorkspaceLimitBanner } from "./limit-banner.tsx";
import { Rail } from "./rail.tsx";
import styles from "./shell.module.css";
import { useShortcuts } from "./shortcuts.ts";
import { SuspendedBanner } from "./suspended-banner.tsx";
import { TaskNews } from "./task-news.tsx";
import { TopBar } from "./top-bar.tsx";

/** What surrounds every page of a workspace. */
export function Shell() {
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  const navigate = useNavigate();
  const params = { workspaceId };
  useShortcuts({
    c: () => openNewTask(),
    "?": () => openDialog({ kind: "shortcuts" }),
    "g o": () => void navigate({ to: "/w/$workspaceId/office", params }),
    "g t": () => void navigate({ to: "/w/$workspaceId/tasks", params }),
    "g a": () => void navigate({ to: "/w/$workspaceId/agents", params }),
    "g u": () => void navigate({ to: "/w/$workspaceId/usage", params }),
    "g l": () => void navigate({ to: "/w/$workspaceId/limits", params }),
  });
  return (
    <>
      <a href="#content" className={styles["skip"]}>
        {t("skip")}
      </a>
      <div className={styles["shell"]}>
        <Rail />
        <div className={styles["page"]}>
          <TopBar />
          <main id="content" tabIndex={-1} className={styles["content"]}>
            <SuspendedBanner />
            <WorkspaceLimitBanner />
            <Suspense fallback={<Loading />}>
              <Outlet />
            </Suspense>
          </main>
        </div>
      </div>
      <DialogHost />
      <TaskNews />
      <AlertToasts />
      <LiveRegion />
    </>
  );
}
