import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";
import styles from "./button.module.css";

type Look = "primary" | "plain" | "danger" | "ghost";

export type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: Look;
  icon?: ReactNode;
  ref?: Ref<HTMLButtonElement>;
};

/** Class of things that look like a button, for links. */
export function buttonClass(look: Look = "plain"): string {
  return `${styles["button"] ?? ""} ${styles[look] ?? ""}`;
}

export function Button({ look = "plain", icon, children, className, ...rest }: ButtonProps) {
  return (
    <button type="button" {...rest} className={`${buttonClass(look)} ${className ?? ""}`}>
      {icon}
      {children}
    </button>
  );
}

/** A button that shows only an icon; `label` is its name for everyone who does not see it. */
export function IconButton({ label, icon, ...rest }: ButtonProps & { label: string }) {
  return <Button look="ghost" {...rest} icon={icon} aria-label={label} title={label} />;
}
