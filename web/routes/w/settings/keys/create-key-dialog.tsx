import { useState } from "react";
import { useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import type { Scope } from "@guildhall/sdk/contract/workspace.ts";
import { call } from "../../../../api/api.ts";
import { apiKeysQuery, meQuery } from "../../../../api/queries.ts";
import { t } from "../../../../messages/translate.ts";
import { Button } from "../../../../ui/button.tsx";
import { CommandLine } from "../../../../ui/copy-button.tsx";
import { Dialog, DialogActions } from "../../../../ui/dialog.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import { ClientSetup } from "./client-setup.tsx";
import { offeredScopes } from "./api-key.ts";
import styles from "./keys-page.module.css";

const usualScopes: readonly Scope[] = ["tasks:read", "tasks:write", "agents:read", "usage:read"];
const msPerDay = 86_400_000;
/** Days until a new key ends; undefined is never. */
const lifetimes = [30, 90, 365, undefined] as const;

/** The secret is on the page this once, and gone with the dialog. */
function CreatedKey({
  secret,
  gatewayUrl,
  onClose,
}: {
  secret: string;
  /** Undefined for a key that cannot call models. */
  gatewayUrl: string | undefined;
  onClose: () => void;
}) {
  const [stored, setStored] = useState(false);
  return (
    <Dialog title={t("apiKeys.createdTitle")} onClose={() => stored && onClose()}>
      <p>{t("apiKeys.createdText")}</p>
      <CommandLine text={secret} label={t("apiKeys.secret")} />
      {gatewayUrl !== undefined && <ClientSetup baseUrl={gatewayUrl} secret={secret} />}
      <label className={styles["check"]}>
        <input
          type="checkbox"
          checked={stored}
          onChange={(event) => setStored(event.target.checked)}
        />
        {t("apiKeys.stored")}
      </label>
      <DialogActions>
        <Button look="primary" disabled={!stored} onClick={onClose}>
          {t("apiKeys.done")}
        </Button>
      </DialogActions>
    </Dialog>
  );
}

/** Which rights the key has; a right that its maker lacks cannot be given. */
function ScopeFields({
  allowed,
  chosen,
  onChange,
}: {
  allowed: readonly Scope[];
  chosen: readonly Scope[];
  onChange: (scopes: readonly Scope[]) => void;
}) {
  const toggle = (scope: Scope) =>
    onChange(chosen.includes(scope) ? chosen.filter((each) => each !== scope) : [...chosen, scope]);
  return (
    <fieldset className={styles["fieldset"]}>
      <legend>{t("apiKeys.scopes")}</legend>
      {offeredScopes.map((scope) => (
        <label key={scope} className={styles["check"]}>
          <input
            type="checkbox"
            disabled={!allowed.includes(scope)}
            checked={chosen.includes(scope)}
            onChange={() => toggle(scope)}
          />
          <code>{scope}</code>
          {t(`scope.${scope}`)}
        </label>
      ))}
    </fieldset>
  );
}

export function CreateKeyDialog({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const { data: me } = useSuspenseQuery(meQuery);
  const [name, setName] = useState("");
  const [days, setDays] = useState<number | undefined>(90);
  const [chosen, setChosen] = useState<readonly Scope[]>(() =>
    usualScopes.filter((scope) => me.scopes.includes(scope)),
  );
  const create = useMutation({
    mutationFn: () =>
      call((client) =>
        client.apiKeys.create({
          name: name.trim(),
          scopes: [...chosen],
          ...(days === undefined
            ? {}
            : { expires_at: new Date(Date.now() + days * msPerDay).toISOString() }),
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: apiKeysQuery.queryKey }),
  });
  if (create.data)
    return (
      <CreatedKey
        secret={create.data.key}
        gatewayUrl={create.data.scopes.includes("models:invoke") ? me.gateway.base_url : undefined}
        onClose={onClose}
      />
    );
  const ready = name.trim() !== "" && chosen.length > 0 && !create.isPending;
  return (
    <Dialog title={t("apiKeys.create")} onClose={onClose}>
      <form
        className={styles["form"]}
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) create.mutate();
        }}
      >
        <label className="field">
          <span>{t("apiKeys.name")}</span>
          <input
            data-first-focus
            maxLength={100}
            value={name}
            placeholder={t("apiKeys.nameExample")}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
        <label className="field">
          <span>{t("apiKeys.lifetime")}</span>
          <select
            value={days ?? ""}
            onChange={(event) =>
              setDays(event.target.value === "" ? undefined : Number(event.target.value))
            }
          >
            {lifetimes.map((each) => (
              <option key={each ?? "never"} value={each ?? ""}>
                {each === undefined ? t("apiKeys.never") : t("apiKeys.days", { count: each })}
              </option>
            ))}
          </select>
        </label>
        <ScopeFields allowed={me.scopes} chosen={chosen} onChange={setChosen} />
        {create.isError && <ProblemNotice error={create.error} />}
        <DialogActions>
          <Button onClick={onClose}>{t("apiKeys.dismiss")}</Button>
          <Button type="submit" look="primary" disabled={!ready}>
            {t("apiKeys.create")}
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
