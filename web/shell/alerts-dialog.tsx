import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import type { Alert } from "@guildhall/sdk/contract/alert.ts";
import { call } from "../api/api.ts";
import { alertPagesQuery, alertsKey } from "../api/queries.ts";
import { formatMoment } from "../format/time.ts";
import { t } from "../messages/translate.ts";
import { alertText } from "../tasks/alert-text.ts";
import { Button } from "../ui/button.tsx";
import { Dialog, DialogActions } from "../ui/dialog.tsx";
import { Loading } from "../ui/loading.tsx";
import { ProblemNotice } from "../ui/problem.tsx";
import { useNow } from "../ui/use-now.ts";
import styles from "./alerts.module.css";

function AlertItem({ alert, nowMs }: { alert: Alert; nowMs: number }) {
  return (
    <li className={alert.unread ? `${styles["item"]} ${styles["unread"]}` : styles["item"]}>
      <span>
        {alertText(alert)}
        {alert.unread && <span className="visually-hidden"> ({t("alerts.unread")})</span>}
      </span>
      <time dateTime={alert.at} className="dim">
        {formatMoment(alert.at, nowMs)}
      </time>
    </li>
  );
}

/** All alerts of the workspace, newest first. */
export default function AlertsDialog({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const nowMs = useNow();
  const { data, error, hasNextPage, fetchNextPage } = useInfiniteQuery(alertPagesQuery);
  const markRead = useMutation({
    mutationFn: (through: number) => call((api) => api.alerts.markRead(through)),
    onSuccess: () => client.invalidateQueries({ queryKey: alertsKey }),
  });
  const alerts = data?.pages.flatMap((page) => page.data);
  const newest = alerts?.[0];
  const unread = data?.pages[0]?.unread ?? 0;
  return (
    <Dialog title={t("alerts.title")} onClose={onClose} wide>
      {error !== null && <ProblemNotice error={error} />}
      {alerts === undefined && error === null && <Loading />}
      {alerts?.length === 0 && <p>{t("alerts.none")}</p>}
      {alerts !== undefined && alerts.length > 0 && (
        <ol className={styles["list"]}>
          {alerts.map((alert) => (
            <AlertItem key={alert.seq} alert={alert} nowMs={nowMs} />
          ))}
        </ol>
      )}
      <DialogActions>
        {hasNextPage && <Button onClick={() => void fetchNextPage()}>{t("alerts.more")}</Button>}
        {newest !== undefined && unread > 0 && (
          <Button
            look="primary"
            data-first-focus
            disabled={markRead.isPending}
            onClick={() => markRead.mutate(newest.seq)}
          >
            {t("alerts.readAll")}
          </Button>
        )}
      </DialogActions>
    </Dialog>
  );
}
