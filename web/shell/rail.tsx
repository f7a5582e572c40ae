import { Link, useParams } from "@tanstack/react-router";
import {
  Building2,
  ChartColumn,
  Gauge,
  KeyRound,
  ListTodo,
  Users,
  type LucideIcon,
} from "lucide-react";
import { t } from "../messages/translate.ts";
import styles from "./rail.module.css";

const places = [
  { to: "/w/$workspaceId/office", label: "nav.office", icon: Building2 },
  { to: "/w/$workspaceId/tasks", label: "nav.tasks", icon: ListTodo },
  { to: "/w/$workspaceId/agents", label: "nav.agents", icon: Users },
  { to: "/w/$workspaceId/usage", label: "nav.usage", icon: ChartColumn },
  { to: "/w/$workspaceId/limits", label: "nav.limits", icon: Gauge },
  { to: "/w/$workspaceId/settings/keys", label: "nav.keys", icon: KeyRound },
] as const satisfies readonly { to: string; label: string; icon: LucideIcon }[];

export function Rail() {
  const { workspaceId } = useParams({ from: "/w/$workspaceId" });
  return (
    <nav aria-label={t("nav.label")} className={styles["rail"]}>
      <ul>
        {places.map(({ to, label, icon: Icon }) => (
          <li key={to}>
            <Link to={to} params={{ workspaceId }} className={styles["place"]}>
              <Icon size={20} aria-hidden />
              <span>{t(label)}</span>
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
