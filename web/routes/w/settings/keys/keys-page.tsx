import { useState } from "react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound } from "lucide-react";
import type { Usage } from "@guildhall/sdk/contract/workspace.ts";
import { call } from "../../../../api/api.ts";
import { apiKeysQuery, meQuery, usageQuery } from "../../../../api/queries.ts";
import { formatCost, formatLimit } from "../../../../format/money.ts";
import { formatDateTime } from "../../../../format/time.ts";
import { t } from "../../../../messages/translate.ts";
import { Button } from "../../../../ui/button.tsx";
import { Dialog, DialogActions } from "../../../../ui/dialog.tsx";
import { EmptyState } from "../../../../ui/empty-state.tsx";
import { Loading } from "../../../../ui/loading.tsx";
import { PageHead } from "../../../../ui/page-head.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import { ClientSetup } from "./client-setup.tsx";
import { CreateKeyDialog } from "./create-key-dialog.tsx";
import type { ApiKey } from "./api-key.ts";
import styles from "./keys-page.module.css";

function keyState(key: ApiKey): string {
  if (key.revoked_at !== null)
    return t("apiKeys.revokedAt", { at: formatDateTime(key.revoked_at) });
  if (key.expires_at === null) return t("apiKeys.noEnd");
  return t("apiKeys.ends", { at: formatDateTime(key.expires_at) });
}

function RevokeDialog({ apiKey, onClose }: { apiKey: ApiKey; onClose: () => void }) {
  const queries = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => call((client) => client.apiKeys.revoke(apiKey.id)),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: apiKeysQuery.queryKey });
      onClose();
    },
  });
  return (
    <Dialog title={t("apiKeys.revokeTitle", { name: apiKey.name })} onClose={onClose}>
      <p>{t("apiKeys.revokeText")}</p>
      {revoke.isError && <ProblemNotice error={revoke.error} />}
      <DialogActions>
        <Button onClick={onClose}>{t("apiKeys.keep")}</Button>
        <Button look="danger" disabled={revoke.isPending} onClick={() => revoke.mutate()}>
          {t("apiKeys.revoke")}
        </Button>
      </DialogActions>
    </Dialog>
  );
}

type KeyUse = Usage["by_key"][number];

function spentText({ spent_nano_usd: spent, limit_nano_usd: limit }: KeyUse): string {
  return limit === null
    ? t("apiKeys.spent", { spent: formatCost(spent) })
    : t("apiKeys.spentOf", { spent: formatCost(spent), limit: formatLimit(limit) });
}

function KeyRow({
  apiKey,
  use,
  onRevoke,
}: {
  apiKey: ApiKey;
  /** Undefined for a key that has called no model this month. */
  use: KeyUse | undefined;
  onRevoke: () => void;
}) {
  return (
    <li className={styles["key"]}>
      <div>
        <p className={styles["name"]}>{apiKey.name}</p>
        <code>{apiKey.prefix}…</code>
      </div>
      <p className={styles["scopes"]}>
        {apiKey.scopes.map((scope) => (
          <code key={scope}>{scope}</code>
        ))}
      </p>
      <div className="dim">
        <p>{keyState(apiKey)}</p>
        <p>
          {apiKey.last_used_at === null
            ? t("apiKeys.neverUsed")
            : t("apiKeys.lastUsed", { at: formatDateTime(apiKey.last_used_at) })}
        </p>
        {use !== undefined && <p>{spentText(use)}</p>}
      </div>
      {apiKey.revoked_at === null && (
        <Button
          look="danger"
          aria-label={t("apiKeys.revokeName", { name: apiKey.name })}
          onClick={onRevoke}
        >
          {t("apiKeys.revoke")}
        </Button>
      )}
    </li>
  );
}

/** The keys by which programs use this workspace. */
export function KeysPage() {
  const keys = useQuery(apiKeysQuery);
  const { data: me } = useQuery(meQuery);
  const { data: usage } = useQuery(usageQuery);
  const [creating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<ApiKey>();
  const create = (
    <Button
      look="primary"
      icon={<KeyRound size={16} aria-hidden />}
      onClick={() => setCreating(true)}
    >
      {t("apiKeys.create")}
    </Button>
  );
  return (
    <>
      <PageHead title={t("apiKeys.title")} actions={create}>
        <p className="dim">{t("apiKeys.about")}</p>
      </PageHead>
      {keys.isError && <ProblemNotice error={keys.error} />}
      {keys.isPending && <Loading />}
      {keys.data?.length === 0 && (
        <EmptyState
          text={t("apiKeys.none")}
          command={`curl -H "authorization: Bearer $GUILDHALL_API_KEY" ${location.origin}/v1/me`}
        />
      )}
      {keys.data !== undefined && keys.data.length > 0 && (
        <ul className={styles["keys"]}>
          {keys.data.map((key) => (
            <KeyRow
              key={key.id}
              apiKey={key}
              use={usage?.by_key.find(({ key_id: id }) => id === key.id)}
              onRevoke={() => setRevoking(key)}
            />
          ))}
        </ul>
      )}
      {me !== undefined && <ClientSetup baseUrl={me.gateway.base_url} />}
      {creating && <CreateKeyDialog onClose={() => setCreating(false)} />}
      {revoking && <RevokeDialog apiKey={revoking} onClose={() => setRevoking(undefined)} />}
    </>
  );
}
