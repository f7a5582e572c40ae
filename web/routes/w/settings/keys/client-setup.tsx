import {
  gatewaySetups,
  type GatewayAccess,
  type GatewayClient,
} from "@guildhall/sdk/client/gateway-setup.ts";
import { t } from "../../../../messages/translate.ts";
import { CommandLine } from "../../../../ui/copy-button.tsx";
import { Tabs } from "../../../../ui/tabs.tsx";
import styles from "./keys-page.module.css";

const offeredClients = [
  "typescript",
  "python",
  "claudeCode",
  "curl",
] as const satisfies readonly GatewayClient[];

/** Stands for a key in the examples while there is none to show. */
const placeholder = "ghk_YOUR_KEY";

/** How any client of the Messages protocol calls models through the gateway; with the key while it can be seen. */
export function ClientSetup({ baseUrl, secret }: { baseUrl: string; secret?: string }) {
  const access: GatewayAccess = { baseUrl, key: secret ?? placeholder };
  return (
    <section className={styles["setup"]} aria-label={t("gateway.title")}>
      <h2>{t("gateway.title")}</h2>
      <p className="dim">
        {secret === undefined ? t("gateway.about", { key: placeholder }) : t("gateway.filledIn")}
      </p>
      <Tabs
        label={t("gateway.clients")}
        tabs={offeredClients.map((client) => ({
          id: client,
          label: t(`gateway.${client}`),
          content: (
            <CommandLine text={gatewaySetups[client](access)} label={t(`gateway.${client}`)} />
          ),
        }))}
      />
    </section>
  );
}
